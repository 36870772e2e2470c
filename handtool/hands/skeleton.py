"""The 21 joints of a hand: names, parents, fingers, bones, and the joint orders of other formats.

Standard order: 0 wrist, then thumb, index, middle, ring and little finger, each from the palm to its tip.
"""

import numpy as np

LEFT, RIGHT, UNKNOWN = 0, 1, 2  # the numbers of the file's side enum
NUM_JOINTS = 21
NUM_VERTICES = 778  # MANO's mesh
WRIST, MIDDLE_MCP, MIDDLE_PIP = 0, 9, 10
REFERENCE_BONE = (MIDDLE_MCP, MIDDLE_PIP)  # FreiHAND's `scale` is the length of this bone

JOINTS = tuple(
    "wrist thumb_cmc thumb_mcp thumb_ip thumb_tip index_mcp index_pip index_dip index_tip"
    " middle_mcp middle_pip middle_dip middle_tip ring_mcp ring_pip ring_dip ring_tip"
    " little_mcp little_pip little_dip little_tip".split()
)
PARENTS = (-1, 0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19)  # -1: none
FINGERS = {
    "thumb": (1, 2, 3, 4),
    "index": (5, 6, 7, 8),
    "middle": (9, 10, 11, 12),
    "ring": (13, 14, 15, 16),
    "little": (17, 18, 19, 20),
}
KNUCKLES = (5, 9, 13, 17)  # the MCP joints of the four fingers; with the wrist they span the palm
BONES = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)  # 20 pairs (parent, child)

# standard[i] = theirs[MAP[i]]
STANDARD = tuple(range(NUM_JOINTS))  # FreiHAND, DexYCB, OneHand10K, Panoptic, MediaPipe
FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)  # 16 joints, then 5 tips (HO-3D)
FROM_INTERHAND_RIGHT = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)  # AssemblyHands too
FROM_INTERHAND_LEFT = tuple(i + NUM_JOINTS for i in FROM_INTERHAND_RIGHT)
FROM_RHD_LEFT = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)
FROM_RHD_RIGHT = tuple(i + NUM_JOINTS for i in FROM_RHD_LEFT)

# Order of the 2.5D head, level by level: slot 0, 5 MCP (with the thumb's CMC), 5 PIP, 5 DIP, 5 tips.
# level_major[k] = standard[LEVEL_MAJOR[k]] and standard[i] = level_major[FROM_LEVEL_MAJOR[i]].
LEVEL_MAJOR = (0, *(finger[level] for level in range(4) for finger in FINGERS.values()))
FROM_LEVEL_MAJOR = tuple(LEVEL_MAJOR.index(joint) for joint in range(NUM_JOINTS))


def bone_length(joints: np.ndarray, bone: tuple[int, int] = REFERENCE_BONE) -> np.ndarray:
    """joints: (..., 21, 2 or 3), any unit. Returns (...,), same unit: the length of the bone."""
    return np.linalg.norm(joints[..., bone[1], :] - joints[..., bone[0], :], axis=-1)
