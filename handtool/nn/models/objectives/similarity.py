"""Figures that show whether projections are spread or collapsed, whatever contrast they are trained by.

Shapes: N pairs on this process, A on all P of them, D numbers per projection.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from handtool.nn.models import collectives

FIGURES = ("positive_similarity", "negative_similarity", "alignment", "uniformity")
COLLAPSE_SIMILARITY = 0.99  # mean similarity of views of different hands


@torch.no_grad()
def similarity_figures(z1: Tensor, z2: Tensor) -> Tensor:
    """The values of FIGURES, (4,), of the hands of all processes, which have N unit rows (N, D) each.

    Mean similarity of partners, and of all other views: 1 and 1 for a collapsed encoder. Alignment: the mean squared
    distance of partners, 0 at best. Uniformity: the log of the mean of exp(-2 squared distance) of different hands in
    the same view; 0 if all are equal, at best -4 for many points on a sphere of many dimensions; NaN for one pair. Wang
    and Isola 2020, arXiv:2005.10242.
    """
    num = len(z1) * collectives.processes()
    partners = collectives.total((z1 * z2).sum())
    # includes each view with itself (2 num) and each pair twice
    everything = collectives.total(torch.cat((z1, z2)).sum(0)).square().sum()
    negative = (everything - 2 * num - 2 * partners) / max(2 * num * (2 * num - 2), 1)
    alignment = collectives.total((z1 - z2).square().sum()) / num
    return torch.stack((partners / num, negative, alignment, (uniformity(z1) + uniformity(z2)) / 2))


def uniformity(z: Tensor) -> Tensor:
    """A scalar, of all processes, for unit rows (N, D) of one view on each."""
    z_AD, first = collectives.gather(z), collectives.rank() * len(z)
    num = len(z_AD)
    closeness_NA = 4 * (z @ z_AD.T - 1)  # -2 squared distance
    closeness_NA[:, first : first + len(z)].fill_diagonal_(float("-inf"))
    sums_P = collectives.gather(closeness_NA.logsumexp((0, 1))[None])
    return sums_P.logsumexp(0) - math.log(num * (num - 1)) if num > 1 else z.new_tensor(math.nan)


def warn_of_collapse(figures: Mapping[str, float]) -> str | None:
    """A warning if all hands have nearly the same projection, or all projections are 0 (whose similarity is 0, too)."""
    similarity = figures["negative_similarity"]
    if similarity > COLLAPSE_SIMILARITY:
        return (
            f"collapse: all hands have nearly the same projection (mean similarity {similarity:.3f} of different hands)"
        )
    if figures["alignment"] == 0 and figures["positive_similarity"] < 0.5:
        return "collapse: all projections are 0"
    return None
