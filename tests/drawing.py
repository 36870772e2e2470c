"""Random views for tests, as training draws them."""

import numpy as np
from torch import Tensor

from handtool.nn.views.views import DRAWS, ViewRanges, Views, make_views


def draw_views(xy: Tensor, ranges: ViewRanges, size: int, side: int, rng: np.random.Generator) -> Views:
    """One view of each canonical crop of `side` px, `size` px large. xy: (B, J, 2) keypoints in the crops."""
    return make_views(xy, rng.random((len(xy), DRAWS)), ranges, size, side)
