"""Films and images that say how they are shown: made for the tests and the trial of `sources/shown.py`."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def write_film(
    path: Path, pictures: list, codec: str = "libx264", aspect=None, options: dict | None = None, rate=10, **context
) -> Path:
    """pictures: (h, w, 3) uint8 RGB each. context: attributes of the codec context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"crf": "4"} if options is None else options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = context.pop("pix_fmt", "yuv420p")
        if aspect:
            stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for image in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_streams(path: Path, streams: list[list], codecs=("mjpeg", "libx264")) -> Path:
    """streams: the pictures (h, w, 3) uint8 RGB of each."""
    with av.open(str(path), "w") as container:
        made = []
        for pictures, codec in zip(streams, codecs, strict=True):
            stream = container.add_stream(codec, rate=30)
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            made.append(stream)
        for stream, pictures in zip(made, streams, strict=True):
            for image in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return path


def as_hdr(colours: np.ndarray, transfer: int) -> np.ndarray:
    """colours: (…, 3) levels of 255 on a BT.1886 screen of 203 cd/m2. Returns 0..1: the same light in BT.2020, coded by
    HLG (18) or PQ (16) by the formulas of ITU-R BT.2100."""
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = 203 * (colours / 255) ** 2.4 @ to_2020.T  # cd/m2
    if transfer == 16:
        power = (light / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    shown = light / 1000
    scene = shown * np.maximum(shown @ [0.2627, 0.678, 0.0593], 1e-9)[..., None] ** ((1 - 1.2) / 1.2)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The display matrix of an mp4 (ISO 14496-12, 8.3.2): stored (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def set_clean_aperture(path: Path, left: int, top: int, right: int, bottom: int, width: int, height: int) -> Path:
    """`clap` (ISO 14496-12, 12.1.4) of the one stream of an mp4 whose headers are at its end. width, height: stored."""
    wide, high = width - left - right, height - top - bottom
    content = struct.pack(">IIIIiIiI", wide, 1, high, 1, left - right, 2, top - bottom, 2)
    data = bytearray(path.read_bytes())
    moov = data.index(b"moov", data.index(b"mdat"))
    places = [data.index(name, moov) - 4 for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")]
    (size,) = struct.unpack_from(">I", data, places[-1])
    data[places[-1] + size : places[-1] + size] = box("clap", content)
    for place in places:
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, size + 8 + len(content))
    path.write_bytes(data)
    return path


def set_pixel_crop(path: Path, left: int, top: int, right: int, bottom: int) -> Path:
    """PixelCropLeft and so on (RFC 9559, 5.1.4.1.28) of every video track of a Matroska file."""
    crops = zip((0x54CC, 0x54BB, 0x54DD, 0x54AA), (left, top, right, bottom))
    more = b"".join(name.to_bytes(2, "big") + b"\x82" + value.to_bytes(2, "big") for name, value in crops)
    path.write_bytes(add_to_element(path.read_bytes(), ["18538067", "1654ae6b", "ae", "e0"], more))
    return path


def add_to_element(data: bytes, names: list[str], more: bytes) -> bytes:
    """The elements (EBML) with `more` at the end of the one that `names` lead to."""
    if not names:
        return data + more
    made, place = b"", 0
    while place < len(data):
        long = 9 - data[place].bit_length()
        wide = 9 - data[place + long].bit_length()
        start = place + long + wide
        size = int.from_bytes(data[place + long : start], "big") & ((1 << 7 * wide) - 1)
        if data[place : place + long].hex() == names[0]:
            content = add_to_element(data[start : start + size], names[1:], more)
            made += data[place : place + long] + ((1 << 56) | len(content)).to_bytes(8, "big") + content
        else:
            made += data[place : start + size]
        place = start + size
    return made


def write_heif(path: Path, image: np.ndarray, codec: str, tile: int = 0, extra: list | tuple = ()) -> Path:
    """image: (h, w, 3) uint8 RGB. codec: hvc1 or av01. tile: side of the tiles, px, even (0: one picture). extra:
    (name, content) of further properties of the whole picture, in their order."""
    height, width = image.shape[:2]
    side = (tile, tile) if tile else (height, width)
    rows, columns = -(-height // side[0]), -(-width // side[1])
    padded = np.pad(image, [(0, rows * side[0] - height), (0, columns * side[1] - width), (0, 0)], "edge")
    tiles = [
        padded[y * side[0] : (y + 1) * side[0], x * side[1] : (x + 1) * side[1]]
        for y in range(rows)
        for x in range(columns)
    ]
    coded = [code_still(path.with_suffix(".mp4"), each, codec) for each in tiles]
    grid = struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, width, height) if tile else b""
    kinds = [codec] * len(tiles) + (["grid"] if tile else [])
    contents = [packet for _, packet in coded] + ([grid] if tile else [])
    known = [
        box("ispe", struct.pack(">3I", 0, side[1], side[0])),
        box({"hvc1": "hvcC", "av01": "av1C"}[codec], coded[0][0]),
        box("ispe", struct.pack(">3I", 0, width, height)),
        *(box(name, content) for name, content in extra),
    ]
    own = [3 + n for n in range(len(extra) + 1)]
    links = [[1, 2] for _ in tiles] + [own] if tile else [[1, 2, *own[1:]]]
    count, last = len(kinds), len(kinds)
    meta = [
        box("hdlr", struct.pack(">II4s12xB", 0, 0, b"pict", 0)),
        box("pitm", struct.pack(">IH", 0, last)),
        box(
            "iinf",
            struct.pack(">IH", 0, count),
            *(
                box("infe", struct.pack(">IHH4sB", 2 << 24 | (n < last), n, 0, kind.encode(), 0))
                for n, kind in enumerate(kinds, start=1)
            ),
        ),
        box(
            "iprp",
            box("ipco", *known),
            box(
                "ipma",
                struct.pack(">II", 0, count),
                *(struct.pack(f">HB{len(each)}B", n, len(each), *each) for n, each in enumerate(links, start=1)),
            ),
        ),
    ]
    if tile:
        parts = range(1, count)
        meta.append(box("iref", bytes(4), box("dimg", struct.pack(f">HH{len(parts)}H", last, len(parts), *parts))))
    head = box("ftyp", b"heic" if codec == "hvc1" else b"avif", bytes(4), b"mif1")
    size = len(head) + len(box("meta", bytes(4), *meta)) + 8 + 8 + 14 * count + 8
    starts = size + np.cumsum([0, *map(len, contents[:-1])])
    places = [
        struct.pack(">HHHII", n, 0, 1, start, len(each))
        for n, (start, each) in enumerate(zip(starts, contents, strict=True), start=1)
    ]
    meta.append(box("iloc", struct.pack(">IHH", 0, 0x4400, count), *places))
    path.write_bytes(head + box("meta", bytes(4), *meta) + box("mdat", *contents))
    return path


def box(name: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), name.encode()) + body


def code_still(path: Path, image: np.ndarray, codec: str) -> tuple[bytes, bytes]:
    """The configuration (hvcC, av1C) and the coded picture. path: of an mp4 that is written by the way."""
    if codec == "av01":
        write_film(path, [image], "libsvtav1", options={"crf": "2"})
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            packet = next(each for each in container.demux(stream) if each.size)
            coded = bytes(stream.codec_context.extradata), bytes(packet)
        path.unlink()
        return coded
    context = av.CodecContext.create("libx265", "w")
    context.height, context.width = image.shape[:2]
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 10)
    context.options = {"crf": "2", "x265-params": "log-level=none:info=0"}
    packets = [*context.encode(av.VideoFrame.from_ndarray(image, format="rgb24")), *context.encode(None)]
    units = [unit.rstrip(b"\0") for unit in b"".join(map(bytes, packets)).split(b"\0\0\1")[1:]]
    sets = [unit for unit in units if unit[0] >> 1 in (32, 33, 34)]
    profile = next(unit for unit in sets if unit[0] >> 1 == 33).replace(b"\0\0\3", b"\0\0")[3:15]
    head = b"\1" + profile + bytes([0xF0, 0, 0xFC, 0xFD, 0xF8, 0xF8, 0, 0, 0x0F, len(sets)])  # ISO/IEC 14496-15, 8.3.3
    arrays = b"".join(struct.pack(">BHH", 0x80 | each[0] >> 1, 1, len(each)) + each for each in sets)
    pictures = [unit for unit in units if unit not in sets]
    return head + arrays, b"".join(struct.pack(">I", len(unit)) + unit for unit in pictures)


