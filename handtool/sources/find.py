"""From the paths on a command line to a list of videos, in an order that depends on names alone."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from handtool.addresses import identify, without_secrets
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.names import natural
from handtool.sources import datasets, images, labelled, tar_videos, truth, video
from handtool.sources.factories import find_people
from handtool.sources.frame import Choice, Video
from handtool.sources.tar_member import SUFFIX
from handtool.sources.tar_videos import LeftOut

log = logging.getLogger(__name__)

log = logging.getLogger(__name__)


@dataclass
class Found:
    """The videos, and what lay beside them: reason -> number of files left out."""

    videos: list[Video] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)


def find_videos(
    sources: list[Path], limit: int | None = None, listed: Sequence[Path | str] = (), choice: Choice = Choice()
) -> Found:
    """Sources in the order given, each searched in natural order (1, 2, 10): a video file or the images in a folder are
    one video. A tar is searched as a folder is.

    A folder with `labels.npz` or `labels.json` is a labelled set, one laid out as a published data set is that set;
    neither is searched further. With `choice.dataset` every source is the root of that set; `choice` says which part of
    it. Hidden files are passed over. `limit` keeps the first so many videos or images. `listed` (from a list of ten
    thousand) follows the sources; a missing one becomes a video that cannot be read. A text among them is the address
    of a video on another machine. Raises HandtoolError if a source does not exist or all are empty.
    """
    found = Found()
    seen: set[str] = set()
    datasets.check_choice(choice)
    for source in sources:
        if not source.exists():
            raise HandtoolError(f"{source} does not exist", hint="name a video, an image or a folder of them")
        if source.is_file() and (program := tar_videos.find_unpacker(source.name)):
            told = f"{source} is compressed: what is in a tar is read in place, which only a plain one allows"
            raise HandtoolError(told, hint=f"{program} {source}")
    named: list[Path | str] = [*sources, *listed]
    for item in named:
        before = len(found.videos) + found.left_out.total()
        if isinstance(item, str):
            found.videos.extend(find_remote(item, found.left_out, seen, choice))
        else:
            find = find_named if choice.dataset else find_in_folder if item.is_dir() else find_one_file
            found.videos.extend(find(item, found.left_out, seen, choice))
        if len(found.videos) + found.left_out.total() == before:
            found.left_out["empty folders"] += 1
    if not found.videos:
        where = ", ".join(str(source) for source in sources) or f"the {len(listed)} listed"
        beside = f" ({sum(found.left_out.values())} other files)" if found.left_out else ""
        if packed := found.left_out[tar_videos.IS_PACKED]:
            beside = f" ({packed} {tar_videos.IS_PACKED})"
        if wrong := found.left_out.explain():
            hint = "downloaded to its end?" if found.left_out.faults else None
            raise DamagedFile(f"no video and no image in {where}: {wrong}", hint=hint)
        raise HandtoolError(
            f"no video and no image in {where}{beside}",
            hint=f"known endings: {' '.join(sorted(video.SUFFIXES | images.SUFFIXES))}",
        )
    for fault in found.left_out.faults:
        log.warning("%s", fault)
    found.videos = tell_apart(list(first_of(found.videos, limit)))
    return found


def tell_apart(videos: list[Video]) -> list[Video]:
    """Videos of the same name, from different folders, are named by their paths."""
    counts = Counter(one.name for one in videos)
    same = [counts[one.name] > 1 and one.kind != "labelled" and not one.episode for one in videos]
    return [replace(one, name=readable(one.path)) if twice else one for one, twice in zip(videos, same)]


def find_one_file(path: Path, left_out: LeftOut, seen: set[str], choice: Choice) -> Iterator[Video]:
    """A file that is given itself: an image by its suffix, a labels file by its name or content, else a video."""
    if named_before(path, left_out, seen):
        return
    if published := datasets.recognise_file(path):
        yield from datasets.find_dataset(published, path, path.name, choice)
    elif path.name in labelled.NAMES:
        yield from labelled.find_labelled(path, name=path.resolve().parent.name)
    elif path.suffix.lower() == SUFFIX:
        yield from tar_videos.find_in_tar(path, readable(path.name), left_out, choice)
    elif tar_videos.find_unpacker(path.name):
        left_out[tar_videos.IS_PACKED] += 1
    elif path.suffix.lower() in images.SUFFIXES and not images.is_clip(path):
        yield Video(readable(path.name), readable(path), "images", (str(path),))
    else:
        yield Video(readable(path.name), str(path), "video")


def find_remote(address: str, left_out: LeftOut, seen: set[str], choice: Choice) -> Iterator[Video]:
    """A video at an address."""
    path = without_secrets(address)
    if choice.dataset:
        raise WrongCommand(f"{path} is no folder of a data set", hint="fetch the data set first")
    if (suffix := Path(path).suffix.lower()) in images.SUFFIXES or suffix == SUFFIX:
        kind = "a tar" if suffix == SUFFIX else "an image"
        raise WrongCommand(f"{path} is {kind}: only videos are read from their addresses", hint="fetch it first")
    if identify(address) in seen:
        left_out["named twice"] += 1
    else:
        seen.add(identify(address))
        yield Video(path.rstrip("/").rpartition("/")[2] or path, path, "video", address=address)


def find_named(root: Path, left_out: LeftOut, seen: set[str], choice: Choice) -> Iterator[Video]:
    """A folder that is given as the root of a data set."""
    assert choice.dataset is not None
    if not named_before(root, left_out, seen):
        yield from datasets.find_dataset(choice.dataset, root, root.resolve().name, choice)


def find_in_folder(root: Path, left_out: LeftOut, seen: set[str], choice: Choice) -> Iterator[Video]:
    """Names start with the folder's own, so that `sign_digits/3` says where it came from. Links are followed, once."""
    for folder, below, names in os.walk(root, followlinks=True):
        here = Path(folder)
        if named_before(here, left_out, seen):
            below.clear()
            continue
        below[:] = sorted((name for name in below if not name.startswith(".")), key=natural)
        names = sorted((name for name in names if not name.startswith(".")), key=natural)
        title = (Path(root.resolve().name) / here.relative_to(root)).as_posix()
        if published := datasets.recognise(here, names, below, choice):
            below.clear()
            try:
                yield from datasets.find_dataset(published, here, title, choice)
            except HandtoolError as error:
                if here == root or published != "lerobot" or isinstance(error, WrongCommand):
                    raise
                log.warning("%s", error.message)  # one of a thousand roots of one episode each
                left_out["LeRobot sets that cannot be read"] += 1
            continue
        labels = [name for name in labelled.NAMES if name in names]
        if labels:
            below.clear()
            yield from labelled.find_labelled(one_of(here, labels), title)
            continue
        clips = {name for name in names if images.is_clip(here / name)}
        pictures = tuple(
            str(here / name) for name in names if Path(name).suffix.lower() in images.SUFFIXES and name not in clips
        )
        if pictures:
            yield Video(readable(title), readable(here), "images", pictures)
        for name in names:
            suffix = Path(name).suffix.lower()
            is_film = suffix in video.SUFFIXES or name in clips
            if (is_film or suffix == SUFFIX) and named_before(here / name, left_out, seen):
                continue
            if suffix == SUFFIX:
                yield from tar_videos.find_in_tar(here / name, readable(f"{title}/{name}"), left_out, choice)
            elif is_film:
                subject, place = find_people(readable(os.path.abspath(here / name)))
                yield Video(readable(f"{title}/{name}"), str(here / name), "video", subject=subject, place=place)
            elif tar_videos.find_unpacker(name):
                left_out[tar_videos.IS_PACKED] += 1
            elif suffix not in images.SUFFIXES and name not in truth.COMPANIONS:
                left_out["not a video or image by its ending"] += 1


def one_of(folder: Path, labels: list[str]) -> Path:
    if len(labels) > 1:
        raise HandtoolError(
            f"{folder} has {' and '.join(labels)}: which one holds the labels?",
            hint=f"handtool extract {folder / labels[0]}",
        )
    return folder / labels[0]


def named_before(path: Path, left_out: Counter, seen: set[str]) -> bool:
    real = os.path.realpath(path)
    if real in seen:
        left_out["named twice"] += 1
        return True
    seen.add(real)
    return False


def readable(path: Path | str) -> str:
    """The name as text: bytes that are not UTF-8 become the replacement character."""
    return os.fsencode(path).decode("utf-8", "replace")


def first_of(videos: list[Video], limit: int | None) -> Iterator[Video]:
    """The first `limit` videos or images; a folder of images is cut at the limit."""
    left = limit if limit is not None else float("inf")
    for one in videos:
        if left <= 0:
            return
        if one.kind == "video":
            left -= 1
            yield one
        else:
            count = int(min(left, len(one.files or one.rows)))
            left -= count
            yield one.of_files(slice(count)) if one.files else one.of_rows(slice(count))
