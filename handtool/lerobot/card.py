"""README.md of a LeRobot set: the card that the Hub shows, with the head by which its viewer finds the data."""

from handtool.lerobot.features import NAMES

HEAD = """---
tags:
- LeRobot
- hand-pose
task_categories:
- robotics
configs:
- config_name: default
  data_files: data/*/*.parquet
---
"""
MEANING = {
    "observation.state": "wrist (x y z, m) and 6D rotation of the palm: first two columns of its rotation, x then y",
    "action": "observation.state of the next frame; the last frame repeats its own",
    "observation.hands.kp3d": "21 joints x (x, y, z), m; camera frame (x right, y down, z forward), or relative to the "
    "wrist, see absolute",
    "observation.hands.kp2d": "21 joints x (u, v, score), px of the frame, pixel centres at integers",
    "observation.hands.kp3d_valid": "1: this joint of kp3d is known",
    "observation.hands.valid": "1: there is a hand; 0: none, its numbers are zeros",
    "observation.hands.score": "of the detector; 1 where it gives none",
    "observation.hands.absolute": "1: kp3d is in the camera's frame; 0: relative to the wrist",
    "observation.intrinsics": "fx fy cx cy of the frame, px, then k1 k2 k3 k4 of OpenCV's fisheye; zeros: not known",
}
JOINTS = "0 wrist, 1-4 thumb (cmc mcp ip tip), 5-8 index, 9-12 middle, 13-16 ring, 17-20 little (mcp pip dip tip)"


def make_card(info: dict) -> str:
    about = info["handtool"]
    assert set(MEANING) == set(NAMES)
    rows = "\n".join(f"| {name} | {len(NAMES[name])} | {meaning} |" for name, meaning in MEANING.items())
    films = f"{info['total_episodes']} episodes, {info['total_frames']} frames at {info['fps']:g} frames/s"
    return f"""{HEAD}
# Hands of {films}

Written by handtool {about["version"]} from /{about["table"]} of the file {about["source"]}. LeRobot format
{info["codebase_version"]}; one episode a video, one row a frame. The licence of this set is that of its footage.

All features are flat float32, [left, right]; joints: {JOINTS}.

| feature | numbers | content |
|---|---|---|
{rows}

Nothing is NaN: where nothing is known there are zeros, and the flags say so. Statistics are over the frames on which
something is known; a feature that does not vary has the standard deviation 1.
"""
