"""The views on a GPU in one kernel: sampling, colours and normalisation of a pixel in registers, from the bytes of the
crop to the network's input.

The separate operations of `views.render` take a sixth of a ResNet-50's step on a GPU, nearly all of it for moving
intermediate images; here each byte of the crops is read and each number of the views written once. Triton comes with
torch where torch has CUDA; it needs a C compiler at its first use. Shapes: B views, S side of the crops.
"""

import logging
from functools import cache

import torch
from torch import Tensor

from handtool.nn.views.device import send

try:
    import triton
    import triton.language as tl
except ImportError:  # torch without CUDA
    triton = None

log = logging.getLogger(__name__)
PIXELS_AT_ONCE = 256


@cache
def is_usable(device: str) -> bool:
    """Whether the kernel runs on this device; tried once, on one pixel. If not, the reason is logged."""
    if triton is None:
        return False
    try:
        black = torch.zeros(1, 1, 1, 3, dtype=torch.uint8, device=device)
        sample_views(black, torch.eye(3)[None], 1, 1, None, (0.0,) * 3, (1.0,) * 3)
    except Exception as error:  # a compiler or driver error of any kind: views.render works without
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("views are made without Triton, which takes longer: %s", reason)
        return False
    return True


def sample_views(
    crops: Tensor, crop_from_view: Tensor, size: int, oversample: int, gains: Tensor | None, mean: tuple, std: tuple
) -> Tensor:
    """crops (B, S, S, 3) uint8, crop_from_view (B, 3, 3) px from px, gains (B, 4) as for views.scale_hsv, or None:
    colours are not changed.

    Returns (B, 3, size, size) float32, normalised, in channels-last layout. Black outside the crop.
    """
    num, side = len(crops), crops.shape[1]
    out = torch.empty((num, size, size, 3), dtype=torch.float32, device=crops.device)
    rows = crop_from_view[:, :2].reshape(num, 6).float()
    numbers = torch.cat((rows, torch.ones(num, 4) if gains is None else gains.float()), 1).contiguous()
    grid = (num, triton.cdiv(size * size, PIXELS_AT_ONCE))
    arrays = crops.contiguous(), send(numbers, crops.device), out
    _sample_kernel[grid](*arrays, side, size, *mean, *std, oversample, gains is not None, PIXELS_AT_ONCE)
    return out.permute(0, 3, 1, 2)


if triton is not None:

    @triton.jit
    def _sample_kernel(
        crops,
        numbers,
        out,
        side,
        size,
        mean_r,
        mean_g,
        mean_b,
        std_r,
        std_g,
        std_b,
        OVERSAMPLE: tl.constexpr,
        COLOUR: tl.constexpr,
        PIXELS: tl.constexpr,
    ):
        view = tl.program_id(0).to(tl.int64)
        pixel = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
        there = pixel < size * size
        a, b, c = tl.load(numbers + 10 * view), tl.load(numbers + 10 * view + 1), tl.load(numbers + 10 * view + 2)
        d, e, f = tl.load(numbers + 10 * view + 3), tl.load(numbers + 10 * view + 4), tl.load(numbers + 10 * view + 5)
        column, row = (pixel % size).to(tl.float32), (pixel // size).to(tl.float32)
        crop = crops + view * side * side * 3
        red = tl.zeros([PIXELS], tl.float32)
        green = tl.zeros([PIXELS], tl.float32)
        blue = tl.zeros([PIXELS], tl.float32)
        for sample in tl.static_range(OVERSAMPLE * OVERSAMPLE):
            u = column + ((sample % OVERSAMPLE) + 0.5) / OVERSAMPLE - 0.5
            v = row + ((sample // OVERSAMPLE) + 0.5) / OVERSAMPLE - 0.5
            x, y = a * u + b * v + c, d * u + e * v + f
            left, top = tl.floor(x), tl.floor(y)
            for beside in tl.static_range(2):
                for below in tl.static_range(2):
                    across = x - left if beside else 1 - (x - left)
                    weight = across * (y - top if below else 1 - (y - top))
                    column_there, row_there = left.to(tl.int32) + beside, top.to(tl.int32) + below
                    inside = there & (column_there >= 0) & (column_there < side) & (row_there >= 0) & (row_there < side)
                    place = crop + (row_there * side + column_there) * 3
                    red += weight * tl.load(place, mask=inside, other=0).to(tl.float32)
                    green += weight * tl.load(place + 1, mask=inside, other=0).to(tl.float32)
                    blue += weight * tl.load(place + 2, mask=inside, other=0).to(tl.float32)
        unit = 1 / (255 * OVERSAMPLE * OVERSAMPLE)
        red, green, blue = red * unit, green * unit, blue * unit
        if COLOUR:
            gain = numbers + 10 * view + 6
            value, low = tl.maximum(red, tl.maximum(green, blue)), tl.minimum(red, tl.minimum(green, blue))
            safe = tl.where(value > low, value - low, 1.0)
            of_red = (green - blue) / safe
            of_red = tl.where(of_red < 0, of_red + 6, of_red)
            sixths = tl.where(
                value == red, of_red, tl.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4)
            ) * tl.load(gain)
            saturation = (value - low) / tl.maximum(value, 1e-12) * tl.load(gain + 1)
            value = tl.minimum(tl.maximum(value * tl.load(gain + 2) + tl.load(gain + 3), 0.0), 1.0)
            chroma = tl.minimum(tl.maximum(saturation, 0.0), 1.0) * value
            red, green, blue = (
                _channel(5, sixths, chroma, value),
                _channel(3, sixths, chroma, value),
                _channel(1, sixths, chroma, value),
            )
        target = out + (view * size * size + pixel) * 3
        tl.store(target, (red - mean_r) / std_r, mask=there)
        tl.store(target + 1, (green - mean_g) / std_g, mask=there)
        tl.store(target + 2, (blue - mean_b) / std_b, mask=there)

    @triton.jit
    def _channel(offset: tl.constexpr, sixths, chroma, value):
        """As views.hsv_channel; hue is below 7 sixths, so one subtraction is enough."""
        place = sixths + offset
        place = tl.where(place >= 6, place - 6, place)
        return value - chroma * tl.minimum(tl.maximum(tl.minimum(place, 4 - place), 0.0), 1.0)
