"""Contrastive losses and their weights, one file per paper."""

from handtool.nn.models.losses.adaptive_weights import adaptive_weights
from handtool.nn.models.losses.nt_xent import nt_xent

__all__ = ["adaptive_weights", "nt_xent"]
