"""Tracks: which hands of successive frames are one, which side it is, and which tracks go on from each other."""

import numpy as np

from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.vision.contracts import Detection
from handtool.vision.tracks import Tracks

LEFT_BOX, RIGHT_BOX = np.array([0.0, 0, 50, 50]), np.array([200.0, 0, 250, 50])


class Link:
    """The kept hands of a video, and their tracks at its end."""

    def __init__(self, interval_s: float = 0.0) -> None:
        self.tracks = Tracks(interval_s)
        self.numbers, self.seen, self.sure = [], [], []

    def add(self, time: float, hands: list[Detection], kept: bool = True, sure: bool = False) -> None:
        for number, hand in zip(self.tracks.add(time, hands), hands, strict=True):
            self.tracks.vote(number, hand)
            if kept:
                self.numbers.append(number)
                self.seen.append(hand.side)
                self.sure.append(sure)

    def finish(self) -> tuple[list[int], list[int]]:
        numbers, sides = self.tracks.finish(self.numbers, np.array(self.seen, np.int8), np.array(self.sure, bool))
        return numbers.tolist(), sides.tolist()


def hands_at(*boxes, side=UNKNOWN, score=1.0) -> list[Detection]:
    return [Detection(np.array(box, float), side, score) for box in boxes]


def test_hands_are_linked_by_overlap_and_lonely_ones_get_no_track():
    link = Link()
    link.add(0.0, hands_at(LEFT_BOX, RIGHT_BOX))
    link.add(0.2, hands_at(RIGHT_BOX + 10, LEFT_BOX + 5))
    link.add(0.4, hands_at(LEFT_BOX + 10, LEFT_BOX + 500))
    assert link.finish()[0] == [0, 1, 1, 0, 0, -1]


def test_a_hand_that_is_missed_on_a_frame_is_linked_across_it_though_another_was_seen():
    link = Link()
    for time, hands in ((0.0, hands_at(LEFT_BOX, RIGHT_BOX)), (0.1, hands_at(RIGHT_BOX)), (0.2, hands_at(LEFT_BOX))):
        link.add(time, hands)
    assert link.finish()[0] == [0, 1, 1, 0]


def test_a_fast_hand_that_has_left_its_last_box_is_linked_by_its_place_and_a_hand_of_another_size_is_not():
    for size, expected in ((50, [0, 0, 0]), (120, [0, 0, -1])):
        link = Link()
        for place, step in enumerate((0, 40, 80)):
            end = size if place == 2 else 50
            link.add(0.1 * place, hands_at([step, 0, step + end, end]))
        assert link.finish()[0] == expected


def test_hands_further_apart_in_time_or_without_time_are_not_linked():
    for times in ((0.0, 1.25, 3.0), (np.nan,) * 3):
        link = Link()
        for time in times:
            link.add(time, hands_at(LEFT_BOX))
        assert link.finish()[0] == [-1, -1, -1]


def test_tracks_that_go_on_from_each_other_after_a_pause_become_one():
    """Not where the hand is then far away, of another side or size, or where the pause is long."""
    for pause, box, side, expected in (
        (0.5, LEFT_BOX + 20, RIGHT, 0),
        (0.5, LEFT_BOX + 20, UNKNOWN, 0),
        (0.5, LEFT_BOX + 20, LEFT, 1),
        (0.5, LEFT_BOX + 300, RIGHT, 1),
        (0.5, 3 * LEFT_BOX, RIGHT, 1),
        (2.5, LEFT_BOX + 20, RIGHT, 1),
        (1.5, LEFT_BOX + 150, RIGHT, 1),
    ):
        link = Link()
        for time in (0.0, 0.1, 0.2):
            link.add(time, hands_at(LEFT_BOX, side=RIGHT))
        for time in (0.0, 0.1):
            link.add(0.2 + pause + time, hands_at(box, side=side))
        assert link.finish()[0] == [0, 0, 0, expected, expected], (pause, box, side)


