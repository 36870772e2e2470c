"""The parts of all videos, joined into the tables of the output."""

import numpy as np

from handtool.config import ExtractConfig
from handtool.extraction.reading import part_name
from handtool.store import CROPS, LABELS, Job, Sink, open_table
from handtool.store.rows import nothing_known, unknown_values
from handtool.vision.rows import open_block

OPTIONAL = {  # columns of crops, by what counts the hands that have something in them
    "landmarks_joints": "with_joints",
    "camera_assumed": "with_assumed_camera",
    "rotation": "with_lens",
    "lens_model": "with_lens",
    "lens": "with_lens",
}


def write_hands(sink: Sink, videos: dict[int, list[dict]], job: Job, attrs: dict) -> None:
    """Joins the parts in the order of the videos, chunk by chunk, block by block. videos: the outcomes of the chunks
    of each, by the number that its parts have."""
    row_of = {number: row for row, number in enumerate(videos)}
    chunks = [(video, chunk, outcome) for video, outcomes in videos.items() for chunk, outcome in enumerate(outcomes)]
    known, total = [], sum(outcome["jpeg_bytes"] for _, _, outcome in chunks)
    used = {  # whether any hand has something in an optional column; a part of version 0.2.0 does not say
        name: any(outcome.get(count) for _, _, outcome in chunks) for name, count in OPTIONAL.items()
    } | {"thumbnails": True}
    with open_table(sink, CROPS, attrs=attrs, jpeg_bytes=total) as crops:
        for video, chunk, outcome in chunks:
            start = 0
            for block in range(outcome["blocks"]):
                columns, labels = open_block(job.load(part_name(video, chunk, block)))
                end = start + len(columns["jpeg"])
                # known only at the end of the video
                whole = {"side": outcome["side"][start:end], "track": outcome["tracks"][start:end]}
                rows = {"video": np.full(end - start, row_of[video]), "source_row": np.full(end - start, -1)}
                for name, is_used in used.items():
                    values = columns.pop(name, unknown_values(CROPS.by_name[name], end - start))
                    rows |= {name: values} if is_used else {}
                crops.append(columns | whole | rows)
                known.append((end - start, labels))
                start = end
    if names := {name for _, labels in known for name in labels}:
        with open_table(sink, LABELS) as table:
            for count, labels in known:
                table.append(nothing_known(LABELS, count, names) | labels)


def scale_of_crops(outcomes: list[dict], config: ExtractConfig, asked_scale: float | None) -> float:
    """The box scale of the crops. If no box was enlarged (each image is one hand): --box-scale if given, else as the
    labels say: the median of crop side / larger side of the box of the labelled keypoints; 1 where they say nothing."""
    if not any(outcome["enlarged"] for outcome in outcomes):
        measured = np.concatenate([np.zeros(0), *(outcome.get("label_scales", ()) for outcome in outcomes)])
        return asked_scale or (round(float(np.median(measured)), 2) if len(measured) else 1.0)
    assert config.box_scale is not None
    return config.box_scale


def count_cameras(outcomes: list[dict]) -> dict[str, int]:
    """Hands by what is known of their camera."""
    hands, known, assumed = (
        sum(outcome.get(name, 0) for outcome in outcomes) for name in ("hands", "with_camera", "with_assumed_camera")
    )
    counts = {"known": known - assumed, "assumed": assumed, "none": hands - known}
    return {name: count for name, count in counts.items() if count}
