"""The pictures made by torch are those made by numpy, to within rounding; and torch is not imported unless a GPU may
be there."""

import subprocess
import sys

import numpy as np
import pytest
from comparing import compare_pictures

from handtool.errors import HandtoolError
from handtool.synth import device as devices
from handtool.synth.crops import crop_cameras, draw_scene, make_video
from handtool.synth.device import choose_device
from handtool.synth.film import draw_film
from handtool.synth.framing import frame_camera
from handtool.synth.tracing import FAR
from handtool.synth.world import pictures


@pytest.mark.parametrize(("difficulty", "video"), [("easy", 0), ("medium", 5), ("wild", 1), ("wild", 7)])
def test_crops_by_torch_are_crops_by_numpy(difficulty, video):
    scene, crop_from_frame = draw_scene(5, video, 3, 64, difficulty, "both")
    colour, depth = compare_pictures(scene, crop_cameras(scene, crop_from_frame), 64, 64)
    assert colour < 0.02 and depth < 0.008


def test_films_by_torch_are_films_by_numpy():
    scene = next(
        s
        for s in (draw_film(5, v, 2, 5.0, 128, 72, "wild", "both") for v in range(9))
        if len(s.actors) > 2 and s.in_front
    )
    camera = frame_camera(scene.focal, 128, 72)
    colour, depth = compare_pictures(scene, np.broadcast_to(camera, (2, 3, 3)), 128, 72)
    assert colour < 0.02 and depth < 0.008


def test_labels_do_not_depend_on_what_made_the_pictures():
    by_numpy, by_torch = (make_video(5, 2, 3, 64, "wild", "both", device) for device in (None, "cpu"))
    for name in ("joints", "keypoints", "camera", "box", "crop_from_frame"):
        assert np.array_equal(by_numpy[name], by_torch[name])
    assert (by_numpy["visible"] == by_torch["visible"]).mean() > 0.97


def test_a_hand_out_of_the_picture_leaves_the_background(monkeypatch):
    scene, crop_from_frame = draw_scene(5, 0, 2, 64, "easy", "right")
    away = np.array([[1.0, 0, 9000], [0, 1, 0], [0, 0, 1]]) @ crop_cameras(scene, crop_from_frame)
    for device in (None, "cpu"):
        assert all((depth == FAR).all() for _, depth in pictures(scene, away, 64, 64, device))


def test_the_device_is_a_gpu_only_where_there_is_one(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(devices, "DRIVERS", (devices.Path(__file__),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (choose_device("auto"), choose_device("cuda"), choose_device("cpu")) == ("cuda", "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") is None
    with pytest.raises(HandtoolError, match="no CUDA GPU"):
        choose_device("cuda")
    with pytest.raises(HandtoolError, match="auto, cpu or cuda"):
        choose_device("gpu")


def test_without_a_driver_torch_is_not_imported():
    code = (
        "import sys; from pathlib import Path; from handtool.synth import device; device.DRIVERS = "
        "(Path('/nowhere'),)\n"
        "from handtool.synth.crops import make_video; from handtool.stages import synth, synth_videos\n"
        "make_video(5, 0, 1, 48, 'easy', 'both', device.choose_device('auto')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
