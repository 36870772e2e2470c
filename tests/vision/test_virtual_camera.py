"""Crops seen through a lens: dots where they belong, no black where the frame has pixels, no aliasing."""

import cv2
import numpy as np
import pytest

from handtool.hands.lens import make_lens, project
from handtool.vision.cropping import BadBox, cut_square, hand_square
from handtool.vision.virtual_camera import cut_through

SIZE = 96
K = np.array([[110.0, 0, 159.5], [0, 111, 119.5], [0, 0, 1]])
LENSES = {
    "fisheye": make_lens("fisheye", K, [0.02, -0.03, 0.004, 0.0]),
    "folding": make_lens("fisheye", K, [0.3948, -0.3, 0.5, -0.4]),
    "wide pinhole": make_lens("pinhole", K, [-0.16, 0.03, 0.002, -0.001, -0.002]),
    "glasses": make_lens("fisheye624", K, [0.02, -0.03, 0.004, 0, 0, 0, 0.002, -0.001, 0.002, -0.0003, -0.001, 0.0002]),
}


def draw_dot(point):
    v, u = np.indices((240, 320))
    grey = 255 * np.exp(-((u - point[0]) ** 2 + (v - point[1]) ** 2) / 8)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("name", LENSES)
def test_a_dot_is_seen_where_the_camera_of_the_crop_projects_its_point(name):
    """The dot is drawn where the lens sees a point in space; its middle is found where K R says."""
    lens = LENSES[name]
    for place in ([-0.55, 0.2, 0.6], [0.05, -0.1, 0.5], [0.4, 0.35, 0.6]):
        there = project(lens, np.array(place))
        box = np.concatenate([there - [22, 18], there + [14, 20]])
        crop, way = cut_through(draw_dot(there), lens, box, SIZE, 1.3)
        image = crop[..., 0].astype(float)
        v, u = np.indices((SIZE, SIZE))
        found = np.array([(image * u).sum(), (image * v).sum()]) / image.sum()
        x, y, z = way.camera[0] @ way.rotation[0] @ place
        assert np.linalg.norm(found - [x / z, y / z]) < 0.35, place


@pytest.mark.parametrize("name", LENSES)
def test_a_crop_is_black_only_where_the_frame_or_the_lens_ends(name):
    lens, white = LENSES[name], np.full((240, 320, 3), 255, np.uint8)
    for corner in ([0, 60], [20, 150], [215, 25]):
        crop, way = cut_through(white, lens, np.array([*corner, corner[0] + 70.0, corner[1] + 60]), SIZE, 1.5)
        places = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(1, -1, 2)
        there = way.to_frame(places)[0].reshape(SIZE, SIZE, 2)
        margin = 1.5  # px: a pixel at the end may be black in part
        with np.errstate(invalid="ignore"):
            inside = ((there > margin - 0.5) & (there < [320 - margin, 240 - margin])).all(axis=2)
            outside = ((there < -margin) | (there > [320 + margin, 240 + margin])).any(axis=2)
        edge = cv2.dilate(np.isnan(there).any(axis=2).astype(np.uint8), np.ones((3, 3))) > 0
        assert (crop[inside & ~edge] == 255).all() and (crop[outside] == 0).all() and inside.any()


def test_a_picture_that_shrinks_does_not_alias():
    """Stripes of one pixel become the grey between them, not other stripes."""
    stripes = np.zeros((1200, 1600, 3), np.uint8)
    stripes[:, ::2] = 255
    lens = LENSES["fisheye"].scaled(5, 5)
    crop, _ = cut_through(stripes, lens, np.array([300.0, 300, 900, 900]), SIZE, 1.3)
    assert np.abs(crop[8:-8, 8:-8].astype(float) - 127.5).max() < 14


def test_without_distortion_a_crop_on_the_axis_is_the_usual_square():
    lens = make_lens("pinhole", np.array([[9e4, 0, 159.5], [0, 9e4, 119.5], [0, 0, 1]]))
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)
    for half in (30, 80):
        box = np.array([160.0 - half, 120 - half, 160 + half, 120 + half])
        crop, _ = cut_through(image, lens, box, SIZE, 1.3)
        usual, _ = cut_square(image, hand_square(box, 1.3, 320, 240), SIZE)
        assert np.abs(crop[2:-2, 2:-2].astype(int) - usual[2:-2, 2:-2]).mean() < 1.5


def test_a_whole_picture_is_seen_to_its_corners():
    image = np.full((240, 320, 3), 200, np.uint8)
    lens = make_lens("pinhole", np.array([[200.0, 0, 159.5], [0, 200, 119.5], [0, 0, 1]]), [-0.16, 0.03, 0, 0])
    crop, way = cut_through(image, lens, np.array([0.0, 0, 320, 240]), SIZE, 1.0, whole=True)
    corners = way.to_crop(np.array([[[0.0, 0], [319, 0], [0, 239], [319, 239]]]))
    assert ((corners > -1) & (corners < SIZE)).all() and (crop[SIZE // 2, SIZE // 2] == 200).all()


def test_a_box_that_no_crop_can_show_is_refused_with_its_reason():
    with pytest.raises(BadBox, match="too wide"):
        cut_through(np.zeros((240, 320, 3), np.uint8), LENSES["fisheye"], np.array([0.0, 0, 320, 240]), SIZE, 4.0)
