"""`handtool.load_encoder` and `handtool.load_pose`: the models of pretrain and finetune, for arrays of crops.

Shapes: N hands, S side of a crop, D features, K = 21 joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from handtool import store
from handtool.errors import HandtoolError
from handtool.nn.files.inference import find_device, in_metres, predict_batch
from handtool.nn.files.loader import in_order
from handtool.nn.files.pose_weights import read_pose
from handtool.nn.files.weights import read_encoder
from handtool.nn.models.encoder import AnyEncoder
from handtool.nn.models.pose_model import PoseModel
from handtool.nn.views.augmentation import render_inputs, whole_crop
from handtool.store import LEFT, RIGHT, UNKNOWN

SIDES = {"left": LEFT, "right": RIGHT, "unknown": UNKNOWN}
Images = np.ndarray | Tensor  # (N, S, S, 3) uint8 RGB
Sides = str | int | Sequence[str] | Sequence[int] | np.ndarray | Tensor


@dataclass(frozen=True)
class InputContract:
    """What an encoder expects of its input."""

    size: int  # px, side of the input: the whole crop, resized
    mean: tuple[float, ...]  # RGB, of pixels in 0..1
    std: tuple[float, ...]
    side: str  # the hands it was trained on: RIGHT, left ones mirrored
    box_scale: float  # side of a crop / side of the hand's box
    arch: str


class LoadedEncoder(nn.Module):
    """`encoder(encoder.transform(crops, side))` -> (N, D) features; `encoder.features(...)` -> the last feature map;
    `encoder.backbone`: the network, with torchvision's or timm's names."""

    def __init__(self, encoder: AnyEncoder, contract: InputContract) -> None:
        super().__init__()
        self.encoder, self.contract, self.num_features = encoder, contract, encoder.num_pooled

    @property
    def backbone(self) -> nn.Module:
        return self.encoder.backbone

    def __getattr__(self, name: str) -> Any:
        """The parts of the network: `encoder.layer4`, say."""
        parts = self.__dict__["_modules"]
        whole = name in parts or "encoder" not in parts
        return super().__getattr__(name) if whole else getattr(parts["encoder"].backbone, name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The weights under torchvision's or timm's names."""
        return self.backbone.state_dict(*args, **kwargs)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, size, size) -> (N, D)."""
        return self.encoder(images)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, size, size) -> the last feature map (N, D', h, w)."""
        return self.encoder.features(images)

    def transform(self, crops: Images, side: Sides | None = None) -> Tensor:
        """(N, S, S, 3) uint8 RGB -> (N, 3, size, size), normalised, on the encoder's device; left hands mirrored."""
        images = read_images(crops).to(next(self.parameters()).device)
        flipped = torch.from_numpy(read_sides(UNKNOWN if side is None else side, len(images)) == LEFT)
        window = whole_crop(len(images), images.shape[1], self.contract.size)
        return render_inputs(images, window, flipped, None, self.contract.mean, self.contract.std)


def load_encoder(path: str | Path, device: str = "auto") -> LoadedEncoder:
    """The encoder of an encoder.h5 or pose.h5, in evaluation mode. `device`: auto, cpu or cuda.

    Errors: HandtoolError (no such file, no weights in it, no such device), DamagedFile.
    """
    with store.open_file(path) as file:
        encoder, _, attrs = read_encoder(file)
    mean, std = (tuple(map(float, attrs[name])) for name in ("mean", "std"))
    contract = InputContract(int(attrs["size"]), mean, std, attrs["side"], float(attrs["box_scale"]), encoder.arch)
    return LoadedEncoder(encoder, contract).eval().to(find_device(device))


@dataclass(frozen=True)
class Poses:
    """The predictions of a pose model for N hands, in the images as given."""

    joints: np.ndarray  # (N, K, 3) float32 m, in the camera frame where `absolute`, else relative to the wrist
    keypoints: np.ndarray  # (N, K, 2) float32 px of the images given
    valid: np.ndarray  # (N,) joints and keypoints are finite
    absolute: np.ndarray  # (N,) a camera was given
    scale: np.ndarray  # (N,) float32 m, the reference bone (9-10) that sets the size

    def __len__(self) -> int:
        return len(self.joints)


class PosePredictor:
    """`predictor(images, side)` -> Poses: the forward pass of `handtool predict`. `predictor.model`: the nn.Module."""

    def __init__(self, model: PoseModel) -> None:
        self.model, self.contract = model, model.contract

    def __call__(
        self,
        images: Images,
        side: Sides,
        camera: np.ndarray | None = None,
        bone_mm: float | np.ndarray | None = None,
        batch_size: int = 64,
        precision: str = "auto",
    ) -> Poses:
        """images (N, S, S, 3) uint8 RGB crops; side: "left", "right", "unknown" (as right), or 0, 1, 2; one or N.

        camera (3, 3) or (N, 3, 3): intrinsics of the crop, px, NaN unknown; bone_mm: length of the middle finger's
        first bone, one value or N (None: the mean of the training hands). precision: auto, bf16 or fp32. Errors:
        HandtoolError if shapes do not fit.
        """
        device = next(self.model.parameters()).device
        images_NSS3 = read_images(images)
        num = len(images_NSS3)
        sides, cameras = read_sides(side, num), spread("camera", np.nan if camera is None else camera, (num, 3, 3))
        bone_m = spread("bone_mm", self.contract.bone_m * 1000 if bone_mm is None else bone_mm, (num,)) / 1000
        joints, keypoints = np.empty((num, 21, 3)), np.empty((num, 21, 2))
        for rows in in_order(num, batch_size):
            crops = images_NSS3[rows[0] : rows[-1] + 1].to(device)
            joints[rows], keypoints[rows] = predict_batch(self.model, crops, sides[rows], cameras[rows], precision)
        return Poses(**in_metres(joints, keypoints, bone_m, np.isfinite(cameras).all((1, 2))))


def load_pose(path: str | Path, device: str = "auto") -> PosePredictor:
    """The pose model of a pose.h5. `device`: auto, cpu or cuda.

    Errors: HandtoolError (no such file, another kind of weights, no such device), DamagedFile.
    """
    with store.open_file(path) as file:
        return PosePredictor(read_pose(file).to(find_device(device)))


def read_images(images: Images) -> Tensor:
    """(N, S, S, 3) uint8, on their device. Errors: HandtoolError."""
    tensor = torch.as_tensor(np.ascontiguousarray(images) if isinstance(images, np.ndarray) else images)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[3] != 3 or tensor.shape[1] != tensor.shape[2]:
        found = f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
        raise HandtoolError(f"crops are (N, S, S, 3) uint8 RGB, not {found}", hint="one crop: crop[None]")
    return tensor


def read_sides(side: Sides, num: int) -> np.ndarray:
    """(N,) LEFT, RIGHT or UNKNOWN. Errors: HandtoolError."""
    given = np.asarray(side)
    if given.dtype.kind == "U":
        given = np.array([SIDES.get(name.lower(), -1) for name in given.ravel()]).reshape(given.shape)
    if not np.isin(given, list(SIDES.values())).all():
        raise HandtoolError(f"side {side}: left, right or unknown (or 0, 1, 2)")
    return spread("side", given, (num,))


def spread(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    """The values, repeated to the shape. Errors: HandtoolError."""
    given = np.asarray(values)
    try:
        return np.broadcast_to(given, shape)
    except ValueError:
        raise HandtoolError(f"{name} is {given.shape}, and there are {shape[0]} images: {shape}") from None
