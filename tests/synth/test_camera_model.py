"""The camera's faults: a moving hand smears along its way and what is behind it does not; noise and focus as they
were drawn."""

import numpy as np
import pytest

from handtool.synth import camera_model
from handtool.synth.crops import draw_scene
from handtool.synth.film import draw_film


def scene_of_edges():
    """A bright square, the hand, before fine stripes."""
    image = np.tile(np.where(np.arange(96) % 4 < 2, 40.0, 80.0), (96, 1))
    covered = np.zeros((96, 96), bool)
    covered[36:60, 36:60] = True
    image[covered] = 220
    return np.repeat(image[..., None], 3, 2).astype(np.float32), covered


@pytest.mark.parametrize("motion", [(9.0, 0.0), (0.0, 9.0), (-6.5, 6.5)])
def test_a_hand_smears_along_its_way_and_the_place_stays_sharp(motion):
    image, covered = scene_of_edges()
    moved = image.copy()
    camera_model.smear(moved, covered, np.array([36.0, 36, 60, 60]), np.array(motion))
    assert np.array_equal(moved[:24], image[:24]) and np.array_equal(moved[:, 72:], image[:, 72:])
    across, down = (
        np.abs(moved - image)[rows, columns].mean() for rows, columns in ((48, slice(54, 66)), (slice(54, 66), 48))
    )
    ratio = across / max(down, 1e-9)
    assert ratio > 5 if motion[1] == 0 else ratio < 0.2 if motion[0] == 0 else 0.5 < ratio < 2
    assert abs(float(moved[48, 48, 0]) - 220) < 0.01, "inside, there is nothing to smear"


def test_a_hand_that_rests_stays_sharp_and_one_outside_the_picture_does_no_harm():
    image, covered = scene_of_edges()
    moved = image.copy()
    camera_model.smear(moved, covered, np.array([36.0, 36, 60, 60]), np.array([0.5, -0.5]))
    camera_model.smear(moved, covered, np.array([200.0, -90, 300, -20]), np.array([20.0, 0]))
    assert np.array_equal(moved, image)


def test_noise_is_as_strong_as_the_lens_says_and_new_in_every_frame():
    grey = np.full((64, 64, 3), 128, np.float32)
    drawn = camera_model.draw_camera_effects(np.random.default_rng(3), 1.0, 64, 64, 1.0)
    first, second = (camera_model.expose(grey, drawn, np.random.default_rng(n)).astype(float) for n in (1, 2))
    assert abs(first.std() - drawn.noise.std()) < 0.25 * drawn.noise.std() + 0.5 and not np.array_equal(first, second)


def test_worse_cameras_are_drawn_at_harder_settings():
    def faults(difficulty):
        lenses = [draw_scene(5, video, 1, 48, difficulty, "both")[0].lens for video in range(12)]
        return [np.mean([getattr(each, name) for each in lenses]) for name in ("shutter", "focus")] + [
            np.mean([e.noise.std() for e in lenses])
        ]

    easy, wild = faults("easy"), faults("wild")
    assert all(a < b for a, b in zip(easy, wild, strict=True))
    assert draw_film(5, 0, 2, 25.0, 96, 64, "wild", "both").lens.noise.shape[0] > 64
