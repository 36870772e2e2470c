"""predict: a 3D pose and 2D keypoints for every crop."""

from handtool import store
from handtool.accounting import Accounting
from handtool.config import PredictConfig
from handtool.errors import HandtoolError
from handtool.nn.data import read_hands
from handtool.nn.infer import find_device, find_scale, predict_file
from handtool.nn.pose import Contract, read_pose
from handtool.progress import Progress, silent
from handtool.store import CROPS, PREDICTIONS, UNKNOWN, File, Sink


def check_machine(config: PredictConfig) -> None:
    """HandtoolError where the device asked for is not here: the one check that comes before `up to date`."""
    find_device(config.device)


def read_contract(model: File) -> Contract:
    """What the model expects. HandtoolError where it is no pose model."""
    if not isinstance(model, File):
        raise HandtoolError(f"{model} is not a pose model of handtool", hint=f"handtool finetune train.h5 --init {model} -o pose.h5")
    model.need("weights", hint="handtool finetune train.h5 -o pose.h5")
    return read_pose(model).contract


def predict(source: File, sink: Sink, config: PredictConfig, progress: Progress = silent, *, model: File) -> dict:
    """Write /predictions: one pose per crop, in the camera frame where the camera is known, else relative to the wrist.

    `model`: a pose.h5. Raises HandtoolError where there are no crops, `model` is no pose model, or the asked bone or device is not there.
    """
    source.need(CROPS, hint="handtool extract VIDEOS -o crops.h5")
    contract = read_contract(model)
    hands = read_hands(source)
    _, scale_source = find_scale(hands, contract.bone_m, config.bone)
    columns = predict_file(source, model, config, progress)
    store.write_table(sink, PREDICTIONS, columns, attrs={"scale_source": scale_source})
    sink.inherit(source, but=(PREDICTIONS,))
    accounting = Accounting("hands", done=int(columns["valid"].sum()))
    accounting.skip("no true bone length", int((columns["scale"] != columns["scale"]).sum()))
    accounting.fail("prediction not finite", len(hands.side) - accounting.total)
    if not accounting.done:
        raise HandtoolError(f"{source.path}: none of {len(hands.side)} hands could be predicted", hint="--bone mean")
    return {
        "accounting": [accounting.as_report()],
        "in_camera_frame": int((columns["absolute"] & columns["valid"]).sum()),
        "relative_to_wrist": int((~columns["absolute"] & columns["valid"]).sum()),
        "side_unknown_as_right": int((hands.side == UNKNOWN).sum()),
        "scale_source": scale_source,
    }
