"""What is refused before the first frame, and why no hand came out in the end."""

import logging
import re
from collections import Counter
from pathlib import Path

from handtool.config import ExtractConfig
from handtool.errors import DamagedFile, HandtoolError, WrongCommand
from handtool.sources.frame import Video
from handtool.vision.boxes_file import BoxesFile
from handtool.vision.hand_finder import FinderSettings

log = logging.getLogger(__name__)


KNOWN_TO_MISS = {  # by detector
    "mediapipe": "MediaPipe is known to miss hands in gloves, hands that hold something, and egocentric close-ups; "
    "another detector may find them: --detector hands.onnx (docs/ONNX.md)"
}

# in the status of a video that may be sound
NOT_THEIR_CONTENT = (
    "not readable|cannot be read|cannot be fetched|no plain file|--stream|not known to FFmpeg|(its|their) process|"
    "no new frame|enough memory"
)


def check_config(config: ExtractConfig, boxes: Path | None, model: Path | None) -> None:
    if config.whole and boxes is not None:
        raise WrongCommand("--whole and --boxes are two ways to say where the hands are", hint="give one of them")
    if model is not None and (config.whole or boxes is not None):
        raise WrongCommand(
            f"{'--whole' if config.whole else '--boxes'} says where the hands are, {model} would look for them",
            hint="give one of them",
        )
    if config.every is not None and config.fps != ExtractConfig.fps:
        raise WrongCommand("--fps and --every are two ways to choose the frames", hint="give one of them")
    if config.keyframes and config.every is not None:
        raise WrongCommand("--keyframes and --every are two ways to choose the frames", hint="give one of them")


def check_sampling(videos: list[Video], config: ExtractConfig) -> None:
    """Raises WrongCommand for an option that none of the videos heeds."""
    kinds = {video.kind for video in videos}
    timed = {
        "--fps": config.fps != ExtractConfig.fps,
        "--track-fps": config.track_fps > 0,
        "--stream": config.stream is not None,
        "--keyframes": config.keyframes,
        "--decode": config.decode != ExtractConfig.decode,
    }
    for option in (name for name, given in timed.items() if given and "video" not in kinds):
        hint = "--every N" if "fps" in option else "leave it out"
        raise WrongCommand(f"{option} does nothing: no video file is given, and images have no time", hint=hint)
    if config.every not in (None, 1) and kinds == {"labelled"}:
        raise WrongCommand("--every does nothing: labelled frames are all kept", hint="leave it out, or --limit N")


def warn_about_empty_frames(videos: list[Video], outcomes: list[dict], config: ExtractConfig) -> None:
    """Says so if the detector found no hand on more than half of the frames that it looked at."""
    searched = [outcome for video, outcome in zip(videos, outcomes, strict=True) if not video.is_labelled]
    looked = sum(outcome["sampled"] for outcome in searched)
    empty = looked - sum(outcome["with_hands"] + outcome["none_kept"] for outcome in searched)
    empty -= count_unseen(searched).total()
    if 2 * empty > looked:
        reason = KNOWN_TO_MISS.get(config.detector)
        log.warning("no hand found on %d of %d frames%s", empty, looked, f": {reason}" if reason else "")


def count_unseen(outcomes: list[dict]) -> Counter:
    """Frames that the detector could not look at, by reason."""
    return sum((Counter(outcome.get("unseen", {})) for outcome in outcomes), Counter())


def count_boxes(outcomes: list[dict]) -> int:
    return sum(outcome["hands"] + sum((outcome["left_out"] | outcome["refused"]).values()) for outcome in outcomes)


def no_hands_in_boxes(
    videos: list[Video], outcomes: list[dict], in_file: BoxesFile, settings: FinderSettings
) -> HandtoolError:
    """Why none of the boxes in the file has become a hand."""
    name, looked_at = settings.boxes or settings.hands, sum(outcome["sampled"] for outcome in outcomes)
    if not looked_at or any(outcome["left_out"] for outcome in outcomes):
        return no_hands_at_all(videos, outcomes)
    if refused := sum((Counter(outcome["refused"]) for outcome in outcomes), Counter()):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in refused.most_common(3))
        return HandtoolError(
            f"none of {refused.total()} boxes can be used ({reasons})",
            hint="boxes are in px of the picture as it is shown, or shares of it, 0 to 1, in 100DOH's json",
        )
    if not len(in_file):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in in_file.left_out.most_common(3))
        return HandtoolError(f"{name} has no box of a hand{f' ({reasons})' if reasons else ''}")
    picture = videos[0].files[0] if videos[0].files else f"{videos[0].path}#0"
    left_out = f"; left out: {', '.join(f'{reason} {n}' for reason, n in in_file.left_out.items())}" * bool(
        in_file.left_out
    )
    return HandtoolError(
        f"no box of {name} is on one of the {looked_at} pictures that were looked at: it says "
        f"{next(iter(in_file.rows), 'nothing')}, the pictures are {picture}{left_out}",
        hint="frame 12 of a video is clip.mp4#12; --every 1 looks at every frame",
    )


def no_hands_at_all(videos: list[Video], outcomes: list[dict]) -> HandtoolError:
    looked, bad = (
        sum(outcome["sampled"] for outcome in outcomes),
        [outcome for outcome in outcomes if outcome["status"] != "ok"],
    )
    if not looked:
        at_fault = any(re.search(NOT_THEIR_CONTENT, outcome["status"]) for outcome in outcomes)
        return (HandtoolError if at_fault else DamagedFile)(
            f"none of {len(videos)} videos could be read; the first: {videos[0].name}: {outcomes[0]['status']}"
        )
    if left_out := sum((Counter(outcome["left_out"]) for outcome in outcomes), Counter()):
        return HandtoolError(f"none of {left_out.total()} hands is kept ({', '.join(left_out)})", hint="ask for less")
    if (unseen := count_unseen(outcomes)) and 2 * unseen.total() > looked:
        told = f"no hands: of {looked} frames {unseen.total()} could not be looked at"
        return HandtoolError(f"{told} ({unseen.most_common(1)[0][0]})", hint="handtool doctor, or another --detector")
    unread = f", {len(bad)} videos not read whole" if bad else ""
    return HandtoolError(
        f"no hands in {len(videos)} videos ({looked} frames looked at{unread})",
        hint="where each image is a hand already: --whole; where boxes are known: --boxes FILE; else look at more "
        "frames (--fps 5), or with another detector (--detector hands.onnx)",
    )
