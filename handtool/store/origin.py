"""The origin of a file's hands: the columns from which hands/groups.py derives which hands belong together."""

from typing import Any

import numpy as np

from handtool.store.file import File, read_column
from handtool.store.schema import CROPS, LABELS, VIDEOS

BLOCK_ROWS = 8_192
FEWEST_POINTS = 3  # with fewer labelled points, labels may be equal by chance


def read_origin(file: File) -> dict[str, Any]:
    """The fields of an `Origin`: V videos, N hands. Errors: HandtoolError (no crops), DamagedFile."""
    file.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    video = read_column(file, CROPS.video).astype(np.int64)
    texts = {column.name: read_column(file, column).tolist() for column in (VIDEOS.name, VIDEOS.path, VIDEOS.subject)}
    sample_id, key = np.full(len(video), -1), [""] * len(texts["name"])
    if file.has(LABELS):
        sample_id = read_column(file, LABELS.sample_id)
        there, first = np.unique(video, return_index=True)
        for number, name in zip(there, read_column(file, LABELS.sample_key, first)):
            key[number] = name
    label = digest_labels(file) if file.has(LABELS) else np.zeros(len(video), np.uint64)
    owner = file.owner("crops").uuid
    known = {"owner": owner, "video": video, **texts, "label": label, "sample_id": sample_id, "sample_key": key}
    return known | read_pictures(file)


def read_pictures(file: File) -> dict[str, Any]:
    """The fields of an `Origin` that tell which pictures are the same."""
    size = np.diff(read_column(file, CROPS.jpeg_offset)).astype(np.uint64)
    count = len(size)
    none = np.broadcast_to(np.uint8(0), (count, 2, 8, 8))
    thumbnails = read_column(file, CROPS.thumbnails) if file.has(CROPS.thumbnails) else none
    return {
        "digest": size << np.uint64(32) | read_column(file, CROPS.jpeg_crc32),
        "thumbnails": thumbnails,
        "time": read_column(file, CROPS.time),
        "frame": read_column(file, CROPS.frame),
    }


def digest_labels(file: File) -> np.ndarray:
    """(N,) uint64: equal for rows whose labels have equal bits, 0 for rows without a label.

    Compares the joints, or the keypoints if fewer than three joints are known.
    """
    digest = np.zeros(file.count(LABELS), np.uint64)
    for start in range(0, len(digest), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(digest)))
        for points, valid in ((LABELS.joints, LABELS.valid), (LABELS.keypoints, LABELS.keypoints_valid)):
            there = read_column(file, valid, rows)
            told = (there.sum(axis=1) >= FEWEST_POINTS) & (digest[rows] == 0)
            if told.any():
                known = np.where(there[:, :, None], read_column(file, points, rows), 0)
                digest[rows][told] = digest_rows(known[told])
    return digest


def digest_rows(values: np.ndarray) -> np.ndarray:
    """values (n, …) float32 -> (n,) uint64 > 0, by splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    bits = np.ascontiguousarray(values, np.float32).reshape(len(values), -1).view(np.uint32).astype(np.uint64)
    mixed = bits + np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.maximum((mixed ^ (mixed >> np.uint64(31))).sum(axis=1, dtype=np.uint64), np.uint64(1))
