"""The honest test that the rendered hands look like hands: a detector that never saw them finds them, where the
truth says."""

import numpy as np
import pytest
from assembling import why_not
from footage import run_stage

from handtool.config import ExtractConfig, SynthVideosConfig
from handtool.stages.extract import extract
from handtool.stages.synth_videos import synth_videos

pytestmark = [pytest.mark.mediapipe, pytest.mark.skipif(why_not() != "", reason=why_not())]


def test_mediapipe_finds_most_of_the_easy_hands_near_their_keypoints():
    from looking import look_at_synth

    from handtool.vision.mediapipe import open_hands

    sight = look_at_synth(open_hands(2, 0.5), "easy", range(24), 2)
    assert sight.found > 0.6 and sight.sides.mean() > 0.85 and np.median(sight.errors) < 0.07


def test_what_it_finds_in_films_is_joined_to_the_truth(tmp_path):
    (tmp_path / "w").mkdir()
    settings = SynthVideosConfig(num_videos=4, frames=8, fps=4.0, size=360)
    made = run_stage(synth_videos, [], tmp_path / "w" / "truth.h5", settings)
    report = run_stage(extract, [tmp_path / "w"], tmp_path / "c.h5", ExtractConfig(every=1))
    hands, joined = made["accounting"][2]["done"], report["truth"]
    assert joined["labelled"] > 0.5 * hands and joined.get("not in the truth", 0) < 0.1 * hands
    assert joined["labelled"] + joined["known but not found"] == hands
