"""Faults that most labels of a source share: its axes, its unit, its camera, its sides, its order of joints. They are
refused, since no part of such a set is right, and told by their likely cause."""

from pathlib import Path

import numpy as np

from handtool.errors import DamagedFile
from handtool.hands.label_faults import AROUND, BEHIND, BESIDE, ELSEWHERE, FAULTS, OFF, ORDERS, POINT, SIZE
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.sources.frame import Video
from handtool.sources.label_gate import FIELDS
from handtool.sources.truth import find_truth

MOST, SOME = 0.5, 0.1  # shares of the hands: a fault of the source; what is told
CONTRARY = 0.9  # of the hands of a side whose joints tell a side, so many tell the other
FEWEST_BENT = 4  # such hands
FEWEST = 10  # hands, of which together at least half of the keypoints lie on their pictures
BETTER = 0.15  # share of keypoints that come onto their pictures, were K scaled to them
OTHER_SIZE = 1.15  # K's picture is so many times larger or smaller
LARGEST_SHARE_FX = 20.0  # of a K in shares of the picture, in place of px
UNITS = {"millimetres": 1000, "centimetres": 100, "inches or lengths of a bone": 37, "decimetres": 10, "feet": 3.28}
TRUST = "--trust-labels takes them as they are"
SIDES = {LEFT: "left", RIGHT: "right"}


def name_source(video: Video) -> str:
    """The file or folder of the labels of a video, or the folder of the set that its film is of; empty: it has none."""
    if video.knows_hands and video.episode:
        return video.path
    if video.knows_hands:
        return str(Path(video.path).parent.parent)  # of the folders of films
    if video.kind == "labelled":
        return f"{video.path} ({video.split})" if video.split else video.path
    return str(find_truth(video) or "")


def judge(evidence: np.ndarray, path: str) -> list[str]:
    """evidence: (n, len(FIELDS)) of the labelled hands of one source, `path`. Returns what is worth a warning. Raises
    DamagedFile for a fault of most of them."""
    if not len(evidence):
        return []
    of = dict(zip(FIELDS, evidence.T.astype(np.float64), strict=True))
    refuse_order(of, path)
    refuse_fault(of, path)
    refuse_other_size(of, path)
    return [*judge_sides(of, path), *judge_centre(of)]


def refuse(path: str, told: str, hint: str) -> None:
    raise DamagedFile(f"{path}: {told}", hint=f"{hint}; {TRUST}")


def refuse_order(of: dict[str, np.ndarray], path: str) -> None:
    for place, name in enumerate(ORDERS):
        if (count := int((of["order"] == place).sum())) > MOST * len(of["order"]):
            told = f"the joints of {count} of {len(of['order'])} hands are in another order: {name}"
            refuse(path, told, "wrist, thumb, index, middle, ring, little finger are wanted, each from palm to tip")


def refuse_fault(of: dict[str, np.ndarray], path: str) -> None:
    total, counts = len(of["fault"]), np.bincount(of["fault"].astype(int), minlength=len(FAULTS))
    if counts[1:].sum() <= MOST * total:
        return
    place = int(counts[1:].argmax()) + 1
    fault, here = FAULTS[place], {name: values[of["fault"] == place] for name, values in of.items()}
    told, ratio = f"{counts[place]} of {total} hands have {fault}", float(np.median(here["ratio"]))
    match fault:
        case _ if fault == AROUND:
            hint = "joints relative to one of them? They are wanted in the camera's frame"
        case _ if fault == BEHIND:
            hint = "is z forward? x right, y down, z forward is wanted; from OpenGL's axes negate y and z"
        case _ if fault == SIZE:
            told += f": {ratio:.3g} times an adult's, which is not metres"
            units = [unit for unit, one in UNITS.items() if 0.6 < ratio / one < 1.6]
            hint = f"in {units[0]}? Metres are wanted" if units else "joints are wanted in metres"
        case _ if fault == POINT and np.median(here["fx"]) < LARGEST_SHARE_FX:
            hint = f"K in shares of the picture (fx {np.median(here['fx']):.3g})? Pixels are wanted"
        case _ if fault == POINT and (here["unit"] == here["seen"]).mean() > MOST:
            hint = "keypoints in shares of the picture? Pixels are wanted"
        case _ if fault == BESIDE:
            hint = f"boxes are wanted as x0 y0 x1 y1 in px of the picture; {cameras(here)}"
        case _ if fault in (OFF, ELSEWHERE):
            hint = f"keypoints are wanted as x, y in px of the picture; {cameras(here)}"
        case _:
            hint = "keypoints are wanted in px of the picture"
    refuse(path, told, hint)


