"""Hands alike: exact and hnswlib neighbours with an exclusion key."""

from handtool.search.neighbors import Neighbors, find_neighbors, neighbors_in_other_groups
from handtool.search.quality import describe_neighbors, recall_on_sample

__all__ = ["Neighbors", "describe_neighbors", "find_neighbors", "neighbors_in_other_groups", "recall_on_sample"]
