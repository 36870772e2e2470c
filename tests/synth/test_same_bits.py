"""The same scene gives the same bits wherever its arrays lie in memory."""

import numpy as np
import pytest

from handtool.hands.motion import rotation_vectors
from handtool.synth.crops import make_video
from handtool.synth.film import draw_film, shoot


@pytest.fixture
def of_views(monkeypatch):
    """The functions that were called with views whose elements do not lie one behind the other. With AVX-512 numpy
    1.26 takes another way, whose last bit differs, where such a view ends right before the memory of the result."""
    found = []

    def watch(name):
        function = getattr(np, name)

        def watched(*arrays, **settings):
            if not all(np.asarray(array).flags.c_contiguous for array in arrays):
                found.append(name)
            return function(*arrays, **settings)

        monkeypatch.setattr(np, name, watched)

    for (
        name
    ) in "arcsin arccos arctan arctan2 tan exp exp2 expm1 log log2 log10 log1p power sinh cosh tanh cbrt".split():
        watch(name)
    return found


@pytest.mark.parametrize("difficulty", ["easy", "wild"])
def test_no_function_whose_last_bit_depends_on_memory_gets_a_view(of_views, difficulty):
    make_video(3, 0, 2, 48, difficulty, "both")
    scene = draw_film(3, 0, 2, 5.0, 64, 48, difficulty, "both")
    assert len(list(shoot(scene, None))) == 2
    rotation_vectors(np.tile(np.eye(3), (5, 1, 1)))
    assert not of_views
    np.exp(np.zeros((4, 3))[:, 0])
    assert of_views == ["exp"]
