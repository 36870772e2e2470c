"""What the camera of a crop sees through a lens: sampled from the frame as it was taken."""

import math

import cv2
import numpy as np

from handtool.hands.crop_maps import CropMaps, OutOfSight, look_at
from handtool.hands.lens import Lens
from handtool.vision.cropping import BadBox

GRID = 4  # px of the crop between the nodes at which the way through the lens is found
MOST_SAMPLES = 4  # per pixel and axis
FAR = -1e6  # px, of what no lens sees


def cut_through(
    image: np.ndarray, lens: Lens, box: np.ndarray, size: int, box_scale: float, whole: bool = False
) -> tuple[np.ndarray, CropMaps]:
    """image: (h, w, 3) uint8 as it was taken, box: (4,) px in it. Returns the crop (size, size, 3) and its map (n = 1).
    Raises BadBox."""
    try:
        crop = look_at(lens, box, size, box_scale, whole)
    except OutOfSight as reason:
        raise BadBox(str(reason)) from None
    return render(image, crop, size), crop


def render(image: np.ndarray, crop: CropMaps, size: int) -> np.ndarray:
    """(size, size, 3) uint8; black where the lens or the picture ends.

    Where the picture shrinks to less than half, it is first reduced to the means of n x n pixels; then each pixel of
    the crop is the mean of as many bilinear samples as it covers of those. The way through the lens is linear between
    the nodes of a grid: off by less than 0.01 px of the crop.
    """
    nodes = np.linspace(-0.5, size - 0.5, math.ceil(size / GRID) + 1)
    ways = find_ways(crop, nodes)
    strides = [np.linalg.norm(np.diff(ways, axis=axis), axis=2) / (nodes[1] - nodes[0]) for axis in (0, 1)]
    if not np.isfinite(ways).any():
        return np.zeros((size, size, 3), np.uint8)
    step = max(1, int(min(np.nanmin(each, initial=np.inf) for each in strides)))  # px of the frame
    most = max(np.nanmax(each, initial=0) for each in strides)
    samples = min(MOST_SAMPLES, max(1, math.ceil(most / step - 0.05)))
    across, down = refine(crop, nodes, ways, size, samples)
    ends = np.array([image.shape[1], image.shape[0]]) - 0.5
    low, high = np.nanmin(ways, axis=(0, 1)), np.nanmax(ways, axis=(0, 1))
    (x0, y0), (x1, y1) = (np.clip(edge, 0, ends + 0.5).astype(int) for edge in (low - 2 * step, high + 2 * step + 2))
    if x0 >= x1 or y0 >= y1:
        return np.zeros((size, size, 3), np.uint8)
    outside = np.zeros(0, bool)
    if not ((low >= -0.5) & (high <= ends)).all() or not np.isfinite(ways).all():
        outside = (across < -0.5) | (across > ends[0]) | (down < -0.5) | (down > ends[1])
    near = reduce(image[y0:y1, x0:x1], step) if step > 1 else image[y0:y1, x0:x1]
    across, down = ((way - first + 0.5) / step - 0.5 for way, first in ((across, x0), (down, y0)))
    seen = cv2.remap(
        np.ascontiguousarray(near),
        across.astype(np.float32),
        down.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if outside.size:
        seen[outside] = 0
    return seen if samples == 1 else cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA)


def find_ways(crop: CropMaps, places: np.ndarray) -> np.ndarray:
    """places: (k,) px of the crop, across as down. Returns (k, k, 2) px of the frame; NaN where the lens ends."""
    return crop.to_frame(np.stack(np.meshgrid(places, places), axis=-1).reshape(1, -1, 2)).reshape(
        len(places), len(places), 2
    )


def refine(
    crop: CropMaps, nodes: np.ndarray, ways: np.ndarray, size: int, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """(size * samples, size * samples) px of the frame each, across and down: where each sample of a pixel lies."""
    places = (np.arange(size * samples) + 0.5) / samples - 0.5
    if not np.isfinite(ways).all():
        across, down = np.moveaxis(np.nan_to_num(find_ways(crop, places), nan=FAR), -1, 0)
        return across, down
    along = (places + 0.5) / size * (len(nodes) - 1)
    low = np.minimum(along.astype(int), len(nodes) - 2)
    share = np.zeros((len(places), len(nodes)))
    share[np.arange(len(places)), low], share[np.arange(len(places)), low + 1] = 1 - along + low, along - low
    across, down = (share @ way @ share.T for way in np.moveaxis(ways, -1, 0))
    return across, down


def reduce(image: np.ndarray, step: int) -> np.ndarray:
    """The means of step x step pixels; of the last ones, which are fewer, those of the pixels there are."""
    height, width = image.shape[:2]
    image = cv2.copyMakeBorder(image, 0, -height % step, 0, -width % step, cv2.BORDER_REPLICATE)
    size = image.shape[1] // step, image.shape[0] // step
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
