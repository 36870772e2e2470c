"""Hands that the detector missed along a film, found again: a small world of moving squares, whose truth is known, and
a detector that overlooks some."""

from types import SimpleNamespace

import numpy as np
import pytest

from handtool.hands.skeleton import LEFT, RIGHT
from handtool.vision.contracts import FOUND, LOOKED_AGAIN, Detection
from handtool.vision.second_look import MAX_MISSES, Sight, find_twin, follow
from handtool.vision.tracks import Tracks

IMAGE = np.zeros((400, 600, 3), np.uint8)
FPS = 20


class World:
    """hands: name -> function of the frame, the centre (x, y) px or None where it is not in the picture. missed: (name,
    frame) that the first look overlooks; hidden: that no look finds. `looks`: the second looks that were made."""

    def __init__(self, hands, missed=(), hidden=(), sides=None, landmarks=True, frames=40):
        self.hands, self.missed, self.hidden, self.frames = hands, set(missed), set(hidden), frames
        self.sides, self.landmarks, self.looks = sides or {}, landmarks, []

    def see(self, frame: int) -> dict[str, Detection]:
        seen = {}
        for number, (name, place) in enumerate(self.hands.items()):
            centre = place(frame)
            if centre is not None and (name, frame) not in self.hidden:
                x, y = centre
                box = np.array([x - 30.0, y - 30, x + 30, y + 30])
                points = np.array(centre) + 28 * np.random.default_rng(number).uniform(-1, 1, (21, 2))
                side = self.sides.get(name, (LEFT, RIGHT)[number % 2])
                side = side(frame) if callable(side) else side
                seen[name] = Detection(box, side, 0.9, points if self.landmarks else None)
        return seen

    def first_looks(self):
        for frame in range(self.frames):
            seen = {name: hand for name, hand in self.see(frame).items() if (name, frame) not in self.missed}
            known = SimpleNamespace(image=IMAGE, time=frame / FPS, number=frame)
            yield Sight(known, IMAGE, np.eye(3), [(hand, np.eye(3), {}) for hand in seen.values()], again=True)

    def look_again(self, sight, box):
        """First nothing, then every hand whose centre lies in the box, enlarged three times."""
        self.looks.append(sight.frame.number)
        yield []
        middle, size = (box[:2] + box[2:]) / 2, box[2] - box[0]
        hands = self.see(sight.frame.number).values()
        yield [hand for hand in hands if np.abs((hand.box[:2] + hand.box[2:]) / 2 - middle).max() < 1.5 * size]

    def follow(self):
        """name -> frame -> (track at the end, side at the end, how it was found), by the true place of each hand."""
        tracks = Tracks()
        sights = list(follow(self.first_looks(), tracks, self.look_again))
        assert [sight.frame.number for sight in sights] == list(range(self.frames))
        numbers, seen = [], []
        for sight in sights:
            for (hand, _, _), number in zip(sight.hands, sight.tracks, strict=True):
                tracks.vote(number, hand)
                numbers.append(number)
                seen.append(hand.side)
        number, side = tracks.finish(numbers, np.array(seen, np.int8), np.zeros(len(seen), bool))
        found, place = {name: {} for name in self.hands}, 0
        for sight in sights:
            here = number[place : place + len(sight.hands)]
            assert len(set(here[here >= 0])) == (here >= 0).sum(), "two hands of a frame have one track"
            for hand, _, _ in sight.hands:
                boxes = {name: known.box for name, known in self.see(sight.frame.number).items()}
                (name,) = [name for name, box in boxes.items() if np.array_equal(box, hand.box)]
                assert sight.frame.number not in found[name], "a hand is there twice"
                found[name][sight.frame.number] = int(number[place]), int(side[place]), hand.found
                place += 1
        return found


def still(x, y):
    return lambda frame: (x, y)


def moving(x, y, dx, dy=0.0):
    return lambda frame: (x + dx * frame, y + dy * frame)


