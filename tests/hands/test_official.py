"""Every protocol beside what the official evaluation codes print for the same 400 hands."""

import json

import numpy as np
import pytest

from handtool.hands import align
from handtool.hands.metrics import evaluate, score
from handtool.hands.pck import COARSE, FULL, joint_figures
from handtool.hands.protocols import PROTOCOLS, make_hands

REFERENCE = {  # our figure: where the official codes' figure stands, and the factor to our unit
    "mpjpe.mean_mm": [("freihand.mean_kp3d_cm", 10), ("ho3d.mean_kp3d_cm", 10), ("dexycb.absolute_mpjpe_mm", 1)],
    "mpjpe.median_mm": [("freihand.median_kp3d_cm", 10)],
    "mpjpe.auc_0_50mm": [("freihand.auc_0_50mm_100", 1), ("dexycb.absolute_auc_0_50mm_100", 1)],
    "mpjpe_root.mean_mm": [("dexycb.root_relative_mpjpe_mm", 1)],
    "mpjpe_root.auc_0_50mm": [("dexycb.root_relative_auc_0_50mm_100", 1)],
    "pa_mpjpe.mean_mm": [
        ("freihand.PA_mean_kp3d_cm", 10),
        ("ho3d.PA_mean_kp3d_cm", 10),
        ("dexycb.procrustes_mpjpe_mm", 1),
    ],
    "pa_mpjpe.median_mm": [("freihand.PA_median_kp3d_cm", 10)],
    "pa_mpjpe.auc_0_50mm": [("freihand.PA_auc_0_50mm_100", 1), ("dexycb.procrustes_auc_0_50mm_100", 1)],
    "pa_mpjpe.mean_without_reflection_mm": [
        ("egoexo4d.hands_all_21_valid.pa_mpjpe_mm (scale, translation, rotation without reflection)", 1)
    ],
    "st_mpjpe.mean_mm": [("ho3d.ST_mean_kp3d_cm", 10), ("minimalhand.mpjpe_mm (wrist + bone-scale aligned)", 1)],
    "st_mpjpe.median_mm": [("ho3d.ST_median_kp3d_cm", 10), ("minimalhand.median_mm (wrist + bone-scale aligned)", 1)],
    "st_mpjpe.auc_0_50mm": [("ho3d.ST_auc_0_50mm_100", 1), ("minimalhand.auc_0_50mm_100", 1)],
    "st_mpjpe.auc_20_50mm": [("minimalhand.auc_20_50mm_15", 1)],
    "mpjpe_slots.mean_mm": [("assemblyhands.root_relative_mpjpe_mm", 1)],
    "mpjpe_slots.mean_left_mm": [
        ("assemblyhands.same_function_on_other_rows.left_hands_only.root_relative_mpjpe_mm", 1)
    ],
    "mpjpe_slots.mean_right_mm": [
        ("assemblyhands.same_function_on_other_rows.right_hands_only.root_relative_mpjpe_mm", 1)
    ],
    "mpjpe_valid.mean_mm": [("egoexo4d.mpjpe_mm", 1)],
    "mpjpe_valid.median_mm": [("evalutil_with_visibility.absolute.median_mm", 1)],
    "mpjpe_root_valid.mean_mm": [("egoexo4d.offset.mpjpe_wrist_offset_mm (--offset)", 1)],
    "mpjpe_root_valid.median_mm": [
        ("evalutil_with_visibility.root_relative (hands whose wrist is valid).median_mm", 1)
    ],
    "pa_mpjpe_rigid.mean_mm": [("egoexo4d.pa_mpjpe_mm (scale, translation, rotation without reflection)", 1)],
    "mesh.mean_mm": [("freihand.vertices.mesh_mean_cm", 10), ("ho3d.vertices.mesh_mean_cm", 10)],
    "mesh.auc_0_50mm": [("freihand.vertices.mesh_auc_0_50mm_100", 1)],
    "mesh.f_5mm": [("freihand.vertices.F_at_5mm", 1)],
    "mesh.f_15mm": [("freihand.vertices.F_at_15mm", 1)],
    "pa_mesh.mean_mm": [("freihand.vertices.PA_mesh_mean_cm", 10), ("ho3d.vertices.PA_mesh_mean_cm", 10)],
    "pa_mesh.auc_0_50mm": [("freihand.vertices.PA_mesh_auc_0_50mm_100", 1)],
    "pa_mesh.f_5mm": [("freihand.vertices.PA_F_at_5mm", 1)],
    "pa_mesh.f_15mm": [("freihand.vertices.PA_F_at_15mm", 1)],
    "mpjpe.hands": [("freihand.rows.count", 1), ("dexycb.rows.count", 1)],
    "mpjpe_slots.hands": [("assemblyhands.rows.count", 1)],
    "mpjpe_valid.hands": [("egoexo4d.rows.count", 1)],
    "mpjpe_root_valid.hands": [("egoexo4d.offset.rows.count", 1)],
    "mesh.hands": [("freihand.vertices.rows.count", 1)],
}


