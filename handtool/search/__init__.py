"""Nearest neighbours, exact or by hnswlib, with an exclusion key."""

from handtool.search.degree import limit_in_degree
from handtool.search.exclusion import Exclusion
from handtool.search.neighbors import Neighbors, Search, find_neighbors, neighbors_in_other_groups, number_groups
from handtool.search.quality import describe_neighbors, recall_on_sample

__all__ = [
    "Exclusion",
    "Neighbors",
    "Search",
    "describe_neighbors",
    "find_neighbors",
    "limit_in_degree",
    "neighbors_in_other_groups",
    "number_groups",
    "recall_on_sample",
]
