"""Labels that cannot be true: a sample of each source before hours of work, all of them at the end."""

import logging
from collections.abc import Callable, Iterator

from handtool.config import ExtractConfig
from handtool.engine.units import run_units
from handtool.errors import WrongCommand
from handtool.extraction.reading import needs
from handtool.sources.folder_chunks import join_evidence
from handtool.sources.frame import Sampling, Tally, Video
from handtool.sources.label_gate import LabelGate, sample_labelled
from handtool.sources.label_verdict import judge, name_source
from handtool.sources.read import read_frames
from handtool.sources.truth import find_truth
from handtool.sources.video_report import count_marks

log = logging.getLogger(__name__)


def check_labels(videos: list[Video], config: ExtractConfig, labels: str = "") -> None:
    """Before hours of work: a sample of the labels of each large source, read by worker processes. Raises DamagedFile
    for a fault that most of them share, WrongCommand for --trust-labels where there are no labels."""
    if config.trust_labels and not (labels or any(video.is_labelled or find_truth(video) for video in videos)):
        raise WrongCommand("--trust-labels does nothing: none of the sources has labels", hint="leave it out")
    sample = [] if config.trust_labels else sample_labelled(videos)
    evidence: dict[str, list[dict]] = {}
    for event in run_units(config.engine, open_gate, (), sample, config.workers, config.timeout_s, reads=needs):
        if event.kind == "result":
            evidence.setdefault(name_source(sample[event.item]), []).append(event.value)
    for source, outcomes in evidence.items():
        judge(join_evidence(outcomes), source)


def open_gate() -> Callable[[Video, Callable[[], None]], Iterator[dict]]:
    """In a worker process: the function that measures the labels of a video."""

    def look(video: Video, heartbeat: Callable[[], None]) -> Iterator[dict]:
        gate = LabelGate()
        for _ in gate.pass_frames(read_frames(video, Sampling(), Tally(heartbeat=heartbeat))):
            pass
        yield gate.as_outcome()

    return look


def judge_labels(videos: list[Video], outcomes: list[dict], labels: str = "") -> None:
    """Warns of labels that cannot be true. Raises DamagedFile for a fault that most labels of a source share. labels:
    the file with those of the videos whose source knows none."""
    of_source: dict[str, list[dict]] = {}
    for video, outcome in zip(videos, outcomes, strict=True):
        if source := name_source(video) or labels:
            of_source.setdefault(source, []).append(outcome)
    for source, its_own in of_source.items():
        for told in judge(join_evidence(its_own), source):
            log.warning("%s: %s", source, told)
        hands, points = count_marks(its_own)
        of_all = f"{hands.failed.total():,} of {hands.total:,} labelled hands"
        for what, marked in ((of_all, hands.failed), (f"{points.total():,} single joints or keypoints", points)):
            if counts := ", ".join(f"{why}: {count:,}" for why, count in marked.items()):
                log.warning("%s: %s marked not valid (%s)", source, what, counts)
