"""All defaults: one frozen dataclass per stage. Units are in the names or in the comments."""

from dataclasses import dataclass  # eq and repr are off below: generating them costs start-up time in every --help
from typing import Literal

# Settings that do not change the result: an output made with other ones is up to date.
MACHINE_SETTINGS = frozenset(
    {
        "workers",
        "device",
        "decode",
        "engine",
        "gpus_per_worker",
        "checkpoint_every",
        "checkpoint_seconds",
        "timeout_s",
        "compile",
        "tensorboard",
    }
)
# Settings that leave a choice open. In the fingerprint of a training, its plan (what was chosen) takes their place.
OPEN_SETTINGS = frozenset({"gpus", "epochs", "warmup", "batch_size_cuda", "batch_size_cpu", "base_rate"})

# Result version of a stage if it is not 1, that of program version 0.1.0. It goes up when a fix changes the result for
# the same settings and inputs; outputs with a lower one are not `up to date`.
RESULT_VERSIONS = {
    "extract": 4,  # crops through a lens have cameras of their own
    "keypoints": 2,  # keeps the estimator's 3D
    "predict": 3,  # the same
    "pretrain": 2,  # the fingerprint contains the plan
    "finetune": 2,  # the same; --freeze works with several processes; --val-share: as near as whole groups permit
    "mine": 3,  # copies of a recording never pair
    "split": 3,  # copies of a recording stay together
    "eval": 3,  # intervals draw copies of a recording together
    "show": 2,  # films keep the frames without hands, in true time
}
# The names of detectors, estimators and so on, each kind listed once. cli/ offers them; the file named in the comment
# implements them. CONTRIBUTING.md shows how to add one.


@dataclass(frozen=True, eq=False, repr=False)
class ModelFile:
    """The model file of a detector or estimator: its suffixes, and an example for messages."""

    endings: tuple[str, ...] = ()
    example: str | None = None  # None: it needs no file


DETECTORS = {  # vision/detectors.py
    "mediapipe": ModelFile((".task",)),
    "onnx": ModelFile((".onnx",), "hands.onnx"),
}
ESTIMATORS = {  # vision/estimators.py; labels and landmarks of the file first, where `auto` stands
    "auto": ModelFile(),
    "labels": ModelFile(),
    "mediapipe": ModelFile((".task",)),
    "onnx": ModelFile((".onnx",), "hands.onnx"),
    "model": ModelFile((".h5", ".hdf5"), "pose.h5"),
}
ESTIMATORS_3D = ("mediapipe", "onnx")  # those that predict and eval take as --model
DATASETS = (  # sources/sets/NAME.py
    *("freihand", "dexycb", "ho3d", "interhand", "assemblyhands", "rhd", "youtube3d"),
    *("egodex", "simhand", "egoexo4d", "hot3d", "coco", "lerobot"),
)
ARCHS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")  # torchvision's names; nn/models/encoder.py
WEIGHT_KINDS = ("none", "linear", "sigmoid")  # nn/models/losses/adaptive_weights.py

Engine = Literal["local", "ray"]  # processes of this machine, or workers of a Ray cluster: engine/units.py

BOX_SCALE = 1.3  # side of a crop / side of the hand's box, where neither the user nor a data set says otherwise


@dataclass(frozen=True, eq=False, repr=False)
class ExtractConfig:
    fps: float = 1.0  # kept frames per second of video, chosen by time stamp
    every: int | None = None  # every N-th decoded frame instead (the published recipe: 30)
    keyframes: bool = False  # key frames alone, at most fps of them a second
    decode: str = "auto"  # frames that nothing needs are not decoded; or all: every one; or cuda, vaapi
    detector: str = "mediapipe"
    onnx: tuple[str, ...] = ()  # KEY=VALUE: what an ONNX detector expects, where its metadata do not say it
    device: str = "auto"  # of an ONNX detector
    whole: bool = False  # each image is already the crop of a hand
    hands_as: str = "estimates"  # what the hands of --hands FILE are: estimates of another model, or labels
    camera: str | None = None  # as --camera takes it; None: auto, an intrinsics.json beside the videos
    size: int = 224  # px, side of a crop
    box_scale: float | None = None  # None: as the data set says, else BOX_SCALE
    quality: int = 95  # JPEG
    min_score: float = 0.5
    min_hand: float = 0.0  # px, larger side of the hand's box in the frame
    min_change: float = 0.0  # mean difference from the last kept picture of the hand, as a share of black to white
    track_fps: float = 0.0  # frames a second that are searched for tracking; 0 = only the kept ones
    stream: int | None = None  # of each video file, as ffprobe numbers them; None: the recording
    limit: int | None = None  # videos or images
    dataset: str | None = None  # a published data set; None: as the layout of the folder says
    split: str | None = None  # of a published data set, by its own name
    subset: tuple[str, ...] = ()  # of a published data set; (): all of it
    cameras: tuple[str, ...] = ()  # of a published data set with several cameras; (): all of them
    trust_labels: bool = False  # labels are taken as they are, whether or not they can be true
    shard: str | None = None  # "2/8": the second of eight shards of the videos
    workers: int = 0  # 0 = one per core
    timeout_s: float = 60.0  # without a new frame, a video is given up
    engine: Engine = "local"
    gpus_per_worker: float = 0.0  # of a Ray cluster


