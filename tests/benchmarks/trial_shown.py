"""Kinds of film and image beside what FFmpeg's and libheif's own programs show of them.

    python tests/benchmarks/trial_shown.py [FOLDER]

Each kind is made here and read as `extract` reads it; a line says size, orientation and mean difference (levels of 255)
of its third frame, or only picture. FFmpeg turns by the display matrix by itself; the rest is its filters:
`bwdif=mode=send_frame:deint=interlaced`, `scale=iw*sar:ih`, for HDR `zscale` and `tonemap`. Animated WebP and EXIF are
compared with OpenCV and Pillow, HEIC and AVIF with heif-convert. A program that is missing is said. Exit 1 where a size
or an orientation differs, or a difference is above what its kind allows.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from display import (  # noqa: E402  # noqa: E402
    ORIENT,
    as_hdr,
    set_clean_aperture,
    set_matrix,
    set_pixel_crop,
    write_film,
    write_heif,
    write_streams,
)

from handtool.sources.find import find_videos  # noqa: E402
from handtool.sources.frame import Sampling, Tally  # noqa: E402
from handtool.sources.read import read_frames  # noqa: E402
from handtool.sources.shown import EXIF_TURNS, turned  # noqa: E402

HIDDEN = (10, 4, 6, 2)  # px: left, top, right, bottom
FRAME = 2  # the one that is compared
SIZE = 320, 240
SQUARE = "scale=trunc(iw*sar):ih,setsar=1"
# 1: diffuse white of HDR, 203 cd/m2; the brightest light is 1,000 cd/m2. FFmpeg's curves are darker than BT.2390's
HDR = "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius:param=0.5:peak=4.93:desat=0,"
HDR += "zscale=t=bt709:m=bt709:r=pc,format=gbrp"
BWDIF = "bwdif=mode=send_frame:deint=interlaced"
TURNS = {
    "90 degrees": (0, 1, -1, 0),
    "180 degrees": (-1, 0, 0, -1),
    "270 degrees": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed, other diagonal": (0, -1, -1, 0),
}


class Kind(NamedTuple):
    """name: also of the file. make: writes it. show: the shown picture by another program, None where that is missing.
    allowed: largest mean difference, of 255."""

    name: str
    file: str
    make: Callable[[Path], object]
    show: Callable[[Path], np.ndarray | None]
    allowed: float = 2.0


def pictures(size: tuple[int, int] = SIZE, count: int = 6) -> list[np.ndarray]:
    """(h, w, 3) uint8 RGB: another colour in each part, and a bar that moves."""
    coarse = np.random.default_rng(7).integers(20, 236, (3, 4, 3), dtype=np.uint8)
    ground, bar = cv2.resize(coarse, size), size[0] // 8
    made = [ground.copy() for _ in range(count)]
    for number, image in enumerate(made):
        image[:, number * bar : number * bar + bar // 2] = 235
    return made


def woven(size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Frames of two fields each, the lower half a frame later."""
    fields = pictures(size, 12)
    for upper, lower in zip(fields[::2], fields[1::2], strict=True):
        upper[1::2] = lower[1::2]
    return fields[::2]


def hdr(transfer: int) -> list[np.ndarray]:
    return [np.round(255 * as_hdr(image, transfer)).astype(np.uint8) for image in pictures()]


def by_ffmpeg(filters: str = SQUARE, stream: str = "v:0") -> Callable[[Path], np.ndarray | None]:
    def show(path: Path) -> np.ndarray | None:
        if shutil.which("ffmpeg") is None:
            return None
        shown = path.with_suffix(".shown.png")
        picked = ["-vf", f"{filters},select=eq(n\\,{FRAME})", "-frames:v", "1", "-pix_fmt", "rgb24", str(shown)]
        run = ["ffmpeg", "-v", "error", "-y", "-i", f"file:{path}", "-map", f"0:{stream}", *picked]
        done = subprocess.run(run, capture_output=True, text=True)
        return read_plain(shown) if done.returncode == 0 else None

    return show


def by_libheif(path: Path) -> np.ndarray | None:
    shown = path.with_suffix(".shown.png")
    if shutil.which("heif-convert") is None:
        return None
    done = subprocess.run(["heif-convert", str(path), str(shown)], capture_output=True)
    return read_plain(shown) if done.returncode == 0 and shown.exists() else None


