"""Boxes by their edges, points by pixel centres, and the affine between frame and crop."""

import numpy as np
import pytest

from handtool.hands import boxes


def test_a_whole_square_image_is_cropped_by_the_identity():
    affine = boxes.crop_affine(boxes.whole_image(224, 224), 224, box_scale=1.0)
    assert (affine == [[1, 0, 0], [0, 1, 0]]).all()


def test_a_crop_keeps_the_centre_and_brings_the_regions_edges_to_its_own():
    box = np.array([100.0, 50.0, 180.0, 90.0])  # 80 x 40: the square has side 1.3 * 80
    affine = boxes.crop_affine(box, 224, box_scale=1.3)
    centre = np.array([[140 - 0.5, 70 - 0.5]])  # the box's centre as a point
    assert boxes.apply_affine(affine, centre) == pytest.approx(np.array([[111.5, 111.5]]))
    region = boxes.apply_affine_to_box(affine, np.array([140 - 52, 70 - 52, 140 + 52, 70 + 52.0]))
    assert region == pytest.approx(boxes.whole_image(224, 224), abs=1e-9)
    assert affine[0, 0] == affine[1, 1] == pytest.approx(224 / 104)


def test_the_affine_is_the_one_that_a_resize_by_pixel_areas_makes():
    """Halving an image whose values are the pixel's own u gives the mean of two neighbours: u' stands at u = 2 u' +
    0.5."""
    image = np.arange(8.0)
    halved = image.reshape(4, 2).mean(axis=1)
    affine = boxes.crop_affine(boxes.whole_image(8, 8), 4, box_scale=1.0)
    back = boxes.apply_affine(boxes.invert(affine), np.stack([np.arange(4.0), np.zeros(4)], axis=1))
    assert back[:, 0] == pytest.approx(halved)


def test_affines_are_applied_and_inverted_for_many_at_once():
    rng = np.random.default_rng(1)
    affine, points = rng.normal(size=(6, 2, 3)), rng.normal(size=(6, 21, 2))
    moved = boxes.apply_affine(affine, points)
    for i in range(6):
        assert moved[i] == pytest.approx(points[i] @ affine[i, :, :2].T + affine[i, :, 2])
    assert boxes.apply_affine(boxes.invert(affine), moved) == pytest.approx(points)


def test_the_box_of_points_covers_their_pixels_and_leaves_out_what_is_missing():
    points = np.array([[[3.0, 4.0], [10.0, 6.0], [np.nan, 0.0], [-50.0, 0.0]], [[np.nan, 1.0]] * 4])
    box = boxes.box_of_points(points, np.array([[True, True, True, False]] * 2))
    assert (box[0] == [3, 4, 11, 7]).all() and np.isnan(box[1]).all()


def test_enlarging_and_squaring_keep_the_centre():
    box = np.array([[0.0, 0.0, 10.0, 4.0], [5.0, 5.0, 6.0, 9.0]])
    assert (boxes.enlarge(box, 2.0) == [[-5, -2, 15, 6], [4.5, 3, 6.5, 11]]).all()
    assert (boxes.square(box) == [[0, -3, 10, 7], [3.5, 5, 7.5, 9]]).all()
    assert (boxes.clip(boxes.enlarge(box, 2.0), 8, 5)[0] == [0, 0, 8, 5]).all()


def test_iou_counts_pixels():
    def counted(a, b):
        grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), axis=-1) + 0.5
        first, second = (((grid > box[:2]) & (grid < box[2:])).all(axis=-1) for box in (a, b))
        return (first & second).sum() / (first | second).sum()

    rng = np.random.default_rng(2)
    low = rng.integers(0, 8, (30, 2))
    all_boxes = np.concatenate([low, low + rng.integers(1, 10, (30, 2))], axis=1)
    table = boxes.iou(all_boxes[:, None], all_boxes)
    for i in range(30):
        for j in range(30):
            assert table[i, j] == pytest.approx(counted(all_boxes[i], all_boxes[j]))
    assert boxes.iou(np.zeros(4), np.zeros(4)) == 0