@dataclass(frozen=True, eq=False, repr=False)
class KeypointsConfig:
    estimator: str = "auto"  # keypoints of the labels if any, else the detector's landmarks, else mediapipe
    onnx: tuple[str, ...] = ()  # KEY=VALUE: what an ONNX model expects, where its metadata do not say it
    min_score: float = 0.5
    noise_px: float = 0.0  # standard deviation of noise added to the keypoints
    seed: int = 5  # of the noise
    device: str = "auto"
    workers: int = 0  # 0 = one per core
    timeout_s: float = 60.0  # without a new crop, a block of them is given up
    engine: Engine = "local"
    gpus_per_worker: float = 0.0  # of a Ray cluster


@dataclass(frozen=True, eq=False, repr=False)
class EmbedConfig:
    source: str = "keypoints"  # or joints (3D labels), or encoder (features of the crop)
    dim: int | None = None  # principal axes kept; None: 14 of keypoints, 63 of joints (all), 128 of an encoder
    normalization: str | None = None  # None: crop for keypoints, wrist-scale for joints
    batch_size: int = 64  # crops at once through an encoder
    precision: str = "auto"  # of an encoder: bf16 on CUDA, fp32 on the CPU
    device: str = "auto"
    workers: int = 0  # 0 = one per core


@dataclass(frozen=True, eq=False, repr=False)
class MineConfig:
    topk: int = 5
    metric: str = "euclidean"  # or cosine: 1 - cos
    exclude: str = "video"  # hands that never pair: those of one video, subject or track, or only a hand with itself
    min_gap: float = 0.0  # s between two hands of one video (with exclude track or none)
    min_distance: float = 0.0  # in units of the metric
    max_distance: float | None = None  # the same
    same_side: bool = False  # left hands with left hands only
    max_in_degree: int | None = None  # largest number of anchors of which a hand is a positive
    index: Literal["hnsw", "exact", "scan"] = "hnsw"  # or exact
    m: int = 16
    ef_construction: int = 100
    ef: int = 64
    device: str = "auto"  # of the exact index: a GPU if there is one
    threads: int = 0  # 0 = one per core; 1 makes hnsw deterministic
    seed: int = 5
    parts: int | None = None  # in which the pool is searched; one per node of a Ray cluster
    engine: Engine = "local"


@dataclass(frozen=True, eq=False, repr=False)
class PretrainMethod:
    """What makes a method; PretrainConfig overrides what it has under the same name."""

    mined: bool  # with a contrast, the partner is a mined neighbour, else a second view of the same crop
    rotation_deg: int  # views turn by whole degrees in [-rotation, rotation]
    shift_px: float  # and move by [-shift, shift), px where a crop has 224 of them
    inverse: str
    weights: str
    loss: str = "nt_xent"  # of a hard contrast: nn/models/objectives/hard_contrast.py
    contrast: str = "hard"  # or soft, none: nn/models/objectives
    keypoint_weight: float = 0.0  # of the estimator's keypoints, regressed: 10 weighs as in fine-tuning
    depth_weight: float = 0.0  # of its depth, where it knows any: 0.45 weighs as in fine-tuning


