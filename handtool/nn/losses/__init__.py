"""Contrastive losses and their weights, one paper a file."""

from handtool.nn.losses.adaptive_weights import adaptive_weights
from handtool.nn.losses.nt_xent import nt_xent

__all__ = ["adaptive_weights", "nt_xent"]
