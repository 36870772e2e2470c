"""Crops reach the loop whole, in order and on time; the schedule knows every step without remembering any."""

import os
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
import torch
from making import SIZE, make_file

from handtool import store
from handtool.errors import DamagedFile
from handtool.nn.files import loader
from handtool.nn.files.data import Crops, Schedule, step_rng
from handtool.nn.files.loader import count_workers, fit_workers, in_order, read_crops
from handtool.nn.files.pairs import pair_with_itself, pair_with_mined
from handtool.nn.training.distributed import Place


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_file(tmp_path_factory.mktemp("crops") / "crops.h5", (7, 6))


@pytest.mark.parametrize(("workers", "least"), [(0, 64), (1, 64), (2, 64), (2, 1), (3, 2), (1, 3)])
def test_batches_come_in_the_order_asked_as_opencv_decodes_them(path, workers, least, monkeypatch):
    monkeypatch.setattr(loader, "MIN_PIECE", least)
    rng = np.random.default_rng(workers)
    batches = [
        rng.integers(0, 13, size) for size in (5, 3, 5, 1, 2, *rng.integers(1, 6, 30))
    ]  # memory is used again and again
    with store.open_file(path) as file:
        jpegs, found, last = store.open_jpegs(file), [], None
        for crops in read_crops(Crops(file), batches, workers):
            if last is not None:
                assert torch.equal(last, found[-1])  # still there when the next one is
            found.append(crops.clone())
            last = crops
    for rows, crops in zip(batches, found, strict=True):
        assert crops.dtype == torch.uint8 and crops.shape == (len(rows), SIZE, SIZE, 3)
        for row, crop in zip(rows, crops.numpy(), strict=True):
            assert np.array_equal(crop, cv2.imdecode(np.frombuffer(jpegs[row], np.uint8), cv2.IMREAD_COLOR)[..., ::-1])


