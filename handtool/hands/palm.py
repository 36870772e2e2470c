"""The frame of the palm: where a hand points and faces, as a rotation. docs/SCHEMA.md has the same definition.

    y  from the wrist to the mean of the four knuckles (MCP of index to little finger)
    z  out of the palm, where the fingers close: normal to y and to the line between the index and little knuckles
    x  = y x z: on a right hand towards the thumb, on a left hand away from it

y and z mean the same on both hands, and the frame is right-handed on both, so x changes its side. A left hand and its
mirror image M (x -> -x) have the rotations R and M R M. A hand of unknown side counts as right.
"""

import numpy as np

from handtool.hands.skeleton import KNUCKLES, LEFT, WRIST


def palm_rotation(joints: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
    """joints: (n, 21, 3), any unit and origin; side: (n,), None: all right.

    Returns R (n, 3, 3): its columns are x, y, z of the palm in the frame of the joints, so that a point p of the palm's
    frame is at wrist + R p. NaN if one of these joints is not finite or wrist and knuckles span no plane.
    """
    index, little = joints[:, KNUCKLES[0]], joints[:, KNUCKLES[-1]]
    with np.errstate(invalid="ignore", divide="ignore"):
        y = joints[:, KNUCKLES].mean(axis=1) - joints[:, WRIST]
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
        z = np.cross(index - little, y)
        z = z / np.linalg.norm(z, axis=1, keepdims=True)
    if side is not None:
        z = np.where((np.asarray(side) == LEFT)[:, None], -z, z)
    return np.stack([np.cross(y, z), y, z], axis=2)