@pytest.fixture(scope="module")
def reference(samples):
    with np.load(samples / "reference" / "metrics.npz") as arrays:
        hands = dict(arrays)
    meshes = [np.full((400, 778, 3), np.nan) for _ in range(2)]
    meshes[0][:40], meshes[1][:40] = hands["predicted_vertices_m"], hands["truth_vertices_m"]
    given = (hands["predicted_m"], hands["truth_m"], hands["valid"], hands["side"], tuple(meshes))
    return given, json.loads((samples / "reference" / "metrics.json").read_text())


def find(figures, path):
    for key in path.split("."):
        figures = figures[key]
    return figures


def test_every_figure_is_what_the_official_codes_print(reference):
    given, official = reference
    ours = evaluate(*given)
    assert set(ours) == set(PROTOCOLS)
    for name, theirs in REFERENCE.items():
        for path, factor in theirs:
            assert find(ours, name) == pytest.approx(factor * find(official, path), rel=1e-8), (name, path)
    assert f"{ours['mpjpe_slots']['mean_mm']:.2f}" == "22.62"


def test_assemblyhands_slots_agree_joint_by_joint_and_on_part_of_the_rows(reference):
    (predicted, truth, valid, side, _), official = reference
    part = official["assemblyhands"]["same_function_on_other_rows"]
    for rows, name in ((valid[:, 0], "hands_with_valid_wrist"), (valid.all(axis=1), "hands_all_21_valid")):
        figures = evaluate(predicted[rows], truth[rows], valid[rows], side[rows])
        assert figures["mpjpe_slots"]["mean_mm"] == pytest.approx(part[name]["root_relative_mpjpe_mm"], rel=1e-9)
    for which, name in ((1, "right"), (0, "left")):
        rows = side == which
        hands = make_hands(predicted[rows], truth[rows], valid[rows], side[rows])
        (result,) = score(hands, ["mpjpe_slots"])
        theirs = official["assemblyhands"][f"per_joint_mm_{name}_standard_order"]
        assert 1000 * result.per_joint.mean_m == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_two_more_published_ways_follow_from_the_parts(reference):
    """SiMHand's parent code moves the middle MCP; FreiHAND's EvalUtil can be fed with the validity of single joints."""
    (predicted, truth, valid, _, _), official = reference
    whole = valid.all(axis=1)
    moved = align.bone_scaled(predicted[whole], truth[whole], root=9)
    figures = joint_figures(np.linalg.norm(moved - truth[whole], axis=2).T, (FULL, COARSE))
    theirs = official["minimalhand"]["minimal_hand_pytorch (parent code, root = middle MCP)"]
    assert 1000 * figures.mean_m.mean() == pytest.approx(theirs["mpjpe_mm (middle MCP + bone-scale aligned)"], rel=1e-9)
    assert figures.area(COARSE) == pytest.approx(theirs["auc_20_50mm_15"], rel=1e-9)
    assert figures.area(FULL) == pytest.approx(theirs["auc_0_50mm_100"], rel=1e-9)
    masked = joint_figures(np.where(valid, np.linalg.norm(predicted - truth, axis=2), np.nan).T, (FULL,))
    theirs = official["evalutil_with_visibility"]["absolute"]
    assert 1000 * masked.mean_m.mean() == pytest.approx(theirs["mpjpe_mm"], rel=1e-9)
    assert masked.area(FULL) == pytest.approx(theirs["auc_0_50mm_100"], rel=1e-9)
