"""Places: a wide picture behind the hand, made of gradients, clouds of noise and clutter; the camera pans."""

import cv2
import numpy as np

CANVAS = 512  # px


COARSE = CANVAS // 4  # px, on which what changes slowly is drawn


def clouds(rng: np.random.Generator, octaves: tuple[int, ...], decay: float, size: int = CANVAS) -> np.ndarray:
    """(size, size) float32, about -1..1: noise on coarser and finer grids, smoothly enlarged (value noise)."""
    field = np.zeros((size, size), np.float32)
    strength = 1.0
    for cells in octaves:
        grid = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        field += strength * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        strength *= decay
    return field / np.abs(field).max()


def draw_colour(rng: np.random.Generator, saturation: float) -> np.ndarray:
    """(3,) RGB 0..255."""
    grey = rng.uniform(30, 235)
    return np.clip(grey + saturation * rng.normal(0, 55, 3), 5, 250)


def draw_wall(rng: np.random.Generator, saturation: float) -> np.ndarray:
    """A gradient between two related colours in any direction, with soft clouds."""
    first = draw_colour(rng, saturation)
    second = np.clip(first + rng.normal(0, 28, 3) + rng.normal(0, 30), 5, 250)
    angle = rng.uniform(0, 2 * np.pi)
    v, u = np.mgrid[-1 : 1 : COARSE * 1j, -1 : 1 : COARSE * 1j].astype(np.float32)
    mix = 0.5 + 0.35 * (u * np.cos(angle) + v * np.sin(angle)) + 0.12 * clouds(rng, (3, 7, 17), 0.6, COARSE)
    wall = (first + (second - first) * np.clip(mix, 0, 1)[..., None]).astype(np.float32)
    return cv2.resize(wall, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR)


def add_texture(rng: np.random.Generator, canvas: np.ndarray, strength: float) -> None:
    """Grain, boards, tiles or cloth over everything, in place."""
    v, u = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(9, 60)
    wave = np.sin((u * np.cos(angle) + v * np.sin(angle) + 12 * clouds(rng, (4, 9), 0.5)) * (2 * np.pi / period))
    kind = rng.integers(4)
    if kind == 1:
        wave = np.sign(wave) * np.sign(np.sin((v * np.cos(angle) - u * np.sin(angle)) * (2 * np.pi / period)))
    elif kind == 2:
        wave = np.abs(wave) ** 8 * -2 + 0.5
    elif kind == 3:
        wave = clouds(rng, (40, 90, 190), 0.8) * 1.6
    canvas += strength * wave[..., None].astype(np.float32) * rng.uniform(0.6, 1.0, 3).astype(np.float32)


def add_clutter(rng: np.random.Generator, canvas: np.ndarray, count: int, saturation: float) -> None:
    """Boxes, discs, rods and rags of all sizes, some textured, in place."""
    for _ in range(count):
        colour = tuple(float(c) for c in draw_colour(rng, saturation))
        centre = tuple(int(c) for c in rng.uniform(-30, CANVAS + 30, 2))
        reach = float(np.exp(rng.uniform(np.log(12), np.log(170))))
        kind = rng.integers(4)
        if kind == 0:
            corners = cv2.boxPoints((centre, (reach, reach * rng.uniform(0.3, 2.0)), rng.uniform(0, 180)))
            cv2.fillPoly(canvas, [corners.astype(np.int32)], colour, cv2.LINE_8)
        elif kind == 1:
            axes = (int(reach / 2) + 1, int(reach * rng.uniform(0.2, 0.6)) + 1)
            cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_8)
        elif kind == 2:
            end = tuple(int(c) for c in np.array(centre) + rng.normal(0, 1.6 * reach, 2))
            cv2.line(canvas, centre, end, colour, int(2 + reach * 0.12), cv2.LINE_8)
        else:
            turn = np.sort(rng.uniform(0, 2 * np.pi, 7))
            rag = np.array(centre) + reach * rng.uniform(0.3, 0.8, (7, 1)) * np.stack([np.cos(turn), np.sin(turn)], 1)
            cv2.fillPoly(canvas, [rag.astype(np.int32)], colour, cv2.LINE_8)


def draw_place(rng: np.random.Generator, clutter: float) -> np.ndarray:
    """(CANVAS, CANVAS, 3) uint8 RGB. `clutter` 0: a wall out of focus; 1: a busy room, sharp."""
    saturation = 0.3 + 0.25 * clutter
    canvas = draw_wall(rng, saturation)
    count = rng.poisson(4 + 70 * clutter)
    add_clutter(rng, canvas, count, saturation)
    if rng.random() < 0.4 + 0.5 * clutter:
        add_texture(rng, canvas, rng.uniform(3, 8 + 24 * clutter))
    add_clutter(rng, canvas, count // 3, saturation)
    blur = rng.uniform(0.6, 2.2) if clutter > 0.5 else rng.uniform(4, 14) if clutter < 0.1 else rng.uniform(1.5, 6)
    return defocus(np.clip(canvas, 0, 255).astype(np.uint8), blur)


def defocus(image: np.ndarray, blur: float) -> np.ndarray:
    """Gaussian blur of `blur` px, on a smaller picture where that cannot be told from it."""
    shrink = 4 if blur > 6 else 2 if blur > 3 else 1
    size = image.shape[1::-1]
    if shrink > 1:
        image = cv2.resize(image, (size[0] // shrink, size[1] // shrink), interpolation=cv2.INTER_AREA)
    image = cv2.GaussianBlur(image, (0, 0), blur / shrink)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if shrink > 1 else image


def canvas_from_picture(width: int, height: int, view: np.ndarray) -> np.ndarray:
    """(2, 3) from the pixels of a picture to those of the place behind it. view: centre in 0..1, canvas px across the
    picture, turn in radians."""
    x, y, zoom, turn = view
    scale = zoom / max(width, height)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shift = np.array([x, y]) * CANVAS - linear @ np.array([width / 2, height / 2])
    return np.concatenate([linear, shift[:, None]], 1)


def sample_background(canvas: np.ndarray, width: int, height: int, view: np.ndarray) -> np.ndarray:
    """The part of the place behind a picture: (height, width, 3) uint8."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = canvas_from_picture(width, height, view)
    return cv2.warpAffine(canvas, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
