"""The outcomes of the videos: the rows of /videos, the accounting, and the lists in the report.

An outcome is what `Tally` and `Rows` of vision/ keep of one video (`as_outcome` of both), as one dictionary.
"""

from collections import Counter

import numpy as np

from handtool.accounting import Accounting
from handtool.hands.skeleton import LEFT, RIGHT, UNKNOWN
from handtool.sources.find import readable
from handtool.sources.frame import Video
from handtool.sources.truth import LABELLED

MAX_NAMED = 5  # videos with the same note
MAX_LISTED = 20  # videos that a report lists one by one, besides the bad ones


def video_columns(videos: list[Video], outcomes: list[dict], ordinals: list[int]) -> dict[str, object]:
    """The columns of /videos. ordinals: the place of each in the whole input list."""
    versions = [outcome.get("version", "") for outcome in outcomes]
    remote = {"version": versions} if any(video.address for video in videos) else {}
    return remote | {
        "name": [video.name for video in videos],
        "path": [readable(video.path) for video in videos],
        "subject": [
            video.subject or outcome.get("subject", "") for video, outcome in zip(videos, outcomes, strict=True)
        ],
        "place": [video.place or outcome.get("place", "") for video, outcome in zip(videos, outcomes, strict=True)],
        "status": [outcome["status"] for outcome in outcomes],
        "ordinal": np.array(ordinals, np.int64),
        "fps": [outcome["fps"] for outcome in outcomes],
        "width": [outcome["width"] for outcome in outcomes],
        "height": [outcome["height"] for outcome in outcomes],
        "duration": [outcome["duration"] for outcome in outcomes],
        "frames_decoded": [outcome["decoded"] for outcome in outcomes],
        "frames_failed": [sum(outcome["failed"].values()) for outcome in outcomes],
        "frames_corrupt": [outcome["corrupt"] for outcome in outcomes],
        "stream": [outcome.get("stream", -1) for outcome in outcomes],
    }


def account(outcomes: list[dict]) -> list[Accounting]:
    """Videos, frames and hands: in = done + skipped + failed of each; and labels, if any is marked not valid."""
    films, frames, hands = Accounting("videos"), Accounting("frames"), Accounting("hands")
    for outcome in outcomes:
        if outcome["decoded"]:
            films.done += 1
        else:
            films.fail(outcome["problem"].partition(":")[0])
        frames.done += outcome["with_hands"]
        frames.skip("not sampled", outcome["decoded"] - outcome["sampled"] + outcome["unread"])
        frames.skip("hands found, none kept", outcome["none_kept"])
        unseen = outcome.get("unseen", {})  # which an outcome of an older version lacks
        empty = outcome["sampled"] - outcome["with_hands"] - outcome["none_kept"] - sum(unseen.values())
        frames.skip("no hand found", empty)
        for reason, count in (*outcome["failed"].items(), *unseen.items()):
            frames.fail(reason, count)
        hands.done += outcome["hands"]
        for reason, count in outcome["left_out"].items():
            hands.skip(reason, count)
        for reason, count in outcome["refused"].items():
            hands.fail(reason, count)
    labels, _ = count_marks(outcomes)
    return [films, frames, hands, labels] if labels.failed else [films, frames, hands]


def count_marks(outcomes: list[dict]) -> tuple[Accounting, Counter]:
    """Labelled hands = done + marked not valid, by reason; and what is marked of the others, point by point."""
    labels, points = Accounting("labels"), Counter[str]()
    for outcome in outcomes:
        for reason, count in outcome.get("labels_marked", {}).items():
            labels.fail(reason, count)
        points.update(outcome.get("label_singles", {}))
    labels.done = sum(outcome.get("labels_checked", 0) for outcome in outcomes) - labels.failed.total()
    return labels, points


def make_report(videos: list[Video], outcomes: list[dict], left_out: Counter) -> dict:
    """Every frame and every hand is in it: decoded, sampled, with hands, or lost and why. left_out: other files."""
    report: dict[str, object] = {"accounting": [each.as_report() for each in account(outcomes)]}
    for name, side in (("left", LEFT), ("right", RIGHT), ("side_unknown", UNKNOWN)):
        report[name] = sum(outcome["sides"][side] for outcome in outcomes)
    report |= count_found(outcomes)
    joined = sum((Counter(outcome.get("joined", {})) for outcome in outcomes), Counter())
    if joined:
        report["truth"] = {LABELLED: 0} | dict(joined)
    if points := count_marks(outcomes)[1]:
        report["labels_in_part_not_valid"] = dict(points)
    turned = sum(outcome["side_turned"] for outcome in outcomes)
    if turned:
        report["sides_turned_by_their_tracks"] = turned
    lines = [line_of(video, outcome) for video, outcome in zip(videos, outcomes, strict=True)]
    if 0 < len(videos) <= MAX_LISTED:
        report["per_video"] = lines
    notes: dict[str, list[str]] = {}
    for video, outcome in zip(videos, outcomes, strict=True):
        for note in outcome["notes"]:
            notes.setdefault(note, []).append(video.name)
    if notes:
        said = sorted(notes.items(), key=lambda each: -len(each[1]))[:MAX_LISTED]
        report["notes"] = {note: names if len(names) <= MAX_NAMED else f"{len(names)} videos" for note, names in said}
    bad = [line for line in lines if line["status"] != "ok"]
    if bad:
        report["videos_not_read_whole"] = bad
    if left_out:
        report["files_left_out"] = dict(left_out)
    return report


def count_found(outcomes: list[dict]) -> dict:
    """Tracks, and hands by the way they were found; {} where there are no tracks, and all were found at once."""
    tracks = sum(int(outcome["tracks"].max(initial=-1)) + 1 for outcome in outcomes)
    at_once, again, whole = (sum(outcome["found"][how] for outcome in outcomes) for how in range(3))
    found = {"at the first look": at_once, "looked again": again, "the whole picture as a hand": whole}
    return ({"tracks": tracks} if tracks else {}) | ({"found": found} if again or whole else {})


def line_of(video: Video, outcome: dict) -> dict:
    """One video in the report; duration_s is None where the file does not say."""
    line = {
        "video": video.name,
        "status": outcome["status"],
        "hands": outcome["hands"],
        "frames_with_hands": outcome["with_hands"],
    }
    line |= {"frames_kept": outcome["sampled"], "frames_decoded": outcome["decoded"]}
    line |= {"frames_failed": sum(outcome["failed"].values()), "frames_corrupt": outcome["corrupt"]}
    return line | {"duration_s": round(outcome["duration"], 3) if np.isfinite(outcome["duration"]) else None}