METHODS = {
    "simclr": PretrainMethod(mined=False, rotation_deg=0, shift_px=0.0, inverse="none", weights="none"),
    "peclr": PretrainMethod(mined=False, rotation_deg=45, shift_px=15.0, inverse="exact", weights="none"),
    "simhand": PretrainMethod(mined=True, rotation_deg=45, shift_px=15.0, inverse="exact", weights="linear"),
    "keypoints": PretrainMethod(
        mined=True, rotation_deg=45, shift_px=15.0, inverse="exact", weights="none", contrast="none", keypoint_weight=10
    ),
    "softhand": PretrainMethod(
        mined=True, rotation_deg=45, shift_px=15.0, inverse="exact", weights="none", contrast="soft"
    ),
    "handtool": PretrainMethod(
        mined=True,
        rotation_deg=45,
        shift_px=15.0,
        inverse="exact",
        weights="none",
        contrast="none",
        keypoint_weight=10,
        depth_weight=0.45,
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class TrainingConfig:
    """What pretrain and finetune have in common; the defaults here are those of pretrain."""

    init: str = "imagenet"  # of the encoder; or scratch, or a file of weights
    input_size: int = 128  # px
    batch_size: int | None = None  # items over all processes; None: the two figures below, per process
    batch_size_cuda: int = 1024
    batch_size_cpu: int = 32
    accumulate: int = 1  # forward passes a step; the loss sees the items of one
    epochs: int | None = 100
    steps: int | None = None  # instead of epochs
    learning_rate: float | None = None  # None: base_rate x sqrt(items per process x accumulate)
    base_rate: float = 1e-4
    warmup: float = 0.1  # share of the steps
    optimizer: str = "adam"  # or adamw, or lars-adam, the published one of pre-training
    weight_decay: float = 1e-6
    precision: str = "auto"  # bf16 on CUDA, fp32 on the CPU; or fp16
    seed: int = 5
    gpus: int | None = None  # None: one if there is one; 0: the CPU
    processes: int = 1  # on the CPU
    workers: int = 0  # 0 = one per core
    checkpoint_every: int = 0  # steps; 0 = every checkpoint_seconds
    checkpoint_seconds: float = 300.0
    compile: bool = False
    checkpoint_activations: bool = False  # compute them again for the gradients
    tensorboard: str | None = None  # a folder


@dataclass(frozen=True, eq=False, repr=False)
class PretrainConfig(TrainingConfig):
    method: str = "simhand"
    weights: str | None = None  # None: the method's own
    weight_side: str = "both"
    weight_keypoints: str = "augmented"  # of the views, as published; or original: of the crops, before them
    lambda_pos: float = 1.0  # 1/px, of sigmoid weights
    lambda_neg: float = 0.05
    inverse: str | None = None  # None: the method's own
    negatives: str = "global"
    positives: str = "1"  # the K-th mined neighbour, "sample" or "all"
    temperature: float = 0.5
    contrast: str | None = None  # none, hard, soft; None: the method's own, and so the two weights below
    keypoint_weight: float | None = None
    depth_weight: float | None = None
    soft_sigma: float = 1.0  # of a soft contrast: scale of the targets, in median distances of the batch's pairs
    pretrain_head: str = "regression"  # what learns the estimator's pose; or heatmap
    arch: str = "resnet50"


@dataclass(frozen=True, eq=False, repr=False)
class HeadPreset:
    """What goes with a pose head; FinetuneConfig overrides."""

    epochs: int
    rotation_deg: float  # augmentation: turns within [-rotation, rotation]
    blur_px: float  # of the input: standard deviation, up to this


HEAD_PRESETS = {
    # As SiMHand fine-tunes, with 128 hands a step and Adam at 1e-3.
    "heatmap": HeadPreset(epochs=120, rotation_deg=90.0, blur_px=0.5),
    "regression": HeadPreset(epochs=100, rotation_deg=45.0, blur_px=0.0),  # PeCLR's 2.5D
}


# Of relative depth against keypoints in px of a 224 px input, in the loss of the regression head.
PUBLISHED_DEPTH_WEIGHT = 5.0
POOL_DEPTH_WEIGHT = 20.0  # where a pool teaches depth, many hands stand against overfitting


@dataclass(frozen=True, eq=False, repr=False)
class FinetuneConfig(TrainingConfig):
    batch_size_cuda: int = 128
    batch_size_cpu: int = 16
    epochs: int | None = None  # None: the head's own
    learning_rate: float | None = 1e-3
    warmup: float = 0.05
    head: str = "heatmap"  # or regression
    loss: str = "hand"  # of the heat-map head: norms of directions and locations per hand; or published: over the batch
    arch: str | None = None  # None: the encoder file's, else resnet50
    normalization: str = "encoder"  # of the input: as the encoder was trained, or published (0..1 less 0.5)
    layer_decay: float = 1.0  # of the learning rate: layer4 x decay, layer3 x decay^2, ..., stem x decay^5
    freeze: bool = False  # train the head alone
    fresh_head: bool = False  # do not start from the head in the file of weights
    rotation_deg: float | None = None  # augmentation: turns within [-rotation, rotation]; None: the head's own
    shift: float = 0.1  # of the crop's side, either way
    zoom: float = 0.1  # the window's side times 1 +- 0.1
    colour: float = 0.5  # brightness, contrast and saturation within 1 +- 0.5, hue within 0.3 x that
    blur_px: float | None = None  # of the input: standard deviation, up to this; None: the head's own
    mirror: float = 0.0  # share of the hands that are shown mirrored, as left ones
    label_fraction: float = 1.0  # of the labelled hands
    label_choice: str = "random"  # or head: the first ones
    val_share: float = 0.0  # of the labelled hands, held out
    val_by: str = "video"  # or subject, row
    pool: str | None = None  # a file of unlabelled hands with keypoints, that train beside the labelled ones
    pool_share: float = 0.5  # of each batch
    pool_weight: float = 1.0  # of a keypoint of the pool, at a score of 1, against one of the labels
    depth_weight: float | None = None  # of relative depth in the regression head's loss; None: one of the two above
    pool_depth: str = "none"  # what teaches the pool's depth: lifted, its keypoints by the labels; or estimated
    pool_depth_weight: float = 1.0  # of a depth of the pool, likewise
    patience: int = 0  # epochs without a better validation error before training ends; 0: never


@dataclass(frozen=True, eq=False, repr=False)
class CorrectConfig:
    """`finetune --correct`: regression of an estimator's errors instead of a network."""

    correct: str = "mediapipe"  # the estimator, whose joints the file has
    label_fraction: float = FinetuneConfig.label_fraction
    label_choice: str = FinetuneConfig.label_choice
    seed: int = FinetuneConfig.seed  # of the fraction, and of the choice below
    most: int = 1500  # hands; of more, so many are drawn


@dataclass(frozen=True, eq=False, repr=False)
class PredictConfig:
    bone: str = "auto"  # truth where the file has it, else mean; or a length in mm
    batch_size: int = 64  # hands
    precision: str = "auto"  # bf16 on CUDA, fp32 on the CPU
    device: str = "auto"
    workers: int = 0  # 0 = one per core
    flip: bool = False  # average the predictions for each hand and for its mirror image
    smooth: bool = False  # along each track, by a One-Euro filter with the settings below
    min_cutoff: float = 1.0  # Hz, of a hand at rest
    beta: float = 30.0  # Hz for each m/s
    derivative_cutoff: float = 1.0  # Hz, of the speed


@dataclass(frozen=True, eq=False, repr=False)
class PredictFootageConfig(ExtractConfig, PredictConfig):
    """`predict` on videos and images: the settings of both, with two other defaults."""

    every: int | None = 1  # every frame
    box_scale: float | None = None  # None: as the model was trained


@dataclass(frozen=True, eq=False, repr=False)
class PredictByEstimatorConfig:
    """`predict` by an estimator that knows 3D, without labels."""

    estimator: str = "mediapipe"
    model_onnx: tuple[str, ...] = ()  # KEY=VALUE, as of `keypoints`, of an ONNX model that puts out joints
    device: str = KeypointsConfig.device  # of an ONNX model
    bone: str = "auto"  # the estimator's own size; or truth, or a length in mm
    workers: int = 0  # 0 = one per core
    timeout_s: float = KeypointsConfig.timeout_s
    engine: Engine = KeypointsConfig.engine
    gpus_per_worker: float = KeypointsConfig.gpus_per_worker
    smooth: bool = PredictConfig.smooth
    min_cutoff: float = PredictConfig.min_cutoff
    beta: float = PredictConfig.beta
    derivative_cutoff: float = PredictConfig.derivative_cutoff


@dataclass(frozen=True, eq=False, repr=False)
class PredictFootageByEstimatorConfig(ExtractConfig, PredictByEstimatorConfig):
    """The same on videos and images."""

    every: int | None = 1  # every frame


@dataclass(frozen=True, eq=False, repr=False)
class EvalConfig:
    protocols: tuple[str, ...] = ()  # () = all that apply
    resamples: int = 2000  # of the videos (or hands), for the 95 % interval of each mean; 0 = no interval
    seed: int = 5  # of the resamples
    bone: str = PredictConfig.bone  # from here on: how `model` predicts, if one is given
    batch_size: int = PredictConfig.batch_size
    precision: str = PredictConfig.precision
    device: str = PredictConfig.device
    workers: int = PredictConfig.workers


@dataclass(frozen=True, eq=False, repr=False)
class EvalEstimatorConfig(EvalConfig):
    """`eval` of an estimator that knows 3D."""

    estimator: str = PredictByEstimatorConfig.estimator


@dataclass(frozen=True, eq=False, repr=False)
class SynthConfig:
    num_videos: int = 50
    frames: int = 40  # of each video
    size: int = 224  # px, side of a crop
    difficulty: Literal["easy", "medium", "wild"] = "easy"  # or medium, wild
    side: Literal["left", "right", "both"] = "both"  # or left, right
    limit: int | None = None  # only the first videos
    seed: int = 5
    device: str = "auto"  # cuda: torch; cpu: numpy
    workers: int = 0  # 0 = one per core
    timeout_s: float = 300.0  # without a new picture, a worker is given up
    engine: Engine = "local"
    gpus_per_worker: float = 0.0  # of a Ray cluster


@dataclass(frozen=True, eq=False, repr=False)
class SynthVideosConfig:
    """`synth --videos`: video files of several hands instead of crops."""

    num_videos: int = 12
    frames: int = 100  # of each video
    size: int = 480  # px, height of a frame; 16:9
    fps: float = 25.0
    difficulty: Literal["easy", "medium", "wild"] = SynthConfig.difficulty
    side: Literal["left", "right", "both"] = SynthConfig.side
    limit: int | None = None  # only the first videos
    seed: int = 5
    device: str = SynthConfig.device
    workers: int = 0  # 0 = one per core
    timeout_s: float = SynthConfig.timeout_s
    engine: Engine = SynthConfig.engine
    gpus_per_worker: float = SynthConfig.gpus_per_worker


@dataclass(frozen=True, eq=False, repr=False)
class CatConfig:
    link: bool = False  # do not copy the images


@dataclass(frozen=True, eq=False, repr=False)
class MergeConfig:
    merge_pairs: bool = True  # the k best pairs of a pool that was mined in parts


@dataclass(frozen=True, eq=False, repr=False)
class SplitConfig:
    by: str = "video"  # what stays together: video, subject or row
    shares: tuple[float, ...] = (80.0, 20.0)  # of the hands, one per output
    part: int = 0  # the output that is made, from 0
    in_order: bool = False  # the first hands to the first output, instead of at random
    seed: int = 5


@dataclass(frozen=True, eq=False, repr=False)
class ExportConfig:
    format: str | None = None  # None: by the suffix of -o; csv to standard output; or that of a data set's submissions
    table: str | None = None  # None: the last table that the file owns
    pixels: str | None = None  # keypoints in px of the "frame" (None: likewise) or of the "crop"
    no_video: bool = False  # a LeRobot set without its films


@dataclass(frozen=True, eq=False, repr=False)
class ShowConfig:
    kind: str = "auto"  # a table that the file owns: predictions, pairs, curve, embeddings, keypoints, labels, …
    order: str = "random"  # of the hands: random, video (a row each), score (lowest first)
    rows: int = 0  # of tiles; 0 = what suits the kind
    columns: int = 0
    tile: int = 168  # px, side of a tile
    seed: int = 5


@dataclass(frozen=True, eq=False, repr=False)
class OverlayConfig:
    kind: str = "auto"  # a table that the file owns: predictions, keypoints, labels, crops
    fps: float | None = None  # pictures a second; None: each as long as its frame lasted
    frames: int = 600  # pictures at most; 0 = all


@dataclass(frozen=True, eq=False, repr=False)
class ReportConfig:
    tile: int = 132  # px, side of a tile on the sheets
    max_bytes: int = 12_000_000  # of the page; sheets beyond are left out, which the page says
    seed: int = 5
