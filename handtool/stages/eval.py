"""eval: the errors of predicted hands under every published protocol."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from handtool import store
from handtool.accounting import Accounting
from handtool.config import EvalConfig, PredictConfig
from handtool.engine.local import LOST
from handtool.errors import HandtoolError, WrongCommand
from handtool.hands.bootstrap import Grouping, group_hands, mean_interval
from handtool.hands.comparison import compare
from handtool.hands.groups import Origin, find_groups
from handtool.hands.metrics import Score, score
from handtool.hands.pck import mean_of_known
from handtool.hands.protocols import PROTOCOLS, ScoredHands, applicable, make_hands
from handtool.hands.skeleton import FINGERS
from handtool.progress import Progress, silent
from handtool.store import CROPS, LABELS, PREDICTIONS, VIDEOS, File, Sink, video_names
from handtool.vision.guarded import ESTIMATOR_FAILED

ALL_PRINTED = "leave --protocol out: all that apply are printed"
NAMED_ROWS = 20  # failed hands whose rows are in the report
FEW_GROUPS = 10  # with fewer videos the intervals are unreliable


@dataclass(frozen=True)
class Predictions:
    """The columns of /predictions, their origin, and the origin of their metric scale. reason: (N,) why there is none,
    "" where that is not known."""

    columns: dict[str, np.ndarray]
    origin: str
    scale_source: str
    made_here: bool
    reason: np.ndarray | None = None


def check_machine(config: EvalConfig) -> None:
    """HandtoolError where the device asked for is not here."""
    from handtool.nn.files.inference import find_device  # torch, which scoring a file of predictions does not need

    find_device(config.device)


def evaluate(
    sources: list[File],
    sink: Sink | None,
    config: EvalConfig,
    progress: Progress = silent,
    *,
    model: File | None = None,
    estimate: Callable[[File], tuple[dict, str, str, np.ndarray]] | None = None,
) -> dict:
    """Score each source's predictions, or those of `model` for its crops, against its labels; results per source.

    estimate: in the place of a model, the function that gives the columns of /predictions, their origin, that of
    their scale, and why a hand has none. Several sources without a model are several predictions of the same hands:
    each is compared with the first, hand by hand. With a sink: write /metrics, and /predictions if they were made here.
    Raises HandtoolError if there are no labels, no predictions or no hands that can be scored, or if sources to be
    compared hold other hands; WrongCommand for an unknown protocol, an output for several sources, a bone without a
    model.
    """
    check_request(sources, sink, config, model, made_here := bool(model or estimate))
    if not made_here:
        check_same_hands(sources)
    accounting, results, scored = [], [], []
    for source in sources:
        source.need(LABELS, hint="handtool extract LABELLED_FOLDER -o test.h5")
        predicted = predict(source, model, estimate, config, progress) if made_here else read_predictions(source)
        hands = join_labels(source, predicted)
        counted, failed_rows = count_hands(source, hands, predicted.reason)
        groups = group_all(source, hands, config)
        scores = score_all(source, hands, groups, config, progress)
        if sink:
            write(sink, source, predicted, scores, groups)
        accounting.append(counted.as_report())
        results.append(summarise(source, predicted, hands, scores, failed_rows) | by_part(source, scores, groups))
        scored.append(hands)
    compared = compare_all(sources, scored, results, config) if len(sources) > 1 and not made_here else {}
    return {"accounting": accounting, "results": results} | compared


def check_request(
    sources: list[File], sink: Sink | None, config: EvalConfig, model: File | None, made_here: bool
) -> None:
    """Checks that need no computation; raise WrongCommand or HandtoolError."""
    if unknown := [name for name in config.protocols if name not in PROTOCOLS]:
        raise WrongCommand(f"no protocol {', '.join(unknown)}", hint=f"--protocol {' | '.join(PROTOCOLS)}")
    if sink and len(sources) > 1:
        raise WrongCommand(
            f"-o holds the result of one source, {len(sources)} were given", hint="one handtool eval -o for each"
        )
    if config.bone != EvalConfig.bone and not made_here:
        raise WrongCommand(
            "--bone sets the scale of a model's predictions, and no --model was given", hint="--model pose.h5"
        )
    if model and not isinstance(model, File):
        raise HandtoolError(
            f"{model} is not a pose model of handtool", hint=f"handtool finetune train.h5 --init {model} -o pose.h5"
        )
    if model:
        model.need("weights", hint="handtool finetune train.h5 -o pose.h5")
    for name in config.protocols:
        meshes = (LABELS.vertices, PREDICTIONS.vertices)
        bare = [source.path for source in sources if made_here or not all(map(source.has, meshes))]
        if PROTOCOLS[name].of_mesh and bare:
            missing = "the model predicts none" if made_here else f"{bare[0]} has none in its labels or its predictions"
            raise HandtoolError(f"--protocol {name} needs vertices, and {missing}", hint=ALL_PRINTED)


def check_same_hands(sources: list[File]) -> None:
    """All sources have the same labels: of one file, or equal row by row (key and truth). Raises HandtoolError."""
    first, *others = sources
    for other in others:
        for source in (first, other):
            source.need(LABELS, hint="handtool extract LABELLED_FOLDER -o test.h5")
        if other.owner("labels").uuid == first.owner("labels").uuid:
            continue
        refusal, alone = f"{other.path} holds other hands than {first.path}", f"handtool eval {other.path}"
        if other.count(LABELS) != first.count(LABELS):
            raise HandtoolError(f"{refusal}: {other.count(LABELS)}, not {first.count(LABELS)}", hint=alone)
        for column in (LABELS.sample_key, LABELS.valid, LABELS.joints):
            here, there = store.read_column(other, column), store.read_column(first, column)
            same = (here == there) | ((here != here) & (there != there))
            if not same.all():
                row = int(np.flatnonzero(~same.reshape(len(same), -1).all(axis=1))[0])
                values = f" ({here[row]!r}, {there[row]!r})" if here.ndim == 1 else ""
                raise HandtoolError(f"{refusal}: {column.path} of row {row} differs{values}", hint=alone)


def read_predictions(source: File) -> Predictions:
    source.need(PREDICTIONS, hint="handtool eval {path} --model pose.h5")
    names = [column.name for column in PREDICTIONS.columns if source.has(column)]
    columns = {name: store.read_column(source, PREDICTIONS.by_name[name]) for name in names}
    return Predictions(columns, "its own", store.read_attrs(source, PREDICTIONS)["scale_source"], made_here=False)


def predict(
    source: File,
    model: File | None,
    estimate: Callable[[File], tuple[dict, str, str, np.ndarray]] | None,
    config: EvalConfig,
    progress: Progress,
) -> Predictions:
    """Run the estimator or the pose model over the crops, as `handtool predict` does."""
    if estimate:
        columns, origin, scale_source, reason = estimate(source)
        return Predictions(columns, origin, scale_source, made_here=True, reason=reason)
    assert model
    from handtool.nn.files.data import read_stored_hands
    from handtool.nn.files.inference import find_scale, predict_file
    from handtool.nn.files.pose_weights import read_pose

    settings = PredictConfig(config.bone, config.batch_size, config.precision, config.device, config.workers)
    columns = predict_file(source, model, settings, progress)
    _, scale_source = find_scale(read_stored_hands(source), read_pose(model).contract.bone_m, config.bone)
    return Predictions(columns, model.path.name, scale_source, made_here=True)


def join_labels(source: File, predicted: Predictions) -> ScoredHands:
    """Predictions and their truth; predictions that are not valid become NaN, which every protocol counts as failed."""
    columns = predicted.columns
    joints = np.where(columns["valid"][:, None, None], columns["joints"], np.float32(np.nan))
    vertices = None
    if "vertices" in columns and source.has(LABELS.vertices):
        meshes = np.where(columns["valid"][:, None, None], columns["vertices"], np.float32(np.nan))
        vertices = (meshes, store.read_column(source, LABELS.vertices))
    truth, valid = store.read_column(source, LABELS.joints), store.read_column(source, LABELS.valid)
    side = store.read_column(source, CROPS.side) if source.has(CROPS) else None
    return make_hands(joints, truth, valid, side, vertices, columns["absolute"])


def count_hands(source: File, hands: ScoredHands, reason: np.ndarray | None = None) -> tuple[Accounting, np.ndarray]:
    """The accounting (hands = scored + without truth + without prediction), and the rows without prediction. Raises
    HandtoolError if no hand can be scored."""
    labelled = np.asarray(hands.valid.any(axis=1))
    predicted = np.isfinite(hands.predicted).all(axis=(1, 2))
    accounting = Accounting("hands", done=int((labelled & predicted).sum()))
    accounting.skip("no true joint", int((~labelled).sum()))
    for why in (np.full(len(labelled), "") if reason is None else reason)[labelled & ~predicted]:
        accounting.fail(str(why) if why.startswith((*LOST, ESTIMATOR_FAILED)) else "no finite prediction")
    if not accounting.done:
        counts = accounting.skipped + accounting.failed
        told = ", ".join(f"{why}: {count}" for why, count in counts.items()) or "there are none"
        is_2d = not labelled.any() and store.read_column(source, LABELS.keypoints_valid).any()
        hint = "its labels are keypoints in 2D, and all scores are of joints in space" if is_2d else None
        raise HandtoolError(f"{source.path}: none of {accounting.total} hands can be scored ({told})", hint=hint)
    return accounting, np.flatnonzero(labelled & ~predicted)


def group_all(source: File, hands: ScoredHands, config: EvalConfig) -> Grouping:
    groups = find_groups([Origin(**store.read_origin(source))]) if source.has(CROPS) else None
    return group_hands(groups, (hands.valid != 0).any(axis=1), config.seed)


def score_all(
    source: File, hands: ScoredHands, groups: Grouping, config: EvalConfig, progress: Progress
) -> list[Score]:
    """The scores of every protocol, with the 95 % interval of each mean."""
    there = applicable(hands)
    names = [name for name in PROTOCOLS if name in (config.protocols or there)]
    for name in names:
        if name not in there:
            raise HandtoolError(
                f"--protocol {name} needs predictions in the camera frame, {source.path} has none", hint=ALL_PRINTED
            )
    scores = []
    for result in score(hands, names, groups):
        if config.resamples:
            assert result.sums is not None
            low, high = mean_interval(result.sums, config.resamples, config.seed)
            figures: dict[str, Any] = {"mean_low_mm": low, "mean_high_mm": high}
            figures[f"{groups.by}s_drawn"] = int(result.sums.scored.sum())
            result.figures.update(figures | {"interval": f"95 %, {config.resamples} resamples by {groups.by}"})
        scores.append(result)
        progress("score", len(scores), len(names))
    return scores


def write(sink: Sink, source: File, predicted: Predictions, scores: list[Score], groups: Grouping) -> None:
    """/metrics with one group per protocol; arrays by protocol below METRIC_ARRAYS, with the unit in the name."""
    arrays, films = {}, films_of_videos(source, groups) if groups.by == "video" else None
    for each in scores:
        name = each.protocol.name
        arrays[f"per_hand/{name}_mm"] = each.per_hand_mm
        arrays[f"per_joint/{name}_mm"] = 1000 * each.per_joint.mean_m
        if not each.protocol.of_mesh:
            arrays[f"per_finger/{name}_mm"] = np.array(list(finger_means_mm(each).values()))
        if films is not None:  # NaN for film -1: a video without hands
            arrays[f"per_video/{name}_mm"] = np.append(film_means(each, groups), np.nan)[films]
        for of, curve in each.per_joint.curves.items():
            arrays[f"pck/{name}_{of.low_mm}_{of.high_mm}mm"] = curve
            arrays[f"pck/thresholds_{of.low_mm}_{of.high_mm}mm"] = 1000 * of.thresholds_m()
    figures, scale = {}, {"scale_source": predicted.scale_source}
    for each in scores:
        words = {"alignment": each.protocol.words, "average": each.protocol.average}
        figures[each.protocol.name] = words | scale | each.figures
    if predicted.made_here:
        store.write_table(sink, PREDICTIONS, predicted.columns, attrs=scale)
    store.write_metrics(sink, figures, arrays)
    sink.inherit(source, but=(PREDICTIONS,) if predicted.made_here else ())


def finger_means_mm(score: Score) -> dict[str, float]:
    """The mean over the joints of each finger, of their means over the hands."""
    return {name: 1000 * mean_of_known(score.per_joint.mean_m[list(joints)]) for name, joints in FINGERS.items()}


def film_means(score: Score, groups: Grouping) -> np.ndarray:
    """(F,) mm."""
    assert score.sums is not None and groups.film is not None
    return score.sums.merged(groups.film).means()


def films_of_videos(source: File, groups: Grouping) -> np.ndarray:
    """(V,) the film that each row of /videos belongs to, -1 without hands."""
    assert groups.film is not None
    films = np.full(source.count(VIDEOS), -1)
    films[store.read_column(source, CROPS.video)] = groups.film[groups.of_hand]
    return films


def by_part(source: File, scores: list[Score], groups: Grouping) -> dict:
    """Means by finger, and by video if there are several (a film of two people is one): protocol -> name -> mm."""
    fingers = {each.protocol.name: finger_means_mm(each) for each in scores if not each.protocol.of_mesh}
    if groups.by != "video":
        return {"per_finger_mm": fingers}
    names, videos = dict(reversed(list(zip(films_of_videos(source, groups).tolist(), video_names(source))))), {}
    for each in scores:
        means = enumerate(film_means(each, groups))
        videos[each.protocol.name] = {names[film]: mean for film, mean in means if mean == mean}
    return {"per_finger_mm": fingers, "per_video_mm": videos}


def compare_all(sources: list[File], scored: list[ScoredHands], results: list[dict], config: EvalConfig) -> dict:
    """Every protocol that all results have: each against the first, over the hands that all predicted."""
    names = [name for name in results[0]["protocols"] if all(name in result["protocols"] for result in results)]
    rows = []
    for each in compare(scored, names, group_all(sources[0], scored[0], config), config.resamples, config.seed):
        row: dict[str, Any] = {"protocol": each.protocol, "alignment": PROTOCOLS[each.protocol].words}
        row |= {"source": results[each.result]["source"], "hands": each.hands, "mean_mm": each.mean_mm}
        row |= {"difference_mm": each.difference_mm, "difference_low_mm": each.low_mm}
        rows.append(row | {"difference_high_mm": each.high_mm, "difference_percent": each.percent})
    return {"against": results[0]["source"], "differences": rows}


def compare_results(sources: list[File], protocols: tuple[str, ...], seed: int) -> list[dict]:
    """The differences of each result from the first, as in `evaluate`; raises as it does."""
    return evaluate(sources, None, EvalConfig(protocols, seed=seed))["differences"]


def summarise(
    source: File, predicted: Predictions, hands: ScoredHands, scores: list[Score], failed_rows: np.ndarray
) -> dict:
    scale_m = predicted.columns["scale"][predicted.columns["valid"]]
    protocols = {
        each.protocol.name: {"alignment": each.protocol.words, **each.figures, "left_out_because": each.left_out}
        for each in scores
    }
    return {
        "source": source.path.name,
        "predictions": predicted.origin,
        "scale_source": predicted.scale_source,
        "mean_scale_mm": 1000 * float(np.nanmean(scale_m)) if np.isfinite(scale_m).any() else float("nan"),
        "in_camera_frame": int((hands.absolute & predicted.columns["valid"]).sum()),
        "protocols": protocols,
        "failed_rows": failed_rows[:NAMED_ROWS].tolist(),
        "warnings": list(find_warnings(hands, scores)),
    }


def find_warnings(hands: ScoredHands, scores: list[Score]) -> Iterator[str]:
    """Warnings that concern the figures."""
    for each in scores:
        if each.reflection_matters:
            without = each.figures["mean_without_reflection_mm"]
            name, mean = each.protocol.name, each.figures["mean_mm"]
            told = f"{name} is {mean:.2f} mm where a reflection may undo it, {without:.2f} mm where not"
            yield f"some predictions are mirrored hands: {told}"
    few = min((each.figures["videos_drawn"] for each in scores if "videos_drawn" in each.figures), default=FEW_GROUPS)
    if few < FEW_GROUPS:
        yield f"the intervals rest on {few} video{'s' * (few != 1)}: they say little of how other videos would differ"
    if hands.vertices and not hands.vertices[0].any():
        yield "the predicted vertices are all zero: mesh errors and F-scores mean nothing"
