"""Hands along films, every frame looked at: MediaPipe bare in its tracking mode, extract of another version, extract.

    python tests/benchmarks/bench_film_hands.py FILM... [--before CHECKOUT] [--sheets FOLDER]

Prints a table: hands, frames with a hand, hands that are there twice, wrong sides where a film shows right hands only
(--right FILM...), tracks, and the cost. With --sheets, 48 frames of each film are drawn as each way found them, to be
counted by eye. Needs the extra `mediapipe`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

HERE = Path(__file__).resolve()
SHOWN = 48  # frames of a sheet
TILE_PX, COLUMNS = 240, 8
COLOURS = [(0, 255, 0), (0, 140, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (255, 120, 60), (60, 60, 255)]
TWICE = 0.3  # mean distance of the landmarks of two hands, as a share of their size, below which they are one


class Film(NamedTuple):
    """Of each hand: frame (n,), points (n, 21, 2) px of the frame, side (n,), track (n,), found (n,)."""

    frame: np.ndarray
    points: np.ndarray
    side: np.ndarray
    track: np.ndarray
    found: np.ndarray
    looked: int
    detections: int
    cpu_s: float


def run_extract(path: str) -> Film:
    from handtool.config import ExtractConfig
    from handtool.extraction.reading import open_finder, part_name
    from handtool.hands.boxes import apply_affine, invert
    from handtool.sources.find import find_videos
    from handtool.store import Job
    from handtool.vision.hand_finder import FinderSettings
    from handtool.vision.mediapipe import MediaPipeDetector
    from handtool.vision.rows import open_block

    calls, find_hands = [], MediaPipeDetector.find_hands
    MediaPipeDetector.find_hands = lambda self, images, names: calls.extend(names) or find_hands(self, images, names)
    (video,) = find_videos([Path(path)]).videos
    with tempfile.TemporaryDirectory() as folder:
        work, start = open_finder(FinderSettings(ExtractConfig(every=1)), Path(folder)), time.process_time()
        (outcome,) = work((0, 0, video), lambda: None)
        spent, job = time.process_time() - start, Job(Path(folder))
        blocks = [open_block(job.load(part_name(0, 0, block)))[0] for block in range(outcome["blocks"])]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0] if name != "jpeg"}
    points = apply_affine(invert(columns["crop_from_frame"]), columns["landmarks"].astype(float))
    found = columns.get("found", np.zeros(len(points), np.int8))
    side, tracks = outcome["side"], outcome["tracks"]
    return Film(columns["frame"], points, side, tracks, found, outcome["sampled"], len(calls), spent)


def run_bare(path: str) -> Film:
    import av
    import mediapipe

    from handtool.hands.skeleton import LEFT, RIGHT
    from handtool.vision.mediapipe import native_stderr_closed

    with native_stderr_closed():
        hands = mediapipe.solutions.hands.Hands(static_image_mode=False, max_num_hands=2)
        hands.process(np.zeros((64, 64, 3), np.uint8))
    rows, spent = [], 0.0
    with av.open(path) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            image, start = frame.to_ndarray(format="rgb24"), time.process_time()
            with native_stderr_closed():
                seen = hands.process(image)
            spent += time.process_time() - start
            for marks, said in zip(seen.multi_hand_landmarks or (), seen.multi_handedness or ()):
                relative = np.array([(point.x, point.y) for point in marks.landmark])
                side = {"Left": RIGHT, "Right": LEFT}[said.classification[0].label]  # it assumes a mirrored selfie
                rows.append((number, relative * image.shape[1::-1] - 0.5, side))
    none = np.full(len(rows), -1)
    frames, points, side = (np.array(column) for column in zip(*rows))
    return Film(frames, points, side, none, np.zeros(len(rows)), number + 1, number + 1, spent)


def twice(film: Film) -> int:
    count = 0
    for frame in np.unique(film.frame):
        points = film.points[film.frame == frame]
        size = np.ptp(points, axis=1).max(1)
        for one in range(len(points)):
            apart = np.linalg.norm(points[:one] - points[one], axis=2).mean(1)
            count += bool((apart < TWICE * np.maximum(size[:one], size[one])).any())
    return count


def line(name: str, way: str, film: Film, all_right: bool) -> str:
    lengths = np.bincount(film.track[film.track >= 0]).tolist()
    longest = " ".join(map(str, sorted(lengths, reverse=True)[:4]))
    tracks = f"{len(lengths):3d} ({longest}) + {(film.track < 0).sum()}" if way != "bare" else "  -"
    wrong = f"{(film.side == 0).sum():5d}" if all_right else "    -"
    frames = len(np.unique(film.frame))
    return (
        f"{name:14s} {way:9s} {film.looked:6d} {len(film.frame):6d} {frames:6d} {twice(film):6d} "
        f"{(film.found == 1).sum():6d} {wrong}  {film.detections:6d} {film.cpu_s:7.1f}  {tracks}"
    )


def draw_sheet(path: Path, film: Film, target: Path) -> None:
    import av

    shown, tiles = set(np.linspace(0, film.looked - 1, SHOWN).round().astype(int).tolist()), []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in shown:
                tiles.append(draw(frame.to_ndarray(format="bgr24"), number, film))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(target), np.vstack(rows))


def draw(image: np.ndarray, number: int, film: Film) -> np.ndarray:
    scale = TILE_PX / image.shape[1]
    tile = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    for row in np.flatnonzero(film.frame == number):
        points, colour = (film.points[row] * scale).round().astype(int), COLOURS[int(film.track[row]) % len(COLOURS)]
        for finger in range(5):
            chain = points[[0, *range(4 * finger + 1, 4 * finger + 5)]]
            cv2.polylines(tile, [chain.reshape(-1, 1, 2).astype(np.int32)], False, colour, 2, cv2.LINE_AA)
        low, high = points.min(0), points.max(0)
        cv2.rectangle(tile, low.tolist(), high.tolist(), colour, 1)
        text = f"{'LR?'[int(film.side[row])]}{film.track[row]}{'*' if film.found[row] else ''}"
        cv2.putText(tile, text, (int(low[0]), max(10, int(low[1]) - 2)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1)
    cv2.putText(tile, str(number), (3, tile.shape[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 255, 255), 1)
    return tile


def run_apart(checkout: Path, way: str, path: Path) -> Film:
    """In a process of its own, with the handtool of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "film.npz"
        command = [sys.executable, str(HERE), "--apart", way, str(path), str(made)]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(checkout)})
        with np.load(made) as columns:
            return Film(*(columns[name] if columns[name].ndim else columns[name].item() for name in Film._fields))


def main() -> None:
    if sys.argv[1:2] == ["--apart"]:
        way, path, made = sys.argv[2:]
        np.savez(made, **(run_bare if way == "bare" else run_extract)(path)._asdict())
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="+", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--sheets", type=Path)
    parser.add_argument("--right", nargs="*", default=["asl_hand", "dexretarget"])
    options = parser.parse_args()
    ways = {"bare": HERE.parents[2], **({"before": options.before} if options.before else {}), "now": HERE.parents[2]}
    print("film           way       frames  hands  with-h  twice  again wrong  detect   CPU-s  tracks (longest) + lone")
    for path in options.films:
        for way, checkout in ways.items():
            film = run_apart(checkout, way, path)
            print(line(path.stem, way, film, path.stem in options.right), flush=True)
            if options.sheets:
                draw_sheet(path, film, options.sheets / f"{path.stem}-{way}.png")


if __name__ == "__main__":
    main()