def by_pillow(path: Path) -> np.ndarray | None:
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return None
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def by_opencv_animation(path: Path) -> np.ndarray | None:
    if not hasattr(cv2, "imreadanimation"):
        return None
    return np.ascontiguousarray(cv2.imreadanimation(str(path))[1].frames[FRAME][..., 2::-1])


def read_plain(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]


def film(**settings) -> Callable[[Path], object]:
    made = settings.pop("pictures", None)
    return lambda path: write_film(path, made or pictures(), **settings)


def hidden(ending: str) -> Callable[[Path], object]:
    """A film whose container hides HIDDEN."""

    def make(path: Path) -> None:
        write_film(path, pictures())
        set_pixel_crop(path, *HIDDEN) if ending == "mkv" else set_clean_aperture(path, *HIDDEN, *SIZE)

    return make


def matrix(*turn: int, **settings) -> Callable[[Path], object]:
    return lambda path: set_matrix(write_film(path, pictures(), **settings), *turn)


def heif(codec: str, tile: int, *extra: tuple[str, bytes]) -> Callable[[Path], object]:
    return lambda path: write_heif(path, pictures()[0], codec, tile, extra)


def oriented(orientation: int, flags: list[int]) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        image = np.ascontiguousarray(cv2.resize(pictures()[0], (48, 32))[..., ::-1])
        data = cv2.imencode(path.suffix, image, flags)[1].tobytes()
        path.write_bytes(ORIENT[path.suffix](data, orientation, "<"))

    return make


def kinds() -> list[Kind]:
    hevc = {"codec": "libx265", "options": {"crf": "4", "x265-params": "log-level=none"}, "pix_fmt": "yuv420p10le"}
    bt2020 = {"colorspace": 9, "color_primaries": 9}
    fields = {"crf": "4", "flags": "+ildct+ilme", "x264-params": "tff=1"}
    mpeg2 = {"codec": "mpeg2video", "options": {"b": "8M", "flags": "+ildct+ilme"}, "rate": 25}
    both = (("irot", b"\1"), ("imir", b"\1"))
    thumbnail = [pictures((80, 60), 1), pictures()]
    left, top, right, bottom = HIDDEN
    hidden_by_filter = f"crop={SIZE[0] - left - right}:{SIZE[1] - top - bottom}:{left}:{top}"
    return [
        Kind("H.264, 4:2:0", "plain.mp4", film(), by_ffmpeg()),
        Kind("H.264, BT.709", "bt709.mp4", film(colorspace=1, color_range=1), by_ffmpeg()),
        Kind("H.264, full range", "full.mp4", film(pix_fmt="yuvj420p"), by_ffmpeg()),
        Kind("H.264, 4:4:4, 10 bit", "high.mp4", film(pix_fmt="yuv444p10le"), by_ffmpeg()),
        Kind("H.264, grey", "grey.mp4", film(pix_fmt="gray"), by_ffmpeg()),
        Kind("VP9", "vp9.webm", film(codec="libvpx-vp9", options={"crf": "10", "b": "0"}), by_ffmpeg()),
        Kind("AV1", "av1.mp4", film(codec="libsvtav1", options={"crf": "10"}), by_ffmpeg()),
        *(
            Kind(f"pixels of {a}:{b}", f"sar-{a}-{b}.{end}", film(aspect=f"{a}/{b}"), by_ffmpeg())
            for a, b, end in ((16, 11, "mp4"), (4, 3, "mkv"), (8, 9, "mp4"), (2, 1, "ts"))
        ),
        *(
            Kind(f"display matrix: {name}", f"turn-{number}.mp4", matrix(*turn), by_ffmpeg())
            for number, (name, turn) in enumerate(TURNS.items())
        ),
        Kind("pixels of 4:3, 90 degrees", "both.mp4", matrix(0, 1, -1, 0, aspect="4/3"), by_ffmpeg()),
        *(
            Kind(name, f"{name}.mp4", film(pictures=hdr(code), color_trc=code, **bt2020, **hevc), by_ffmpeg(HDR), 12)
            for name, code in (("HLG", 18), ("PQ", 16))
        ),
        Kind("interlaced, H.264", "lace.mp4", film(pictures=woven(), options=fields), by_ffmpeg(BWDIF)),
        Kind("interlaced, MPEG-2", "lace.mpg", film(pictures=woven(), **mpeg2), by_ffmpeg(BWDIF)),
        Kind(
            "interlaced, pixels of 16:15",
            "dv.mp4",
            film(pictures=woven(), options=fields, aspect="16/15"),
            by_ffmpeg(f"{BWDIF},{SQUARE}"),
        ),
        Kind("thumbnail first, mov", "two.mov", lambda path: write_streams(path, thumbnail), by_ffmpeg(stream="v:1")),
        Kind("thumbnail first, mkv", "two.mkv", lambda path: write_streams(path, thumbnail), by_ffmpeg(stream="v:1")),
        Kind("clean aperture, mp4", "clap.mp4", hidden("mp4"), by_ffmpeg(hidden_by_filter)),
        Kind("PixelCrop, mkv", "crop.mkv", hidden("mkv"), by_ffmpeg(hidden_by_filter)),
        Kind("GIF", "a.gif", film(codec="gif", pix_fmt="rgb8", options={}), by_ffmpeg()),
        Kind("animated PNG", "a.apng", film(codec="apng", pix_fmt="rgb24", options={}), by_ffmpeg()),
        Kind("animated WebP", "a.webp", film(codec="libwebp_anim", pix_fmt="bgra", options={}), by_opencv_animation),
        Kind("animated AVIF", "s.avif", film(codec="libsvtav1", options={"crf": "10"}), by_ffmpeg()),
        Kind("HEIC", "one.heic", heif("hvc1", 0), by_libheif),
        Kind("HEIC of tiles", "tiles.heic", heif("hvc1", 64), by_libheif),
        Kind("HEIC of tiles, turned and mirrored", "both.heic", heif("hvc1", 64, *both), by_libheif),
        Kind("AVIF", "one.avif", heif("av01", 0), by_libheif),
        Kind("AVIF of tiles, turned", "tiles.avif", heif("av01", 64, ("irot", b"\3")), by_libheif),
        Kind("JPEG, EXIF 6", "e6.jpg", oriented(6, []), by_pillow),
        Kind("PNG, EXIF 8", "e8.png", oriented(8, []), by_pillow),
        Kind("WebP, EXIF 6", "e6.webp", oriented(6, [cv2.IMWRITE_WEBP_QUALITY, 101]), by_pillow),
        Kind("TIFF, orientation 5", "e5.tif", oriented(5, []), by_pillow),
    ]


