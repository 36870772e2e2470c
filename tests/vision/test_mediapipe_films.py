"""MediaPipe along a real film of two hands that hold a toy, and on close pictures of one hand."""

import numpy as np
import pytest
from assembling import why_not
from footage import run_stage, tables_of

from handtool.config import ExtractConfig
from handtool.stages.extract import extract
from handtool.store import CROPS, LEFT
from handtool.vision.contracts import LOOKED_AGAIN

pytestmark = [pytest.mark.mediapipe, pytest.mark.skipif(why_not() != "", reason=why_not())]


def test_along_a_real_film_hands_that_were_missed_are_found_again_on_few_tracks(tmp_path, samples):
    """Every second frame of 141; looked at one by one, 35 of them show a hand to MediaPipe 0.10.21."""
    report = run_stage(extract, [samples / "videos" / "teddy.mp4"], tmp_path / "c.h5", ExtractConfig(every=2))
    crops = tables_of(tmp_path / "c.h5", CROPS)
    assert report["found"]["looked again"] == (crops["crops/found"] == LOOKED_AGAIN).sum() >= 10
    assert len(np.unique(crops["crops/frame"])) >= 45 and report["tracks"] <= 5
    longest = crops["crops/track"] == np.bincount(crops["crops/track"][crops["crops/track"] >= 0]).argmax()
    assert longest.sum() >= 30 and set(crops["crops/side"][longest]) == {LEFT}


def test_a_close_picture_of_a_hand_is_found_by_a_look_at_the_whole_picture(tmp_path, samples):
    """One of FreiHAND's eight shows its hand only then, and one not at all."""
    pictures = sorted((samples / "freihand_samples").glob("*.jpg"))
    report = run_stage(extract, pictures, tmp_path / "c.h5", ExtractConfig())
    assert report["accounting"][2]["done"] >= 7 and report["found"]["the whole picture as a hand"] >= 1
