"""Pictures as an mp4 file, and back."""

import numpy as np
import pytest

from handtool.render.mp4 import encode_mp4
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.video import read_video


def pictures(count, height, width):
    """Smooth pictures that change from one to the next."""
    v, u = np.mgrid[:height, :width]
    return [
        np.stack([u * 2 % 256, v * 3 % 200, np.full_like(u, 20 + 9 * n)], -1).astype(np.uint8) for n in range(count)
    ]


@pytest.mark.parametrize(("height", "width", "fps"), [(48, 64, 25), (47, 63, 12.5)])
def test_a_film_reads_back_as_the_pictures_that_went_in(tmp_path, height, width, fps):
    made = pictures(9, height, width)
    path = tmp_path / "a.mp4"
    path.write_bytes(encode_mp4(iter(made), fps, crf=4))
    tally = Tally()
    frames = list(read_video(Video("a", str(path), "video"), Sampling(every=1), tally))
    assert (tally.fps, tally.decoded, tally.status) == (fps, 9, "ok")
    assert [frame.number for frame in frames] == list(range(9))
    assert [frame.time for frame in frames] == pytest.approx([n / fps for n in range(9)], abs=1e-3)
    for frame, image in zip(frames, made, strict=True):
        assert np.abs(frame.image[:height, :width].astype(int) - image).mean() < 4


def test_the_same_pictures_give_the_same_bytes():
    rng = np.random.default_rng(4)
    noisy = [np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8) for image in pictures(5, 90, 160)]
    made = set()
    for _ in range(6):
        litter = [
            rng.integers(0, 255, int(size), np.uint8) for size in rng.uniform(1e4, 1e6, 4)
        ]  # memory that was used before
        del litter
        made.add(encode_mp4(noisy, 5))
    assert len(made) == 1
