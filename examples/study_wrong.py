"""A copy of a file of keypoints, in which a share of the hands has another hand's keypoints.

python examples/study_wrong.py KEYPOINTS OUT SHARE
"""

import sys
from pathlib import Path

import numpy as np

from handtool import store
from handtool.store import KEYPOINTS, Record


def main() -> None:
    source, out, share = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    record, rng = Record("study_wrong", {"share": share}), np.random.default_rng(5)
    with store.open_file(source) as file, store.create_file(out, record, [file]) as sink:
        columns = {column.name: store.read_column(file, column) for column in (KEYPOINTS.xy, KEYPOINTS.score)}
        columns["valid"], xy = store.read_column(file, KEYPOINTS.valid), columns["xy"].copy()
        wrong = np.flatnonzero(rng.random(len(xy)) < share)
        columns["xy"][wrong] = xy[rng.permutation(len(xy))[: len(wrong)]]
        store.write_table(sink, KEYPOINTS, columns, store.read_attrs(file, KEYPOINTS))
        sink.inherit(file)
        sink.finish({})


if __name__ == "__main__":
    main()
