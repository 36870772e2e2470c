"""Decoding by hardware, where PyAV (14 or later) offers it. Not measured: it was written without such hardware.

Its frames come back to memory in the layouts of the hardware, and are rearranged to those of FFmpeg's own decoders, so
that their colours are converted alike.
"""

import logging

import av

from handtool.sources.tar_member import BUFFER, MemberFile

log = logging.getLogger(__name__)
LAYOUTS = {"nv12": "yuv420p", "p010le": "yuv420p10le", "p012le": "yuv420p12le", "nv16": "yuv422p", "nv24": "yuv444p"}
KINDS = ("cuda", "vaapi")


def choose_decoding(decode: str) -> str:
    """As it was asked for, or `auto`, with a warning, where this machine has no such hardware."""
    if decode in KINDS and (why := why_missing(decode)):
        log.warning("--decode %s: %s; the CPU decodes", decode, why)
        return "auto"
    return decode


def why_missing(kind: str) -> str:
    """Why this machine cannot decode by hardware of this kind; empty: it can."""
    try:
        from av.codec.hwaccel import HWAccel, hwdevices_available
    except ImportError:
        return f"PyAV {av.__version__} does not offer it"
    if kind not in hwdevices_available():
        return "this PyAV is built without it"
    try:
        HWAccel(kind, allow_software_fallback=False).create(av.codec.Codec("h264", "r"))
    except (av.FFmpegError, NotImplementedError, OSError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def open_film(film: str | MemberFile, decode: str, **options):
    """The open container; a codec that the hardware does not know, or a device that fails, is decoded by the CPU."""
    alone = {"protocol_whitelist": "file" if isinstance(film, str) else "none"}  # a list of parts may name any file
    options |= {"options": alone, "buffer_size": BUFFER}
    if decode in KINDS:
        try:
            from av.codec.hwaccel import HWAccel

            return av.open(film, hwaccel=HWAccel(decode, allow_software_fallback=True), **options)
        except (ImportError, av.FFmpegError, NotImplementedError):
            pass
    return av.open(film, **options)


def as_of_the_cpu(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame of the hardware in the layout that FFmpeg's own decoder gives."""
    layout = LAYOUTS.get(frame.format.name)
    return frame.reformat(format=layout) if layout else frame
