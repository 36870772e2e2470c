"""Nearest neighbours, exact or by hnswlib, with an exclusion key."""

from handtool.search.degree import limit_in_degree
from handtool.search.exclusion import Exclusion
from handtool.search.neighbors import Neighbors, Search, find_neighbors, neighbors_in_other_groups
from handtool.search.quality import describe_neighbors, recall_on_sample
