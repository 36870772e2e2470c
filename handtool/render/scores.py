"""Scores in one picture: the share of joints below each error (PCK), and the mean error of every joint."""

import cv2
import numpy as np

from handtool.hands.skeleton import FINGERS, JOINTS
from handtool.render.canvas import FAINT, INK, RULE, blank, heading, write
from handtool.render.curves import plot_lines
from handtool.render.skeleton import EDGE, joint_colours

LEFT, RIGHT, TOP, BOTTOM = 70, 836, 40, 46  # px, of the bars' area


def pck_curves(pck: dict) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Protocol -> (thresholds mm, share of joints, averaged over the joints), for the curves that start at 0 mm."""
    curves = {}
    for name, values in pck.items():
        protocol, _, span = name.rpartition("_0_")
        thresholds = pck.get(f"thresholds_0_{span}")
        if protocol in ("", "thresholds") or thresholds is None:
            continue
        share = np.asarray(values, float)
        by_joint = (
            share.reshape(-1, len(thresholds))
            if share.shape[-1] == len(thresholds)
            else share.T.reshape(-1, len(thresholds))
        )
        curves[protocol] = (thresholds, by_joint.mean(0))
    return curves


def scores_sheet(pck: dict, per_joint_mm: dict[str, np.ndarray], title: str, subtitle: str) -> np.ndarray:
    """pck: /metrics/pck; per_joint_mm: protocol -> (21,)."""
    head = blank(66, 860)
    heading(head, title, subtitle)
    curves = {name: (x, 100 * y) for name, (x, y) in pck_curves(pck).items()}
    panels = [
        head,
        *([plot_lines(curves, "joints within, %", "error, mm", height=380, y_range=(0.0, 100.0))] if curves else []),
    ]
    return np.vstack(
        [*panels, *(plot_joints(name, values) for name, values in per_joint_mm.items() if np.isfinite(values).any())]
    )


def plot_joints(protocol: str, values: np.ndarray) -> np.ndarray:
    """values (21,) mm: one bar for each joint, in its finger's colour, with its value."""
    page = blank(210, 860)
    write(page, f"{protocol}: mean error of each joint, mm", LEFT, TOP - 14, 8.5, INK)
    bottom, width = page.shape[0] - BOTTOM, (RIGHT - LEFT) / len(JOINTS)
    unit = (bottom - TOP - 14) / max(float(np.nanmax(values)), 1e-9)
    for joint, (value, colour) in enumerate(zip(values, joint_colours(), strict=True)):
        x = LEFT + joint * width
        if np.isfinite(value):
            corners = (round(x + 4), round(bottom - value * unit)), (round(x + width - 4), bottom)
            cv2.rectangle(page, *corners, colour, -1)
            cv2.rectangle(page, *corners, EDGE if joint == 0 else colour, 1)
            write(
                page,
                f"{value:.1f}" if value < 100 else f"{value:.0f}",
                x + width / 2,
                corners[0][1] - 4,
                7,
                FAINT,
                "middle",
            )
        write(page, JOINTS[joint].rpartition("_")[2], x + width / 2, bottom + 15, 7, FAINT, "middle")
    for finger, joints in FINGERS.items():
        write(page, finger, LEFT + (joints[0] + 2) * width, bottom + 32, 8, INK, "middle")
    cv2.line(page, (LEFT, bottom), (RIGHT, bottom), RULE, 1)
    return page
