"""Joints and sides of hands by their names in other formats: `forefinger2`, `INDEX_FINGER_PIP`, `left_thumb_tip`.

The joints of a finger are ordered among themselves, so that 1 to 4, 0 to 3 and anatomical names are all read; 1 is
nearest the palm. `thumb4` is a tip wherever it stands.
"""

import re
from collections.abc import Sequence

from handtool.hands.skeleton import LEFT, NUM_JOINTS, RIGHT, UNKNOWN

WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
FINGER_WORDS = {
    "thumb": ("thumb",),
    "index": ("index", "forefinger", "fore", "pointer"),
    "middle": ("middle",),
    "ring": ("ring",),
    "little": ("little", "pinky", "pinkie", "small"),
}
OF_FINGER = {word: place for place, words in enumerate(FINGER_WORDS.values()) for word in words}
WRIST_WORDS, FILL_WORDS = {"wrist", "root"}, {"hand", "finger", "joint", "keypoint", "kpt", "kp", "point"}
SIDE_WORDS = {"left": LEFT, "l": LEFT, "right": RIGHT, "r": RIGHT, "lefthand": LEFT, "righthand": RIGHT}
RANKS = {"cmc": 0, "base": 0, "metacarpal": 0, "mcp": 1, "knuckle": 1, "proximal": 1, "pip": 2, "intermediate": 2}
RANKS |= {"dip": 3, "ip": 3, "distal": 3, "tip": 4, "end": 4}
WRIST_PLACE = (-1, 0)
NUMBERED = re.compile(r"(\D*)(\d{1,6})")


def side_by_name(name: str) -> int:
    """Of `left_hand`, `LeftHand`, `lefthand`, `hand_l`, `myleft`; UNKNOWN: no side in it, or both."""
    words = {word.lower().removeprefix("my").removeprefix("your") for word in WORD.findall(name)}
    left = any(word == "l" or word.startswith("left") for word in words)
    right = any(word == "r" or word.startswith("right") for word in words)
    return UNKNOWN if left == right else LEFT if left else RIGHT


def read_side(value: object) -> int | None:
    """Of a word, or 0 (left) and 1 (right). None: not understood."""
    text = "" if value is None else str(value).strip()
    if text in ("0", "1"):
        return (LEFT, RIGHT)[int(text)]
    side = side_by_name(text)
    return UNKNOWN if text.lower() in ("", "unknown") else side if side != UNKNOWN else None


def find_joint(name: str) -> tuple[int, tuple[int, int], bool] | None:
    """Side, finger and rank along it (WRIST_PLACE: the wrist), whether `hand` or `root` is said; None: no joint."""
    side, finger, rank, of_hand, is_wrist = UNKNOWN, None, None, False, False
    for word in (found.lower() for found in WORD.findall(name)):
        alias = next((known for known in OF_FINGER if word.startswith(known)), None)
        rest = word[len(alias) :].removeprefix("finger") if alias else word
        if alias and finger is None and (not rest or rest in RANKS):
            finger = OF_FINGER[alias]
            rank = RANKS[rest] if rest else rank
        elif word in SIDE_WORDS and side == UNKNOWN:
            side, of_hand = SIDE_WORDS[word], of_hand or word.endswith("hand")
        elif word in WRIST_WORDS:
            is_wrist, of_hand = True, of_hand or word == "root"
        elif (word in RANKS or word.isdecimal()) and rank is None:
            rank = RANKS[word] if word in RANKS else int(word[:4])
        elif word in FILL_WORDS:
            of_hand |= word == "hand"
        else:
            return None
    if is_wrist and finger is None:
        return side, WRIST_PLACE, of_hand
    return None if is_wrist or finger is None or rank is None else (side, (finger, rank), of_hand)


def find_hands(names: Sequence[str]) -> dict[int, tuple[int, ...]]:
    """The hands among named points: side -> the place of each of the 21 joints, standard[i] = theirs[places[i]].

    UNKNOWN is the side where the names tell none. Empty: there is no whole hand among them. Names that are numbers but
    for what they all begin with, 0 to 20 or 1 to 21, are taken as the standard order.
    """
    if (numbered := number_points(names)) is not None:
        return {UNKNOWN: numbered} if numbered else {}
    found: dict[int, dict[tuple[int, int], int]] = {}
    for place, joint in enumerate(map(find_joint, names)):
        if joint is not None:
            side, key, of_hand = joint
            known = found.setdefault(side, {})
            if key not in known or (key == WRIST_PLACE and of_hand):  # a hand's root, beside the wrist of a body
                known[key] = place
            elif key != WRIST_PLACE:
                known[key] = -1  # twice
    return {side: order for side, known in found.items() if (order := order_joints(known))}


def number_points(names: Sequence[str]) -> tuple[int, ...] | None:
    """Of `kp_1`, `kp_2`, …: the place of each number in order; empty: they are not those of 21. None: other names."""
    matches = [NUMBERED.fullmatch(name.strip()) for name in names]
    known = [(match[1], int(match[2])) for match in matches if match]
    if len(known) < len(names) or len({prefix for prefix, _ in known}) != 1:
        return None
    numbers = [number for _, number in known]
    whole = len(numbers) == NUM_JOINTS and sorted(numbers) in (list(range(21)), list(range(1, 22)))
    return tuple(sorted(range(NUM_JOINTS), key=numbers.__getitem__)) if whole else ()


def order_joints(places: dict[tuple[int, int], int]) -> tuple[int, ...]:
    """places: by finger and rank. Empty: not a wrist and four joints of each finger."""
    ordered = [places.get(WRIST_PLACE, -1)]
    for finger in range(len(FINGER_WORDS)):
        ordered += [places[key] for key in sorted(key for key in places if key[0] == finger)]
    whole = len(ordered) == NUM_JOINTS and min(ordered) >= 0
    each = [sum(key[0] == finger for key in places) for finger in range(len(FINGER_WORDS))]
    return tuple(ordered) if whole and set(each) == {4} else ()
