"""Drawing on a page: blank pages, text, pasted tiles, decoded crops. Images are (H, W, 3) uint8 RGB."""

import cv2
import numpy as np

PAPER = (250, 250, 248)
INK = (38, 40, 44)
FAINT = (118, 122, 128)
RULE = (222, 223, 220)
ACCENT = (31, 119, 180)
CONTRAST = (214, 39, 40)
OVERSAMPLING = 3
FONT = cv2.FONT_HERSHEY_SIMPLEX
PEN = 1 if hasattr(cv2, "FontFace") else OVERSAMPLING  # OpenCV 5 draws outline fonts, where thickness is weight


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def decode(jpeg: bytes, side: int) -> np.ndarray:
    """A crop as a square tile of `side` px; a grey tile if the bytes are no picture."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return np.full((side, side, 3), RULE, np.uint8)
    way = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_CUBIC
    return cv2.cvtColor(cv2.resize(image, (side, side), interpolation=way), cv2.COLOR_BGR2RGB)


def paste(page: np.ndarray, tile: np.ndarray, x: int, y: int) -> None:
    """In place; what lies outside the page is cut off."""
    height, width = min(tile.shape[0], page.shape[0] - y), min(tile.shape[1], page.shape[1] - x)
    if height > 0 and width > 0:
        page[y : y + height, x : x + width] = tile[:height, :width]


def text_width(text: str, height: float) -> int:
    """Width in px; `height` is that of a capital letter."""
    (width, _), _ = cv2.getTextSize(to_ascii(text), FONT, OVERSAMPLING * height / 21, PEN)
    return -(-width // OVERSAMPLING)


def to_ascii(text: str) -> str:
    """Text in ASCII: the font has no other letters."""
    return text.replace("\u2026", "...").encode("ascii", "replace").decode()


def shorten(text: str, width: float, height: float) -> str:
    """The text, or only its end if it is too wide: names of videos differ at the end."""
    if text_width(text, height) <= width:
        return text
    while text and text_width("..." + text, height) > width:
        text = text[1:]
    return "..." + text


def write(
    page: np.ndarray, text: str, x: float, y: float, height: float = 9, colour: tuple = INK, anchor: str = "left"
) -> None:
    """In place: text with its baseline at y. `anchor`: whether x is its left end, middle or right end."""
    text = to_ascii(text)
    width = text_width(text, height)
    x = int(round(x - {"left": 0, "middle": width / 2, "right": width}[anchor]))
    above, below = int(height * 1.5) + 2, int(height * 0.6) + 2
    mask: np.ndarray = np.zeros(((above + below) * OVERSAMPLING, (width + 4) * OVERSAMPLING), np.uint8)
    cv2.putText(
        mask, text, (2 * OVERSAMPLING, above * OVERSAMPLING), FONT, OVERSAMPLING * height / 21, 255, PEN, cv2.LINE_AA
    )
    mask = cv2.resize(mask, None, fx=1 / OVERSAMPLING, fy=1 / OVERSAMPLING, interpolation=cv2.INTER_AREA)
    left, top = max(x - 2, 0), max(int(y) - above, 0)
    mask = mask[top - (int(y) - above) :, left - (x - 2) :][: page.shape[0] - top, : page.shape[1] - left]
    if mask.size:
        patch = page[top : top + mask.shape[0], left : left + mask.shape[1]]
        share = mask[..., None] / 255.0
        patch[:] = np.round(patch * (1 - share) + np.array(colour) * share).astype(np.uint8)


def heading(page: np.ndarray, title: str, subtitle: str, x: int = 16) -> int:
    """Title and subtitle at the top; returns the y where the page continues."""
    write(page, shorten(title, page.shape[1] - 2 * x, 13), x, 30, 13)
    write(page, shorten(subtitle, page.shape[1] - 2 * x, 8.5), x, 50, 8.5, FAINT)
    return 66


def encode_png(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert done
    return data.tobytes()


def encode_jpeg(image: np.ndarray, quality: int = 88) -> bytes:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
