"""The videos in a tar: each film is one, and the images of each clip are one.

Images are told apart as WebDataset does it: the name of a file up to its first dot is the key of a sample, what follows
says what it is. So `000001.image_214-1.jpg` is an image of the camera image_214-1. A clip is the images of one folder
of the tar, of one camera, and of keys that differ only in the number at their end; where that would leave fewer than
two images a clip, the names mean something else, and the images of the folder are one clip.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from handtool.names import INTRINSICS, natural
from handtool.sources import images, video
from handtool.sources.factories import LONGEST, find_people
from handtool.sources.frame import Choice, Video
from handtool.sources.sets import hot3d
from handtool.sources.tar_index import REFUSED, NoTar, TarIndex, read_index
from handtool.sources.tar_member import SUFFIX, read_member

PACKED = {  # ending -> what unpacks it
    **dict.fromkeys((".tar.gz", ".tgz"), "gzip -d"),
    **dict.fromkeys((".tar.zst", ".tzst"), "zstd -d"),
    **dict.fromkeys((".tar.bz2", ".tbz2"), "bzip2 -d"),
    **dict.fromkeys((".tar.xz", ".txz"), "xz -d"),
    ".tar.lz4": "lz4 -d",
}
IS_PACKED = "compressed tars, which cannot be read in place (gzip -d, zstd -d)"
DAMAGED, NO_TAR = "damaged tars, of which what lies behind the damage is not read", "files named .tar that are none"
MOST_NAMED = 3
HIDDEN, NESTED, OTHER = "hidden files in tars", "tars in tars", "not a video or image by its ending"
NUMBER = re.compile(r"[-_ ]*\d+$")


class LeftOut(Counter):
    """Files by the reason why they were left out. faults: what is wrong with single tars, a line each."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def explain(self) -> str:
        """What is wrong with the tars, "" where nothing is."""
        refused = (f"{count} {reason}" for reason, count in self.items() if reason in (NESTED, *REFUSED))
        return "; ".join((*self.faults[:MOST_NAMED], *refused))


def find_unpacker(name: str) -> str:
    """What unpacks a compressed tar of that name; "": it is none."""
    return next((program for ending, program in PACKED.items() if name.lower().endswith(ending)), "")


def find_in_tar(path: Path, title: str, left_out: LeftOut, choice: Choice) -> Iterator[Video]:
    """In natural order. title: the name of the tar. What the tar cannot be read for is told, and counted."""
    try:
        index = read_index(str(path))
    except NoTar as reason:
        left_out.faults.append(f"{path} is no tar: {reason}")
        left_out[NO_TAR] += 1
        return
    except OSError:
        yield Video(title, str(path), "video")  # which cannot be read either, and says why
        return
    left_out.update(index.left_out)
    if index.problem:
        left_out.faults.append(f"{path} is damaged: {index.problem} (what lies before is read)")
        left_out[DAMAGED] += 1
    names = sorted(seen_names(index, left_out), key=natural)
    if hot3d.is_clip(names):
        yield from hot3d.find_in_tar(index, names, title, choice)
        return
    films = [name for name in names if is_film(index, name)]
    pictures = sorted({name for name in names if ending(name) in images.SUFFIXES}.difference(films), key=natural)
    beside = {each(name) + ".json" for name in (*films, *pictures) for each in (stem, key)}
    beside.update(name for name in names if name.rpartition("/")[2] == INTRINSICS)
    if others := len(set(names).difference(films, pictures, beside)):
        left_out[OTHER] += others
    for name in films:
        yield make_film(index, name, title, left_out)
    for clip, own in find_clips(pictures).items():
        files, spans = tuple(f"{path}/{name}" for name in own), tuple(index.spans[name] for name in own)
        called = [part for part in (title, clip) if part], [part for part in (str(path), clip) if part]
        name, place = map("/".join, called)
        subject, where = find_people(os.path.abspath(files[0]))
        yield Video(name, place, "images", files, subject=subject, place=where, tar=str(path), spans=spans)


def seen_names(index: TarIndex, left_out: Counter) -> Iterator[str]:
    """Without hidden files, such as those in which macOS keeps attributes, and tars in the tar."""
    for name in index.spans:
        if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
            left_out[HIDDEN] += 1
        elif ending(name) == SUFFIX or find_unpacker(name):
            left_out[NESTED] += 1
        else:
            yield name


def ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def stem(name: str) -> str:
    return name.removesuffix(PurePosixPath(name).suffix)


def key(name: str) -> str:
    """Of the sample in WebDataset's sense."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def is_film(index: TarIndex, name: str) -> bool:
    if ending(name) in video.SUFFIXES:
        return True
    try:
        return ending(name) in images.MAYBE_CLIPS and images.begins_as_clip(index.member(name))
    except OSError:
        return False


def make_film(index: TarIndex, name: str, title: str, left_out: Counter) -> Video:
    path, about = f"{index.path}/{name}", stem(name) + ".json"
    subject, place = find_people(os.path.abspath(path))
    if about in index.spans and not (subject and place):
        try:
            subject, place = find_people(os.path.abspath(path), read_member(index.member(about), LONGEST))
        except (OSError, ValueError, RecursionError):
            left_out["json beside films in tars that cannot be read"] += 1
    spans = (index.spans[name],)
    return Video(f"{title}/{name}", path, "video", subject=subject, place=place, tar=index.path, spans=spans)


def find_clips(names: list[str]) -> dict[str, list[str]]:
    """The images of each clip, whose name is its path below the tar, without what all have in common."""
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    clips: dict[str, list[str]] = {}
    for folder, own in folders.items():
        for (run, camera), some in find_runs(own).items():
            clip = "/".join(part for part in (folder, run, camera) if part)
            clips[clip if clip not in clips else some[0]] = some
    return clips


def find_runs(names: list[str]) -> dict[tuple[str, str], list[str]]:
    """Of the images of one folder, by what stands before the number and by the camera, "" where that tells nothing."""
    runs, cameras = {}, {}
    for name in names:
        of_sample, _, rest = name.rpartition("/")[2].partition(".")
        camera = rest.rpartition(".")[0]
        cameras[name] = "" if camera.isdigit() else camera
        runs[name] = NUMBER.sub("", of_sample)
    tell = [2 * len(set(each.values())) <= len(names) for each in (runs, cameras)]
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        found.setdefault((runs[name] * tell[0], cameras[name] * tell[1]), []).append(name)
    return found