def read_shown(path: Path) -> tuple[np.ndarray | None, Tally]:
    """The picture as extract reads it, None where there is none."""
    tally = Tally()
    (video,) = find_videos([path]).videos
    frames = list(read_frames(video, Sampling(every=1), tally))
    wanted = FRAME if video.kind == "video" else 0
    return next((frame.image for frame in frames if frame.number == wanted), None), tally


def best_turn(ours: np.ndarray, theirs: np.ndarray) -> int:
    """1: as theirs; else the EXIF orientation by which ours comes nearest to theirs."""
    fits = {number: turned(ours, turn) for number, turn in EXIF_TURNS.items()}
    return min(
        (number for number, image in fits.items() if image.shape == theirs.shape),
        key=lambda number: difference(fits[number], theirs),
        default=0,
    )


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours.astype(int) - theirs).mean())


def compare(kind: Kind, folder: Path) -> bool:
    """Prints a line; whether it is right, or cannot be compared."""
    path = folder / kind.file
    kind.make(path)
    (ours, tally), theirs = read_shown(path), kind.show(path)
    if ours is None:
        print(f"{kind.name:44} not read: {tally.status}")
        return False
    size = f"{ours.shape[1]} x {ours.shape[0]}"
    if theirs is None:
        print(f"{kind.name:44} {size:12} not compared: the other program is missing or refuses it")
        return True
    turn = best_turn(ours, theirs)
    apart = difference(ours, theirs) if ours.shape == theirs.shape else np.nan
    good = turn == 1 and apart <= kind.allowed
    notes = "; ".join(tally.notes)
    other = f"{theirs.shape[1]} x {theirs.shape[0]}"
    print(f"{kind.name:44} {size:12} {other:12} {'same' if turn == 1 else 'OTHER':6} {apart:6.2f}  {notes}")
    return good


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'kind':44} {'handtool':12} {'other':12} {'turn':6} {'differ':6}  said")
        wrong = [kind.name for kind in kinds() if not compare(kind, folder)]
    print(f"{len(kinds())} kinds, {len(wrong)} wrong{': ' if wrong else ''}{', '.join(wrong)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
