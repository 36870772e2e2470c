"""Thumbnails of pictures, 8 x 8 grey values, compared without brightness, contrast, mirroring and a little movement.

The box of a hand is never twice the same, and frames are cropped: a thumbnail is moved and scaled a little to fit the
other one, to first order (Lucas and Kanade 1981).
"""

import numpy as np

SIDE = 8
# of grey values 0..255, below which a thumbnail says nothing: standard deviation, and distance of half of them from
# the median
LEAST_CONTRAST, LEAST_UNLIKE = 4.0, 1.5
NOISE = 0.5  # grey values: of the difference of two thumbnails, by rounding and the coder
CONTRAST = 48.0  # standard deviation to which thumbnails are scaled
MAX_SHIFT, MAX_GROWTH = 0.7, 0.15  # of one thumbnail to fit another: cells, and share of its size
FREQUENCIES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 1), (1, 2), (0, 3), (3, 0), (2, 2), (1, 3))
BLOCK_ROWS = 16_384


def is_telling(thumbnail: np.ndarray) -> np.ndarray:
    """thumbnail (..., 8, 8). Returns (...) bool: whether there is enough in it to recognise it by."""
    values = thumbnail.reshape(*thumbnail.shape[:-2], SIDE * SIDE)
    median = np.sort(values, axis=-1)[..., SIDE * SIDE // 2 - 1 : SIDE * SIDE // 2 + 1].mean(-1, dtype=np.float32)
    alike = (np.abs(values - median[..., None]) < LEAST_UNLIKE).sum(-1)
    return (values.std(-1, dtype=np.float32) >= LEAST_CONTRAST) & (alike <= SIDE * SIDE // 2)


def spectrum(thumbnail: np.ndarray) -> np.ndarray:
    """The lowest frequencies (n, 11) int16 of thumbnails, by the discrete cosine transform."""
    cosines = make_cosines()
    transformed = cosines @ normalize(thumbnail) @ cosines.T
    return np.stack([transformed[:, row, column] for row, column in FREQUENCIES], axis=1).astype(np.int16)


def mirror(frequencies: np.ndarray) -> np.ndarray:
    """What `spectrum` gives (n, 11), of the thumbnails or their mirror images, whichever are brighter on the left."""
    odd = np.array([column % 2 for _, column in FREQUENCIES], bool)
    return np.where(odd & (frequencies[:, :1] < 0), -frequencies, frequencies)


def make_cosines() -> np.ndarray:
    place = np.arange(SIDE)
    cosines = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * place + 1) * place[:, None] / (2 * SIDE))
    cosines[0] /= np.sqrt(2)
    return cosines.astype(np.float32)


def normalize(thumbnail: np.ndarray) -> np.ndarray:
    """(n, 8, 8) grey -> the same with mean 0 and standard deviation CONTRAST."""
    values = thumbnail.astype(np.float32)
    values -= values.mean((1, 2), keepdims=True)
    values *= CONTRAST / np.maximum(values.std((1, 2), keepdims=True), LEAST_CONTRAST)
    return values


def compare(thumbnail: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root mean square difference (m,) of pairs of rows, after the best shift and growth of the one, and mirroring of
    the other, and less the noise of both; inf where they move too far. In units of CONTRAST."""
    difference = np.empty(len(one), np.float32)
    for start in range(0, len(one), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        first, second = thumbnail[one[block]], thumbnail[other[block]]
        contrast = np.minimum(*(each.std((1, 2), dtype=np.float32) for each in (first, second)))
        noise = NOISE * CONTRAST / np.maximum(contrast, LEAST_CONTRAST)
        first, second = normalize(first), normalize(second)
        apart = np.minimum(fit(first, second), fit(first, second[:, :, ::-1]))
        difference[block] = np.sqrt(np.maximum(np.square(apart) - np.square(noise), 0))
    return difference


def fit(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """As `compare`, of normalised thumbnails (m, 8, 8). The rim does not count: what moves in there is not known."""
    down, right = np.gradient(one, axis=(1, 2))
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2).astype(np.float32)
    moves = [right, down, right * x + down * y, one, np.ones_like(one)]
    basis = np.stack(moves, axis=-1).reshape(len(one), SIDE * SIDE, 5)
    ridge = 1e-3 * np.eye(5, dtype=np.float32)
    turned, target = basis.transpose(0, 2, 1), other.reshape(len(other), SIDE * SIDE, 1)
    steps = np.linalg.solve(turned @ basis + ridge, turned @ target)
    rest = (target - basis @ steps).reshape(len(one), SIDE, SIDE)[:, 1:-1, 1:-1]
    too_far = (np.abs(steps[:, :2, 0]).max(1) > MAX_SHIFT) | (np.abs(steps[:, 2, 0]) > MAX_GROWTH)
    return np.where(too_far, np.inf, np.sqrt(np.square(rest).mean((1, 2))))
