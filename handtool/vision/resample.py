"""A crop as a network's input: scaled about its centre, black outside, and the pixels that our models were trained on.

Scaling along the axes is one product with a sparse matrix on either side, exact in float32 whatever the version of
OpenCV. Each pixel is bilinear where the picture grows, and the mean of 2 x 2 bilinear samples where it shrinks, as in
`nn/views.warp`.
"""

from functools import lru_cache

import numpy as np


def resample(crop: np.ndarray, width: int, height: int, scale: float) -> np.ndarray:
    """crop: (S, S, 3) uint8 -> (height, width, 3) float32 in 0..255: centre upon centre, `scale` input px per crop
    px."""
    side = crop.shape[0]
    if (width, height, scale) == (side, side, 1.0):
        return crop.astype(np.float32)
    across, down = sampling(side, width, scale), sampling(side, height, scale)
    rows = (down @ crop.reshape(side, -1).astype(np.float32)).reshape(height, side, 3)
    return np.ascontiguousarray((across @ rows).astype(np.float32, copy=False))


@lru_cache(maxsize=64)
def sampling(side: int, size: int, scale: float) -> np.ndarray:
    """(size, side) float32: row i holds the shares of the `side` pixels in pixel i; what lies outside has no share."""
    samples = 2 if scale < 1 else 1
    places = (np.arange(size * samples) + 0.5) / samples - 0.5
    places = (places - (size - 1) / 2) / scale + (side - 1) / 2
    low = np.floor(places).astype(int)
    matrix = np.zeros((size * samples, side))
    for pixel, share in ((low, 1 - (places - low)), (low + 1, places - low)):
        inside = (pixel >= 0) & (pixel < side)
        matrix[np.flatnonzero(inside), pixel[inside]] += share[inside]
    return matrix.reshape(size, samples, side).mean(1).astype(np.float32)


def placement(side: int, width: int, height: int, scale: float) -> np.ndarray:
    """(2, 3): the affine from crop px to input px that `resample` follows."""
    middle = (side - 1) / 2
    return np.array([[scale, 0, (width - 1) / 2 - scale * middle], [0, scale, (height - 1) / 2 - scale * middle]])