def test_shared_memory_that_is_too_small_means_fewer_workers_and_the_same_crops(path, monkeypatch, caplog):
    small = os.statvfs_result(
        (4096, 4096, 0, 4 * SIZE**2 * 3 // 4096 + 1, 0, 0, 0, 0, 0, 255)
    )  # bavail, the fifth, is none
    monkeypatch.setattr(loader.os, "statvfs", lambda _: small)
    assert [fit_workers(workers, 1, 10**5) for workers in (0, 3)] == [0, 0]
    with store.open_file(path) as file:
        found = [crops.clone() for crops in read_crops(Crops(file), [np.array([1]), np.array([2])], 3)]
        assert torch.equal(torch.cat(found), Crops(file).decode(np.array([1, 2])))
    assert "0 decoding processes instead of 3: /dev/shm has room for 0 MiB" in caplog.text
    room = os.statvfs_result((4096, 4096, 0, 0, 4 * SIZE**2 * 3 // 4096 + 1, 0, 0, 0, 0, 255))
    monkeypatch.setattr(loader.os, "statvfs", lambda _: room)
    assert fit_workers(3, 1, SIZE) == 1, "four batches are what one worker needs"
    assert fit_workers(3, 1, SIZE, processes=2) == 0, "and there is one half for each of two processes"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_crop_that_is_no_jpeg_is_one_clear_line_from_any_process(path, workers, monkeypatch):
    with store.open_file(path) as file:
        crops = Crops(file)
    crops.size = SIZE + 1
    with pytest.raises(DamagedFile, match=f"^crop 4 is {SIZE}x{SIZE} px where {SIZE + 1}x{SIZE + 1} px are recorded$"):
        list(read_crops(crops, [np.array([4])], workers))


def test_an_error_ends_the_workers_even_while_somebody_holds_it(path):
    with store.open_file(path) as file:
        crops = Crops(file)
    crops.size, before = SIZE + 1, set(children_of(os.getpid()))
    with pytest.raises(DamagedFile) as caught:
        list(read_crops(crops, [np.array([4])] * 9, 2))
    assert caught.tb and not set(children_of(os.getpid())) - before


def test_workers_end_with_the_loop_that_is_left_early(path):
    with store.open_file(path) as file:
        batches = read_crops(Crops(file), [np.array([i % 13]) for i in range(1000)], 2)
    before = set(children_of(os.getpid()))  # Python's own tracker of shared memory, workers of other tests that end
    try:
        next(batches)
        workers = set(children_of(os.getpid())) - before
        assert len(workers) >= 2
    finally:
        batches.close()
    assert not workers & set(children_of(os.getpid()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_workers_do_not_outlive_a_killed_parent(path):
    script = f"""
import numpy as np
from handtool import store
from handtool.nn.files.data import Crops
from handtool.nn.files.loader import read_crops
with store.open_file({str(path)!r}) as file:
    batches = read_crops(Crops(file), [np.array([0])] * 10000, 2)
next(batches)
print("reading", flush=True)
import time; time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "reading\n"
    workers = children_of(parent.pid)
    assert len(workers) >= 2
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not any(os.path.exists(f"/proc/{pid}") for pid in workers):
            return
        time.sleep(0.05)
    raise AssertionError(f"{workers} live on")


def children_of(pid: int) -> list[int]:
    """Living children; one that has ended but was not waited for is none."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            fields = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split() if entry.isdigit() else None
        except OSError:
            continue
        if fields and fields[1] == str(pid) and fields[0] != "Z":
            found.append(int(entry))
    return found


def test_an_epoch_is_a_permutation_and_the_next_one_another():
    schedule = Schedule(num_items=23, batch_size=5, seed=5)
    assert schedule.steps_per_epoch == 4
    epochs = [np.concatenate([schedule.items(step) for step in range(first, first + 4)]) for first in (0, 4)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 20 and set(epoch.tolist()) <= set(range(23))
    assert epochs[0].tolist() != epochs[1].tolist()
    left_out = [set(range(23)) - set(epoch.tolist()) for epoch in epochs]
    assert left_out[0] != left_out[1]


def test_a_step_knows_its_items_without_the_steps_before_it():
    in_a_row = [Schedule(23, 5, 5).items(step).tolist() for step in range(12)]
    assert [Schedule(23, 5, 5).items(step).tolist() for step in reversed(range(12))] == in_a_row[::-1]
    assert Schedule(23, 5, 6).items(0).tolist() != in_a_row[0]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_each_batch_without_overlap(processes):
    items = Schedule(40, 12, 5).items(2)
    shares = [items[Place("cpu", rank, processes=processes).share(12)] for rank in range(processes)]
    assert np.concatenate(shares).tolist() == items.tolist()


def test_random_numbers_differ_between_steps_and_seeds_and_not_between_runs():
    drawn = {place: step_rng(*place).random() for place in ((5, 0), (5, 1), (6, 0))}
    assert len(set(drawn.values())) == 3
    assert all(step_rng(*place).random() == value for place, value in drawn.items())


def test_in_order_covers_every_row_once():
    assert np.concatenate(in_order(11, 4)).tolist() == list(range(11))
    assert [len(rows) for rows in in_order(11, 4)] == [4, 4, 3]


def test_processes_of_a_machine_share_its_cores():
    cores = count_workers(0)
    assert count_workers(3, 2) == 3 and count_workers(0, 2) == max(1, cores // 2) and count_workers(0, 10_000) == 1


def test_without_sched_getaffinity_there_are_workers_too(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_workers(0) == 6 and count_workers(0, 2) == 3


USABLE = np.array([True, True, False, True, True])
OFFSET = np.array([0, 2, 4, 6, 6, 7])  # hand 3 has no positive, hand 4 one
POSITIVE = np.array([1, 2, 2, 3, 0, 1, 0])


def anchors_and_rows(positives, mined=True):
    pairs, accounting = pair_with_mined(USABLE, POSITIVE, OFFSET, positives, mined)
    rows = pairs.rows(np.arange(len(pairs)), np.random.default_rng(0))
    return rows.T.tolist(), accounting


def test_the_first_positive_is_the_partner():
    rows, accounting = anchors_and_rows("1")
    assert rows == [[0, 1], [4, 0]]
    assert accounting.done == 2 and dict(accounting.skipped) == {
        "keypoints not valid": 1,
        "no valid positive of rank 1": 2,
    }


def test_the_second_positive_can_be_the_partner():
    assert anchors_and_rows("2")[0] == [[1, 3]]
    assert anchors_and_rows("7")[0] == []


def test_a_positive_is_drawn_among_the_valid_ones():
    usable, positive, offset = np.ones(4, bool), np.array([1, 2, 3, 0]), np.array([0, 3, 4, 4, 4])
    usable[2] = False
    pairs, _ = pair_with_mined(usable, positive, offset, "sample", True)
    rng = np.random.default_rng(0)
    partners = {tuple(pairs.rows(np.array([0, 1]), rng)[1].tolist()) for _ in range(50)}
    assert partners == {(1, 0), (3, 0)}


def test_all_positives_make_as_many_views():
    usable, positive, offset = np.ones(3, bool), np.array([1, 2, 0, 2, 0]), np.array([0, 2, 4, 5])
    pairs, accounting = pair_with_mined(usable, positive, offset, "all", True)
    assert pairs.rows(np.arange(2), np.random.default_rng(0)).tolist() == [[0, 1], [1, 0], [2, 2]]
    assert dict(accounting.skipped) == {"no valid positive of every rank": 1}


def test_methods_without_mining_use_the_anchors_alone():
    assert anchors_and_rows("1", mined=False)[0] == [[0, 0], [4, 4]]
    pairs, accounting = pair_with_itself(USABLE)
    assert pairs.rows(np.arange(4), np.random.default_rng(0)).T.tolist() == [[0, 0], [1, 1], [3, 3], [4, 4]]
    assert accounting.done == 4 and accounting.total == 5
