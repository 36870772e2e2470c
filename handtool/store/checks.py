"""`handtool check`: structure and links of a file; with --deep every byte and every checksum."""

import zlib
from functools import partial

import h5py
import numpy as np

from handtool.errors import HandtoolError, first_line
from handtool.progress import Progress, silent
from handtool.store.columns import CHUNK_BYTES, crc32
from handtool.store.file import File, read_column
from handtool.store.jpegs import open_jpegs
from handtool.store.schema import CROPS, PAIRS, TRUTH

BLOCK_BYTES = 64 * CHUNK_BYTES


def find_faults(file: File, deep: bool = False, progress: Progress = silent) -> list[str]:
    """The faults of a file and of the files it links to, one sentence each; empty if all are sound."""
    if broken := find_broken_links(file):
        return list(dict.fromkeys(error.message for error in broken))
    faults = find_wrong_numbers(file)
    if deep:
        owners = {file.uuid: file, **{o.uuid: o for o in file.opened.values()}}
        for owner in owners.values():
            faults += find_wrong_bytes(owner, progress)
        if file.has(CROPS) and not any("jpeg" in fault for fault in faults):
            faults += find_wrong_jpegs(file, progress)
    return list(dict.fromkeys(faults))


def find_broken_links(file: File) -> list[HandtoolError]:
    """Errors of linked tables, and of images in other files, that are missing, replaced or unreadable."""
    broken = []
    lookups = [partial(file.owner, name) for name in file.tables] + (
        [partial(open_jpegs, file)] if file.has(CROPS) else []
    )
    lookups += [partial(file.owner, name) for name in file.links if name.startswith("pool/")]
    for look in [*lookups, partial(find_pool_images, file)]:
        try:
            look()
        except HandtoolError as error:
            broken.append(error)
    return broken


def find_pool_images(file: File) -> None:
    """Opens the images of the pool, if there is one. Errors: HandtoolError."""
    if file.pool and file.pool.has(CROPS):
        open_jpegs(file.pool)


def find_wrong_numbers(file: File) -> list[str]:
    """Row numbers of rows that do not exist, and offsets that decrease."""
    faults = []
    for column in (CROPS.video, TRUTH.video, PAIRS.anchor, PAIRS.positive):
        try:
            if file.has(column):
                read_column(file, column)
        except HandtoolError as error:
            faults.append(error.message)
    return faults or (find_wrong_pairs(file) if file.has(PAIRS) else [])


def find_wrong_pairs(file: File) -> list[str]:
    anchor, offset = read_column(file, PAIRS.anchor), read_column(file, PAIRS.anchor_offset)
    rising = (np.diff(offset) >= 0).all() and (np.diff(anchor) >= 0).all()
    good = rising and len(offset) and offset[0] == 0 and offset[-1] == len(anchor)
    return [] if good else ["/pairs/anchor_offset does not fit /pairs/anchor"]


def find_wrong_bytes(owner: File, progress: Progress) -> list[str]:
    datasets: list[h5py.Dataset] = []
    owner.h5.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    faults, done, total = [], 0, sum(d.size * d.dtype.itemsize for d in datasets)
    for dataset in datasets:
        rows = max(1, BLOCK_BYTES // max(1, int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize))
        checksum = 0
        try:
            for start in range(0, dataset.shape[0], rows):
                block = dataset[start : start + rows]
                checksum = crc32(block, checksum)
                done += block.nbytes
                progress(f"checking {owner.path.name}", done, total)
        except (OSError, RuntimeError) as error:
            faults.append(f"{owner.path}: {dataset.name} cannot be read ({first_line(error)})")
            continue
        if int(dataset.attrs.get("crc32", -1)) != checksum:
            faults.append(f"{owner.path}: {dataset.name} does not match its checksum")
    return faults


def find_wrong_jpegs(file: File, progress: Progress) -> list[str]:
    jpegs = open_jpegs(file)
    wrong = []
    for row in range(len(jpegs)):
        number = jpegs.file_of(row)
        begin = jpegs.files[number][1] + int(jpegs.start[row])
        if zlib.crc32(jpegs.read(number, begin, int(jpegs.size[row]))) != jpegs.crc[row]:
            wrong.append(row)
        if row % 1000 == 0:
            progress("checking crops", row, len(jpegs))
    rows = ", ".join(map(str, wrong[:10])) + (", …" if len(wrong) > 10 else "")
    return [f"{len(wrong)} crops do not match their checksums (rows {rows})"] if wrong else []