def test_a_track_goes_on_from_one_other_only_and_often_seen_ones_come_before_what_may_be_a_mistake():
    link = Link()
    for time in (0.0, 0.1, 0.2):
        link.add(time, hands_at(LEFT_BOX) + (hands_at(LEFT_BOX + 45) if time == 0.2 else []))
    for time in (0.7, 0.8, 0.9):
        link.add(time, hands_at(LEFT_BOX + 40))
    assert link.finish()[0] == [0, 0, 0, -1, 0, 0, 0]


def test_a_hand_that_goes_on_elsewhere_is_not_joined_to_what_begins_where_it_was():
    """Two tracks are united along the film; a third begins where the first ended, while the second lasts."""
    link = Link()
    for place in range(12):
        time = 0.1 * place
        hands = hands_at(LEFT_BOX if place < 3 else LEFT_BOX + 300) + (hands_at(LEFT_BOX + 5) if place > 6 else [])
        link.add(time, hands)
        if place == 3:
            link.tracks.unite(link.numbers[0], link.numbers[-1])
    assert link.finish()[0] == [0] * 7 + [0, 1] * 5


def test_frames_between_kept_ones_carry_a_track_and_one_of_them_may_miss_the_hand():
    """At 29.97 fps the frame after a tick comes up to one frame late, so that five looks a second are 0.2336 s
    apart."""
    for rate, late, missed in ((5, 1 / 29.97, (3,)), (2, 0.0, ())):
        link = Link(1 / rate)
        for place in range(3 * rate + 1):
            hands = hands_at(LEFT_BOX + place) if place not in missed else []
            link.add(place / rate + late * (place % 2), hands, kept=place % rate == 0)
        assert link.finish()[0] == [0, 0, 0, 0]


def test_a_side_that_flickers_becomes_that_of_its_track_and_known_sides_stay():
    sides = [RIGHT, LEFT, RIGHT, UNKNOWN, RIGHT]
    for sure, expected in ((False, [RIGHT] * 5), (True, [RIGHT, LEFT, RIGHT, RIGHT, RIGHT])):
        link = Link()
        for place, side in enumerate(sides):
            link.add(0.1 * place, hands_at(LEFT_BOX + place, side=side, score=0.8), sure=sure)
        assert link.finish() == ([0] * 5, expected)


def test_the_sides_at_the_beginning_of_a_track_change_with_the_evidence_of_its_later_part():
    link = Link()
    for place in range(12):
        link.add(0.1 * place, hands_at(LEFT_BOX, side=RIGHT, score=0.9))
    for place in range(12, 30):
        link.add(0.1 * place, hands_at(LEFT_BOX, side=LEFT, score=0.9))
    assert link.finish() == ([0] * 30, [LEFT] * 30)


def test_a_side_counts_with_its_score_and_frames_between_have_a_say():
    link = Link()
    link.add(0.0, hands_at(LEFT_BOX, side=LEFT, score=0.6))
    link.add(0.1, hands_at(LEFT_BOX, side=RIGHT, score=0.5), kept=False)
    assert link.finish()[1] == [LEFT]
    link.add(0.2, hands_at(LEFT_BOX, side=RIGHT, score=0.5), kept=False)
    assert link.finish()[1] == [RIGHT]


def test_hands_that_cross_keep_their_own_tracks_by_their_sides():
    """Left and right swap places within a frame: each overlaps the other's last box more than its own."""
    link = Link()
    for time, left, right in ((0.0, 0, 40), (0.1, 18, 22), (0.2, 24, 16)):
        boxes = LEFT_BOX + (left, 0, left, 0), LEFT_BOX + (right, 0, right, 0)
        link.add(time, hands_at(boxes[0], side=LEFT) + hands_at(boxes[1], side=RIGHT))
    assert link.finish()[0] == [0, 1, 0, 1, 0, 1]
