"""From crops to the pooled features of a trained encoder.

Shapes: N hands, B hands of a batch, D features, S side of a crop in px.
"""

import logging
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch

from handtool.config import EmbedConfig
from handtool.hands.boxes import same_scale
from handtool.hands.skeleton import LEFT
from handtool.nn.files.data import Crops, read_stored_hands
from handtool.nn.files.inference import LESS_MEMORY_HINT, find_device
from handtool.nn.files.loader import count_workers, in_order, read_crops
from handtool.nn.files.transfer import move_ahead
from handtool.nn.files.weights import read_encoder
from handtool.nn.views.augmentation import render_inputs, whole_crop
from handtool.nn.views.device import explain_out_of_memory
from handtool.progress import Progress, silent

log = logging.getLogger(__name__)


def num_features(encoder: Any) -> int:
    """D of the encoder in an open encoder.h5 or pose.h5."""
    return read_encoder(encoder)[0].num_features


@torch.no_grad()
def encode_crops(
    source: Any, encoder: Any, config: EmbedConfig, progress: Progress = silent
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, features (B, D) float32) of every crop of `source`, whole, as a canonical right hand.

    Both are open handtool files. Raises HandtoolError if the device is missing or the file has no encoder.
    """
    device = find_device(config.device)
    network, _, attrs = read_encoder(encoder)
    network.eval()
    crops, hands = Crops(source), read_stored_hands(source)
    if not same_scale(hands.box_scale, float(attrs["box_scale"])):
        log.warning("crops are cut at box scale %g, the encoder was trained at %g", hands.box_scale, attrs["box_scale"])
    half = config.precision == "bf16" or (config.precision == "auto" and device.type == "cuda")
    workers, done = count_workers(config.workers) if len(crops) > config.batch_size else 0, 0
    reading = move_ahead(read_crops(crops, in_order(len(crops), config.batch_size), workers), device)
    with closing(reading) as batches, explain_out_of_memory(device, config.batch_size, LESS_MEMORY_HINT):
        network.to(device)
        for images in batches:
            view = whole_crop(len(images), images.shape[1], int(attrs["size"]))
            flipped = torch.from_numpy(hands.side[done : done + len(images)] == LEFT)
            inputs = render_inputs(images, view, flipped, None, tuple(attrs["mean"]), tuple(attrs["std"]))
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                features_BD = network(inputs)
            yield done, features_BD.float().cpu().numpy()
            done += len(images)
            progress("encode", done, len(crops))