def cameras(of: dict[str, np.ndarray]) -> str:
    centre_x, centre_y, width, height = (float(np.median(of[name])) for name in ("cx", "cy", "width", "height"))
    if not np.isfinite([centre_x, centre_y]).all():
        return f"the pictures have {width:.0f} x {height:.0f}"
    centre = f"{centre_x:.0f} {centre_y:.0f}"
    return f"is K that of these pictures? Its centre is {centre}, they have {width:.0f} x {height:.0f}"


def refuse_other_size(of: dict[str, np.ndarray], path: str) -> None:
    """Most keypoints off their pictures, though not all of most hands; or many, and they would be on them if K were
    scaled."""
    seen, inside, scaled = of["seen"].sum(), of["inside"].sum(), of["scaled"].sum()  # NaN: K's centre fits no scale
    if not seen:
        return
    few_inside = len(of["seen"]) >= FEWEST and inside < MOST * seen
    if few_inside or scaled - inside > BETTER * seen:
        told = f"of {seen:.0f} keypoints {inside:.0f} lie on their picture"
        refuse(path, told, cameras(of))


def judge_sides(of: dict[str, np.ndarray], path: str) -> list[str]:
    """Left and right exchanged, in all hands or in those of one side. Hands too flat to tell do not count."""
    bent = {side: (of["side"] == side) & (of["shown"] != UNKNOWN) for side in SIDES}
    contrary = {side: int((of["shown"][rows] != side).sum()) for side, rows in bent.items()}
    count = {side: int(rows.sum()) for side, rows in bent.items()}
    wrong = [side for side in SIDES if count[side] >= FEWEST_BENT and contrary[side] >= CONTRARY * count[side]]
    both = sum(count.values()) >= FEWEST_BENT and sum(contrary.values()) >= CONTRARY * sum(count.values())
    told = " and ".join(
        f"{contrary[side]} of {count[side]} {name} hands bend as {SIDES[LEFT + RIGHT - side]} hands do"
        for side, name in SIDES.items()
        if contrary[side] > SOME * count[side]
    )
    if wrong or both:
        refuse(
            path,
            told,
            "left and right exchanged, or one axis turned (y up)? Mirrored footage shows the other hand, too",
        )
    return [f"{told}: left and right exchanged?"] if told and sum(count.values()) >= FEWEST_BENT else []


def judge_centre(of: dict[str, np.ndarray]) -> list[str]:
    """K's centre is that of a picture of another size, or of a turned one, in nearly all hands alike; joints that lie
    on the picture do not tell it."""
    across, down = of["width"] / (2 * of["cx"] + 1), of["height"] / (2 * of["cy"] + 1)
    with np.errstate(invalid="ignore"):
        logs = np.log(np.stack([across, down]))
        common = np.nanmedian(logs, axis=1) if np.isfinite(logs).any() else np.zeros(2)
        alike = (np.abs(logs - common[:, None]) < 0.02).all(axis=0).mean() >= CONTRARY
    if not alike or np.abs(common).max() < np.log(OTHER_SIZE):
        return []
    if abs(common[0] - common[1]) < 0.02:
        return [f"K may be of pictures of another size: {cameras(of)}"]
    if abs(common[0] + common[1]) < 0.02:
        return [f"K may be of pictures that lie on their side: {cameras(of)}"]
    return []