@pytest.mark.parametrize("landmarks", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_every_hand_that_is_missed_now_and_then_is_found_again_once_and_keeps_its_track_and_side(seed, landmarks):
    """The truth is what the world shows: each hand on each frame, once, on one track."""
    rng = np.random.default_rng(seed)
    hands = {"a": moving(60, 80, 8), "b": moving(500, 200, -7, 2), "c": still(150, 330)}
    missed = [(name, frame) for name in hands for frame in range(40) if rng.random() < 0.4]
    missed = [each for each in missed if each[1] != 20]  # each is seen at least once
    world = World(hands, missed, landmarks=landmarks)
    found = world.follow()
    for number, name in enumerate(hands):
        assert sorted(found[name]) == list(range(40)), name
        assert len({track for track, _, _ in found[name].values()}) == 1
        assert {side for _, side, _ in found[name].values()} == {(LEFT, RIGHT)[number % 2]}
        for frame, (_, _, how) in found[name].items():
            assert how == (LOOKED_AGAIN if (name, frame) in world.missed else FOUND)
    assert len({next(iter(found[name].values()))[0] for name in hands}) == 3


def test_where_nothing_is_missed_nothing_is_looked_at_again():
    world = World({"a": moving(60, 80, 8), "b": still(300, 300)})
    world.follow()
    assert set(world.looks) <= {0} and not world.looks[2:]


def test_a_hand_is_found_on_the_frames_before_it_was_first_found():
    world = World({"a": moving(60, 80, 8)}, missed=[("a", frame) for frame in range(15)])
    assert sorted(world.follow()["a"]) == list(range(40))


def test_a_hand_that_comes_in_late_or_leaves_is_looked_for_a_few_times_and_no_more():
    world = World({"a": lambda frame: (300, 200) if 10 <= frame < 25 else None})
    assert sorted(world.follow()["a"]) == list(range(10, 25))
    assert len(world.looks) == 1 + MAX_MISSES


def test_a_hand_that_vanishes_for_a_moment_keeps_its_track():
    """It is hidden too long for the frame-by-frame link; the track goes on after the pause."""
    world = World({"a": still(300, 200)}, hidden=[("a", frame) for frame in range(15, 25)])
    found = world.follow()["a"]
    assert len(found) == 30 and {track for track, _, _ in found.values()} == {0}


def test_hands_that_cross_are_never_doubled_and_keep_their_tracks():
    rng = np.random.default_rng(3)
    hands = {"left": moving(100, 200, 10), "right": moving(500, 210, -10)}
    missed = [(name, frame) for name in hands for frame in range(16, 24) if rng.random() < 0.5]
    found = World(hands, missed).follow()
    for number, name in enumerate(hands):
        assert sorted(found[name]) == list(range(40))
        assert len({track for track, _, _ in found[name].values()}) == 1
        assert {side for _, side, _ in found[name].values()} == {number}


def test_a_side_that_is_wrong_for_a_third_of_the_film_is_put_right_on_the_whole_track():
    world = World({"a": still(300, 200)}, sides={"a": lambda frame: RIGHT if frame < 12 else LEFT})
    assert {side for _, side, _ in world.follow()["a"].values()} == {LEFT}


def test_a_fast_hand_whose_speed_is_not_known_yet_stays_one():
    """It jumps by almost its size at once, so that its boxes hardly overlap."""
    world = World({"a": lambda frame: (100, 200) if frame < 20 else (155, 200)})
    found = world.follow()["a"]
    assert len(found) == 40 and {track for track, _, _ in found.values()} == {0}


def test_a_hand_seen_twice_at_the_first_look_is_there_once():
    world = World({"a": still(300, 200)}, frames=10)
    looks = list(world.first_looks())
    for sight in looks:
        hand, camera, label = sight.hands[0]
        twin = Detection(hand.box + 4, RIGHT, 0.6, hand.landmarks + 3)
        sight.hands.append((twin, camera, label))
    sights = list(follow(iter(looks), Tracks(), world.look_again))
    assert [len(sight.hands) for sight in sights] == [1] * 10 and [sight.doubles for sight in sights] == [1] * 10
    assert all(sight.hands[0][0].score == 0.9 for sight in sights)


def test_where_one_of_two_hands_is_seen_twice_the_other_is_looked_for():
    """Both tracks would take the double for theirs."""
    world = World({"a": still(300, 200), "b": still(345, 200)}, missed=[("b", 5)], frames=10)
    looks = list(world.first_looks())
    hand, camera, label = looks[5].hands[0]
    looks[5].hands.append((Detection(hand.box + (20, 0, 20, 0), RIGHT, 0.6, hand.landmarks + 2), camera, label))
    sights = list(follow(iter(looks), Tracks(), world.look_again))
    assert [len(sight.hands) for sight in sights] == [2] * 10 and sights[5].doubles == 1
    boxes = sorted(hand.box[0] for hand, _, _ in sights[5].hands)
    assert boxes == [270, 315] and sights[5].hands[1][0].found == LOOKED_AGAIN


def test_two_hands_do_not_go_on_from_the_same_track():
    """Both begin at once, and the second look takes the hand before them for either."""
    first = Detection(np.array([270.0, 170, 330, 230]), LEFT)
    two = [Detection(first.box + (x, 0, x, 0), LEFT) for x in (-31, 31)]
    sights = [
        Sight(
            SimpleNamespace(image=IMAGE, time=time), IMAGE, np.eye(3), [(hand, np.eye(3), {}) for hand in hands], True
        )
        for time, hands in ((0.0, [first]), (0.23, two))
    ]
    tracks = Tracks()
    tracks.match = lambda time, hands: ([-1] * len(hands), [])
    list(follow(iter(sights), tracks, lambda sight, box: [[first]]))
    assert sights[0].tracks == [0] and sights[1].tracks == [1, 2]
    assert tracks.ends.first_of(1) == 0 and tracks.ends.first_of(2) == 2 and len(sights[0].hands) == 1


def test_of_two_hands_at_the_place_of_a_track_the_one_of_its_side_is_taken():
    """Both are missed on one frame, on which each lies nearer to the other's last place."""
    world = World(
        {"left": lambda frame: (300 + 25 * (frame >= 5), 200), "right": lambda frame: (320 - 25 * (frame >= 5), 200)},
        missed=[("left", 5), ("right", 5)],
        frames=10,
    )
    found = world.follow()
    for number, name in enumerate(("left", "right")):
        assert len({track for track, _, _ in found[name].values()}) == 1 and len(found[name]) == 10
        assert {side for _, side, _ in found[name].values()} == {number}


def test_hands_of_images_and_known_hands_are_left_as_they_are():
    hand = Detection(np.array([10.0, 10, 60, 60]))
    for time, again in ((np.nan, True), (0.0, False)):
        frame = SimpleNamespace(image=IMAGE, time=time)
        sights = [Sight(frame, IMAGE, np.eye(3), [(hand, np.eye(3), {})] * 2, again) for _ in range(3)]
        followed = list(follow(iter(sights), Tracks(), None))
        assert followed == sights and [len(sight.hands) for sight in followed] == [2] * 3


def test_frames_are_held_back_only_as_far_as_their_bytes_permit(monkeypatch):
    monkeypatch.setattr("handtool.vision.second_look.HELD_BYTES", 5 * IMAGE.nbytes)
    world, most, given = World({"a": moving(60, 80, 8)}, missed=[("a", frame) for frame in range(15)]), 0, 0
    frames = []

    def counted():
        nonlocal given
        for sight in world.first_looks():
            given += 1
            yield sight

    for sight in follow(counted(), Tracks(), world.look_again):
        most = max(most, given - len(frames))
        frames.append((sight.frame.number, len(sight.hands)))
    assert most <= 6 and [frame for frame, count in frames if count] == list(range(10, 40))


def test_two_hands_laid_on_each_other_are_two_and_a_hand_seen_twice_is_one():
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (21, 2))
    box = np.array([0.0, 0, 100, 100])
    other = Detection(box, landmarks=rng.uniform(0, 100, (21, 2)))
    same = Detection(box + 5, landmarks=points + rng.normal(0, 5, (21, 2)))
    assert find_twin(Detection(box, landmarks=points), [other, same]) == 1
    assert find_twin(Detection(box), [Detection(box + (70, 0, 70, 0)), Detection(box + 5)]) == 1
