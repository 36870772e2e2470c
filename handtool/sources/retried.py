"""The report of an extraction some of whose videos were read again: every count as if they had not failed."""

import re
from collections import Counter
from typing import Any, NamedTuple

from handtool.accounting import Accounting
from handtool.sources.video_report import MAX_NAMED

SUMS = ("left", "right", "side_unknown", "tracks", "sides_turned_by_their_tracks")
COUNTS = ("truth", "labels_in_part_not_valid", "camera_source")
AT_ONCE = "at the first look"


class FailedVideo(NamedTuple):
    """A video of which no frame could be read, as /videos has it. passed_over: images, by --every."""

    name: str
    status: str
    frames_failed: int
    passed_over: int = 0


def merge_reports(before: dict, failed: list[FailedVideo], again: dict) -> dict:
    """`before`: of all videos. `failed`: those that `again` is the report of, as they were before."""
    both, names = before | again, {video.name for video in failed}
    merged = {name: value for name, value in both.items() if name not in ("per_video", "videos_not_read_whole")}
    merged |= {name: before.get(name, 0) + again.get(name, 0) for name in SUMS if name in both}
    for name in COUNTS:
        if name in both:
            merged[name] = dict(Counter(before.get(name, {})) + Counter(again.get(name, {})))
    if "found" in both:
        one, other = how_found(before), how_found(again)
        merged["found"] = {name: one[name] + other[name] for name in one}
    if "boxes_in_the_file" in both:
        looked = "on frames looked at"
        counts = before["boxes_in_the_file"][looked] + again["boxes_in_the_file"][looked]
        merged["boxes_in_the_file"] = again["boxes_in_the_file"] | {looked: counts}
    if "hands_in_the_file" in both:
        merged["hands_in_the_file"] = merge_joined(before["hands_in_the_file"], again["hands_in_the_file"])
    if notes := merge_notes(before.get("notes", {}), again.get("notes", {}), names):
        merged["notes"] = notes
    return merged | {"accounting": merge_accounts(before, failed, again)} | merge_lines(before, again, names)


def merge_joined(before: dict[str, int], again: dict[str, int]) -> dict[str, int]:
    """Those joined leave the others of the file."""
    joined, rest, frames = before
    merged = {joined: before[joined] + again[joined], rest: before[rest] - again[joined]}
    return merged | {frames: before[frames] + again[frames]}


def merge_accounts(before: dict, failed: list[FailedVideo], again: dict) -> list[dict]:
    lost = {what: Accounting(what) for what in ("videos", "frames")}
    for video in failed:
        problem, frames = read_status(video)
        lost["videos"].fail(problem.partition(":")[0])
        lost["frames"].failed += frames
        lost["frames"].skip("not sampled", video.passed_over)
    accounts = {item["what"]: read_account(item) for item in before["accounting"]}
    for item in again["accounting"]:
        less, have = lost.get(item["what"], Accounting(item["what"])), read_account(item)
        old = accounts.get(item["what"], Accounting(item["what"]))
        old = Accounting(old.what, old.done, old.skipped - less.skipped, old.failed - less.failed)
        accounts[item["what"]] = old + have
    return [account.as_report() for account in accounts.values()]


def merge_lines(before: dict, again: dict, names: set[str]) -> dict:
    """The lists of videos; in the one of all they keep their places."""
    bad = [line for line in before.get("videos_not_read_whole", []) if line["video"] not in names]
    bad += again.get("videos_not_read_whole", [])
    lines = {line["video"]: line for line in again.get("per_video", [])}
    merged = {"per_video": [lines.get(line["video"], line) for line in before.get("per_video", [])]}
    merged |= {"videos_not_read_whole": bad}
    return {name: value for name, value in merged.items() if value}


def merge_notes(before: dict, again: dict, names: set[str]) -> dict[str, Any]:
    """Note -> names of videos, or their number where they are many."""
    merged: dict[str, Any] = {}
    for note in before | again:
        one, other = before.get(note, []), again.get(note, [])
        if isinstance(one, list):
            one = [name for name in one if name not in names]
        if isinstance(one, list) and isinstance(other, list) and len(one + other) <= MAX_NAMED:
            merged[note] = one + other
        else:
            merged[note] = f"{sum(map(count_named, (one, other)))} videos"
    return {note: value for note, value in merged.items() if value}


def count_named(value: Any) -> int:
    return len(value) if isinstance(value, list) else int(value.split()[0])


def read_status(video: FailedVideo) -> tuple[str, Counter[str]]:
    """What `Tally.status` joined: the problem, and the frames that failed by reason."""
    if not video.frames_failed:
        return video.status, Counter()
    problem, _, losses = video.status.rpartition("; ")
    frames = {reason: int(count) for count, reason in re.findall(r"(\d+) (.+?)(?=, \d+ |$)", losses)}
    return problem, Counter(frames)


def how_found(report: dict) -> dict[str, int]:
    at_once = sum(report.get(side, 0) for side in SUMS[:3])
    return report.get("found") or {AT_ONCE: at_once, "looked again": 0, "the whole picture as a hand": 0}


def read_account(item: dict) -> Accounting:
    return Accounting(item["what"], item["done"], Counter(item["skipped"]), Counter(item["failed"]))
