"""The example script on real video with MediaPipe, run as a newcomer runs it."""

import json
import shutil

import numpy as np
import pytest
from assembling import FARTHEST, why_not

from handtool import store
from handtool.store import CROPS, CURVE, KEYPOINTS, PAIRS, RIGHT, VIDEOS
from handtool.vision.mediapipe_package import find_api

pytestmark = pytest.mark.mediapipe
QUICK = {"EPOCHS": "16", "FINETUNE_EPOCHS": "4", "SIZE": "32", "FPS": "3"}


@pytest.fixture(scope="module")
def chain(samples, tmp_path_factory, run_script):
    """Runs the whole chain on two real videos, ten folders of twelve images and 300 labelled hands, with few epochs."""
    if why_not():
        pytest.skip(why_not())
    folder = tmp_path_factory.mktemp("real video")
    for video in ("asl_hand.mp4", "teddy.mp4"):
        (folder / "videos").mkdir(exist_ok=True)
        shutil.copy(samples / "videos" / video, folder / "videos")
    for digit in sorted((samples / "sign_digits").glob("[0-9]")):
        (folder / "digits" / digit.name).mkdir(parents=True)
        for image in sorted(digit.iterdir())[:12]:
            shutil.copy(image, folder / "digits" / digit.name)
    sources = ("videos", samples / "realworld3d", "out", "digits")
    return lambda: (folder / "out", run_script("real_video.sh", *sources, folder=folder, **QUICK))


@pytest.fixture(scope="module")
def real(chain):
    return chain()[0]


def test_hands_are_found_in_real_video_with_the_right_side(real):
    with store.open_file(real / "crops.h5") as file:
        names, video, side = (store.read_column(file, c) for c in (VIDEOS.name, CROPS.video, CROPS.side))
        asl = [i for i, name in enumerate(names) if "asl_hand" in name][0]
        accounting = {item["what"]: item for item in file.report["accounting"]}
    assert len(names) >= 12 and (video == asl).sum() >= 0.98 * 39  # 13 s at 3 frames/s
    assert (side[video == asl] == RIGHT).all()  # MediaPipe, which expects a mirror, calls it "Left"
    assert all(
        item["in"] == item["done"] + sum(item["skipped"].values()) + sum(item["failed"].values())
        for item in accounting.values()
    )


def test_keypoints_on_real_video_are_those_of_the_reference(real, samples):
    truth = np.array(json.loads((samples / "videos" / "asl_hand.keypoints2d.json").read_text()))[..., :2]
    with store.open_file(real / "keypoints.h5") as file:
        names = store.read_column(file, VIDEOS.name)
        rows = np.flatnonzero(
            store.read_column(file, CROPS.video) == [i for i, name in enumerate(names) if "asl_hand" in name][0]
        )
        xy, frame, affine = (
            store.read_column(file, c, rows) for c in (KEYPOINTS.xy, CROPS.frame, CROPS.crop_from_frame)
        )
    seen = np.einsum("nij,nkj->nki", affine[:, :, :2], truth[frame]) + affine[:, None, :, 2]
    extent = np.ptp(seen, axis=1).max(axis=1)
    error = np.linalg.norm(xy - seen, axis=2).mean(axis=1) / extent
    assert error.mean() < FARTHEST[find_api().name]


def test_pairs_of_real_hands_are_alike_and_from_different_videos(real):
    with store.open_file(real / "pairs.h5") as file:
        video, anchor, positive, rank = (
            store.read_column(file, c) for c in (CROPS.video, PAIRS.anchor, PAIRS.positive, PAIRS.rank)
        )
        distance = store.read_column(file, PAIRS.distance)
        vector = store.read_column(file, store.EMBEDDINGS.vector)
    assert (video[anchor] != video[positive]).all()
    shuffled = np.random.default_rng(0).permutation(positive)
    assert distance[rank == 1].mean() < 0.75 * np.linalg.norm(vector[anchor] - vector[shuffled], axis=1).mean()


def test_the_chain_on_real_video_ends_in_a_table_a_page_and_a_falling_loss(real):
    with store.open_file(real / "result.h5") as file:
        metrics = store.read_metrics(file)
        assert (
            metrics["pa_mpjpe"]["hands"] == 99
            and 0 < metrics["pa_mpjpe"]["mean_mm"] < metrics["mpjpe_root"]["mean_mm"] < 200
        )
        assert [e["program"] for e in file.provenance][-1] == "handtool eval"
    with store.open_file(real / "encoder.h5") as file:
        loss = store.read_column(file, CURVE.loss)
        assert np.isfinite(loss).all() and loss[-10:].mean() < loss[:10].mean() - 0.02
    page = (real / "report.html").read_text()
    assert (
        "pa_mpjpe" in page
        and "http://" not in page.replace("http://www.w3.org", "")
        and (real / "pairs.png").stat().st_size > 10_000
    )


def test_the_chain_run_again_makes_nothing_anew(real, chain):
    before = {path.name: path.stat().st_mtime_ns for path in real.iterdir()}
    _, said = chain()
    assert {path.name: path.stat().st_mtime_ns for path in real.iterdir()} == before
    assert said.count("is up to date") >= 13
