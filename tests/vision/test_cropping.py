"""Crops: the recorded affine is exact, nothing is stretched, clipped or aliased."""

import numpy as np
import pytest
from footage import picture, write_image

from handtool.config import ExtractConfig
from handtool.hands.boxes import apply_affine, crop_affine, invert
from handtool.vision.contracts import Detection
from handtool.vision.cropping import (
    BadBox,
    cut_square,
    decode_jpeg,
    encode_jpeg,
    hand_square,
    is_stored_upright,
    whole_square,
)
from handtool.vision.rows import Rows

CAMERA = np.array([[300.0, 0, 100], [0, 310.0, 80], [0, 0, 1]])


def ramps(width: int, height: int) -> np.ndarray:
    """(h, w, 3): the first channel is u, the second v."""
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([u, v, np.zeros_like(u)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("box", [(40, 50, 100, 90), (10.3, 20.7, 201.4, 190.2), (100, 100, 131, 129.5)])
@pytest.mark.parametrize("size", [48, 224])
def test_a_pixel_of_the_crop_shows_the_place_of_the_frame_that_the_affine_names(box, size):
    frame = ramps(240, 230)
    crop, affine = cut_square(frame, hand_square(np.array(box), 1.0, 240, 230), size)
    places = np.array([[size // 2, size // 2], [size // 3, size // 4], [size - 9, size - 12]])
    shown = crop[places[:, 1], places[:, 0], :2].astype(float)
    assert np.abs(shown - apply_affine(invert(affine), places.astype(float))).max() <= 1.0


def test_the_square_is_centred_on_the_box_and_as_large_as_its_larger_side_times_the_scale():
    region = hand_square(np.array([50.0, 60, 150, 100]), 1.3, 400, 300)
    assert region.tolist() == [35, 15, 165, 145]
    _, affine = cut_square(np.zeros((300, 400, 3), np.uint8), region, 224)
    assert np.allclose(affine, crop_affine(np.array([50.0, 60, 150, 100]), 224, 1.3))


def test_at_the_border_the_crop_is_padded_with_black_and_keeps_its_shape():
    frame = np.full((100, 100, 3), 200, np.uint8)
    crop, affine = cut_square(frame, hand_square(np.array([-10.0, 0, 30, 40]), 1.5, 100, 100), 60)
    corner = apply_affine(affine, np.array([[0.0, 0.0], [39.0, 49.0]])).round().astype(int)
    assert corner[0].tolist() == [20, 10] and crop[corner[0][1], corner[0][0]].min() == 200
    assert crop[:, : corner[0][0]].max() == 0 and crop[: corner[0][1]].max() == 0
    assert affine[0, 0] == affine[1, 1] == 1.0


def test_shrinking_averages_instead_of_aliasing():
    checkerboard = np.repeat((np.indices((800, 800)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    crop, _ = cut_square(checkerboard, np.array([0, 0, 800, 800]), 224)
    assert abs(crop.mean() - 127.5) < 2 and crop.std() < 10


def test_a_whole_image_is_padded_to_a_square_not_stretched():
    frame = ramps(100, 60)
    crop, affine = cut_square(frame, whole_square(100, 60), 200)
    assert affine[0, 0] == affine[1, 1] == 2.0
    assert crop[:38].max() == 0 and crop[-38:].max() == 0 and crop[100, 100, 0] in (49, 50)


@pytest.mark.parametrize(
    "box, reason",
    [
        ((np.nan, 0, 1, 1), "not finite"),
        ((10, 10, 10.4, 30), "smaller than a pixel"),
        ((120, 10, 140, 30), "outside their frame"),
        ((-2000, -2000, 2000, 2000), "far larger"),
    ],
)
def test_boxes_that_show_no_hand_are_refused_with_a_reason(box, reason):
    with pytest.raises(BadBox, match=reason):
        hand_square(np.array(box, float), 1.3, 100, 100)


def test_a_jpeg_that_is_the_crop_already_keeps_its_bytes(tmp_path):
    path = write_image(tmp_path / "a.jpg", picture(1, 3, (224, 224)), quality=70)
    data = path.read_bytes()
    image = decode_jpeg(data)
    rows = Rows(ExtractConfig(size=224))
    rows.add(image, 0, np.nan, [(Detection(np.zeros(4), whole=True), CAMERA, {})], [0], data)
    rows.add(image, 1, np.nan, [(Detection(np.array([0.0, 0, 200, 200])), CAMERA, {})], [1], data)
    block = rows.take_block()
    assert block["jpeg"][: len(data)] == data and block["jpeg_length"][0] == len(data)
    assert np.array_equal(block["crop_from_frame"][0], np.eye(2, 3)) and block["box"][0].tolist() == [0, 0, 224, 224]
    assert np.array_equal(block["camera"][0], CAMERA)


def test_a_jpeg_that_needs_its_exif_to_stand_upright_is_written_anew(tmp_path):
    from footage import add_orientation

    path = write_image(tmp_path / "a.jpg", picture(1, 3, (224, 224)))
    add_orientation(path, 3)
    from handtool.sources.images import read_image

    image, data = read_image(path)
    assert not is_stored_upright(data, image)


def test_landmarks_labels_and_camera_move_with_the_crop():
    rows, frame = Rows(ExtractConfig(size=112)), np.zeros((300, 400, 3), np.uint8)
    points = np.random.default_rng(0).uniform(100, 200, (21, 2))
    label = {
        "joints": np.zeros((21, 3)),
        "valid": np.ones(21, bool),
        "keypoints": points,
        "keypoints_valid": np.ones(21, bool),
    }
    label |= {"scale": np.nan, "sample_id": 7, "sample_key": "a"}
    hand = Detection(np.array([100.0, 100, 200, 200]), landmarks=points, landmarks_score=0.9, joints=np.ones((21, 3)))
    rows.add(frame, 5, 0.5, [(hand, CAMERA, label)], rows.tracks.add(0.5, [hand]))
    block = rows.take_block()
    expected = apply_affine(block["crop_from_frame"][0], points)
    assert (block["landmarks_joints"] == 1).all() and rows.as_outcome()["with_joints"] == 1
    assert np.allclose(block["landmarks"][0], expected, atol=1e-4) and np.allclose(
        block["labels/keypoints"][0], expected, atol=1e-4
    )
    joint = np.array([0.02, 0.01, 0.4])
    seen, in_crop = CAMERA @ joint, block["camera"][0] @ joint
    assert np.allclose(
        apply_affine(block["crop_from_frame"][0], (seen[:2] / seen[2])[None])[0], in_crop[:2] / in_crop[2]
    )


def test_refused_boxes_are_counted_and_the_other_hands_of_the_frame_kept():
    rows = Rows(ExtractConfig(size=64))
    hands = [(Detection(np.array(box, float)), CAMERA, {}) for box in ((500, 500, 600, 600), (10, 10, 60, 60))]
    assert rows.add(np.zeros((100, 100, 3), np.uint8), 0, 0.0, hands, [-1, 0]) == 1
    assert len(rows.jpegs) == 1 and rows.refused == {"boxes outside their frame": 1}


def test_a_crop_survives_its_jpeg():
    crop = picture(2, 5, (224, 224))
    again = decode_jpeg(encode_jpeg(crop, 95))
    assert again.shape == crop.shape and np.abs(again.astype(int) - crop).mean() < 4


@pytest.mark.parametrize(
    "edges", [(1, 1, 1e300, 1e300), (-1e308, 0, 1e308, 9), (1e12, 0, 1e13, 9), (-1e10, -1e10, 9, 9)]
)
def test_a_box_of_absurd_numbers_is_a_bad_box_and_no_overflow(edges):
    with np.errstate(all="raise"), pytest.raises(BadBox, match="far larger than their frame, or far outside"):
        hand_square(np.array(edges, float), 1.3, 96, 64)
