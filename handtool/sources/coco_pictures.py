"""Where the pictures of a file of annotations are: below its folder, or in its archive, and nowhere else."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from handtool.archives import open_zip
from handtool.names import natural
from handtool.sources.images import MAX_BYTES, SUFFIXES, BadImage, read_bytes

ANNOTATIONS = "annotations"
MOST_FOLDERS = 200  # below the root, that are searched for pictures
OUTSIDE, MISSING = "images whose names are no paths inside the folder", "images that are not there"


def base_of(root: Path) -> Path:
    """The folder below which the pictures are."""
    if root.is_dir():
        return root
    folder = root.parent if root.parent.name else root.parent.resolve()
    return folder.parent if folder.name == ANNOTATIONS else root.parent


def plain(name: str) -> str:
    """A path below the folder, with forward slashes; empty: it leaves it, or is none."""
    if not is_text(name):
        return ""
    place = PurePosixPath(name.replace("\\", "/"))
    is_inside = not place.is_absolute() and ".." not in place.parts and "\0" not in name and place.parts
    return place.as_posix() if is_inside else ""


def is_text(name: str) -> bool:
    """Whether it can be written as UTF-8, which half a character cannot."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def picture_finder(base: Path, stem: str = "") -> Callable[[str], str]:
    """The function from a file_name to the path of the picture below `base`; empty: it is not there. Searched are the
    folder itself, images/, and the folders below both; first those that the name of the json, `stem`, has too."""
    places = [""]
    for top in ("", "images"):
        folder = base / top
        inside = [each.name for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []
        below = sorted((name for name in inside if not name.startswith(".")), key=natural)
        places += [top, *(f"{top}/{name}".lstrip("/") for name in below)]
    places = sorted(dict.fromkeys(places), key=lambda place: not is_named(place, stem))[:MOST_FOLDERS]
    num_named = sum(is_named(place, stem) for place in places)

    def find(name: str) -> str:
        if not (below := plain(name)):
            return ""
        for number, place in enumerate(places):
            path = f"{place}/{below}" if place else below
            try:
                there = (base / path).is_file()
            except (OSError, ValueError):
                return ""
            if there:
                if number > num_named:
                    places.insert(num_named, places.pop(number))  # the next is likely to be there too
                return path
        return ""

    return find


def is_named(place: str, stem: str) -> bool:
    """Whether the last folder of `place` is a word of `stem`: val2017 of person_keypoints_val."""
    folder = PurePosixPath(place).name.lower()
    return bool(folder) and (folder in words_of(stem) or folder.rstrip("0123456789") in words_of(stem))


def count_others(base: Path, paths: Iterable[str]) -> int:
    """Pictures in the folders of the given ones that are none of them. paths: below `base`; empty: not there."""
    known: dict[str, set[str]] = {}
    for path in filter(None, paths):
        folder, _, name = path.rpartition("/")
        known.setdefault(folder, set()).add(name)
    total = 0
    for folder, names in known.items():
        inside = os.listdir(base / folder) if (base / folder).is_dir() else []  # of an archive there is none
        total += sum(Path(name).suffix.lower() in SUFFIXES and name not in names for name in inside)
    return total


def name_finder(names: list[str], stem: str) -> Callable[[str], str]:
    """As picture_finder, of the names in an archive: the shortest that ends so, first of folders that `stem` has."""
    ends: dict[str, list[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        for start in range(min(len(parts), 8)):
            ends.setdefault("/".join(parts[start:]), []).append(name)

    def find(name: str) -> str:
        found = ends.get(plain(name), [])
        return min(found, default="", key=lambda each: (not is_named(str(PurePosixPath(each).parent), stem), len(each)))

    return find


def words_of(name: str) -> list[str]:
    return re.findall("[a-z]+|[0-9]+", name.lower())


def reader_of(root: Path, stack: ExitStack) -> Callable[[Path], bytes]:
    """The function that gives the bytes of a picture by its path below the root; it raises BadImage."""
    if root.suffix.lower() == ".zip" and root.is_file():
        archive = stack.enter_context(open_zip(root))
        members = {PurePosixPath(member.filename).as_posix(): member for member in archive.infolist()}

    def read(path: Path) -> bytes:
        if str(path) in (OUTSIDE, MISSING):
            raise BadImage(str(path))
        if root.is_dir() or root.suffix.lower() != ".zip":
            return read_bytes(base_of(root) / path)
        member = members.get(path.as_posix())
        if member is None or member.file_size > MAX_BYTES:
            raise BadImage(MISSING)
        try:
            return archive.read(member)
        except Exception as error:  # whatever a damaged member makes zipfile raise
            raise BadImage(f"images damaged in the archive ({type(error).__name__})") from None

    return read