def exif(orientation: int, order: str) -> bytes:
    """order: < or >, as in struct."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return head + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def orient_jpeg(data: bytes, orientation: int, order: str) -> bytes:
    body = b"Exif\0\0" + exif(orientation, order)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def orient_png(data: bytes, orientation: int, order: str) -> bytes:
    body = b"eXIf" + exif(orientation, order)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    place = data.index(b"IDAT") - 4
    return data[:place] + chunk + data[place:]


def orient_webp(data: bytes, orientation: int, order: str) -> bytes:
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    head = (
        b"VP8X" + struct.pack("<II", 10, 0x08) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    body = exif(orientation, order)
    content = b"WEBP" + head + data[12:] + b"EXIF" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", len(content)) + content


def orient_tiff(data: bytes, orientation: int, order: str) -> bytes:
    """A plain TIFF of the same picture, written here."""
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    height, width = image.shape[:2]
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8)]
    tags += [(274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, image.size)]
    tags[2] = (258, 3, 3, 8 + image.size)
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in tags
    )
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 14 + image.size)
    depth = struct.pack(f"{order}3H", 8, 8, 8)
    return head + image.tobytes() + depth + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


ORIENT = {".jpg": orient_jpeg, ".png": orient_png, ".tif": orient_tiff, ".webp": orient_webp}
