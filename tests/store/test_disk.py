"""The file that libhdf5 writes to, when it is given up before libhdf5 has let go of it."""

import gc
import sys
import tempfile

import h5py
import numpy as np

from handtool.store.disk import DiskFile


def test_a_closed_file_takes_what_libhdf5_still_writes_without_a_word(monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    descriptor, name = tempfile.mkstemp()
    disk = DiskFile(descriptor)
    h5 = h5py.File(disk, "w", libver=("v110", "v110"))
    held = h5.create_dataset("a", data=np.arange(10_000), chunks=(100,))
    disk.close()
    held[:10] = 1
    del h5, held
    gc.collect()
    assert said == []
    assert disk.error is not None
