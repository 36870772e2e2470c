"""Small ONNX models for the tests that really look: they find what is red on the picture, and say so in the layout
that is asked for."""

from pathlib import Path

import numpy as np
import onnx

HEAD = """<ir_version: 8, opset_import: ["" : 17]>
red (float[N,3,{high},{wide}] image) => ({outputs}) {{
    zero = Constant<value_ints = [0]> ()
    one = Constant<value_ints = [1]> ()
    two = Constant<value_ints = [2]> ()
    three = Constant<value_ints = [3]> ()
    zero_float = Constant<value_float = 0.0> ()
    unit = Constant<value_float = 1.0> ()
    half = Constant<value_float = 0.5> ()
    threshold = Constant<value_float = {threshold}> ()
    channel = Slice (image, {first}, {last}, one)
    lit = Greater (channel, threshold)
    mask = Cast<to = 1> (lit)
"""
BOX = """
    columns = ReduceMax<axes = [1, 2], keepdims = 0> (mask)
    rows = ReduceMax<axes = [1, 3], keepdims = 0> (mask)
    left = ArgMax<axis = 1, keepdims = 1> (columns)
    right = ArgMax<axis = 1, keepdims = 1, select_last_index = 1> (columns)
    top = ArgMax<axis = 1, keepdims = 1> (rows)
    bottom = ArgMax<axis = 1, keepdims = 1, select_last_index = 1> (rows)
    x0 = Cast<to = 1> (left)
    y0 = Cast<to = 1> (top)
    x1_last = Cast<to = 1> (right)
    y1_last = Cast<to = 1> (bottom)
    x1 = Add (x1_last, unit)
    y1 = Add (y1_last, unit)
    any_red = ReduceMax<axes = [1, 2, 3], keepdims = 0> (mask)
    share = Constant<value_float = 0.9> ()
    score_flat = Mul (any_red, share)
    score = Unsqueeze (score_flat, one)
    none = Mul (score, zero_float)
"""
CENTRE = """
    x_sum = Add (x0, x1)
    y_sum = Add (y0, y1)
    cx = Mul (x_sum, half)
    cy = Mul (y_sum, half)
    w = Sub (x1, x0)
    h = Sub (y1, y0)
"""
LAYOUTS = {  # outputs, body
    "boxes": (
        "float[N,1,4] boxes, float[N,1,1] scores",
        BOX
        + "flat = Concat<axis = 1> (x0, y0, x1, y1)\n boxes = Unsqueeze (flat, one)\n scores = Unsqueeze (score, one)",
    ),
    "dets": (
        "float[N,1,5] dets, int64[N,1] labels",
        BOX + "flat = Concat<axis = 1> (x0, y0, x1, y1, score)\n dets = Unsqueeze (flat, one)\n "
        "labels = Cast<to = 7> (none)",
    ),
    "end2end": (
        "float[N,1,6] found",
        BOX + "flat = Concat<axis = 1> (x0, y0, x1, y1, score, none)\n found = Unsqueeze (flat, one)",
    ),
    "yolov8": (
        "float[N,5,{anchors}] found",
        BOX + CENTRE + "flat = Concat<axis = 1> (cx, cy, w, h, score)\n single = Unsqueeze (flat, two)\n"
        "times = Constant<value_ints = [1, 1, {anchors}]> ()\n found = Tile (single, times)",
    ),
    "yolov5": (
        "float[N,{tripled},6] found",
        BOX + CENTRE + "sure = Add (none, unit)\n flat = Concat<axis = 1> (cx, cy, w, h, score, sure)\n "
        "single = Unsqueeze (flat, one)\n"
        "times = Constant<value_ints = [1, {tripled}, 1]> ()\n found = Tile (single, times)",
    ),
    # 21 keypoints, the i-th i px below the middle of what is red
    "regression": (
        "float[N,21,2] points",
        BOX
        + CENTRE
        + "x_centre = Sub (cx, half)\n y_centre = Sub (cy, half)\n flat = Concat<axis = 1> (x_centre, y_centre)\n"
        "single = Unsqueeze (flat, one)\n times = Constant<value_ints = [1, 21, 1]> ()\n same = Tile (single, "
        "times)\n points = Add (same, below)",
    ),
    "heatmap": (
        "float[N,21,{cells_high},{cells_wide}] maps",
        "pooled = AveragePool<kernel_shape = [4, 4], strides = [4, 4]> (mask)\n"
        "times = Constant<value_ints = [1, 21, 1, 1]> ()\n maps = Tile (pooled, times)",
    ),
    "simcc": (
        "float[N,21,{wide}] across, float[N,21,{high}] down",
        "x_profile = ReduceMean<axes = [2], keepdims = 0> (mask)\n y_profile = ReduceMean<axes = [3], keepdims = 0> "
        "(mask)\n"
        "times = Constant<value_ints = [1, 21, 1]> ()\n across = Tile (x_profile, times)\n down = Tile (y_profile, "
        "times)",
    ),
}


def make_onnx(
    path: Path,
    layout: str,
    width: int = 64,
    height: int = 64,
    threshold: float = 0.7,
    bgr: bool = False,
    batch: int | None = None,
    joints: np.ndarray | None = None,
    **metadata: object,
) -> Path:
    """batch: None, as many pictures as are given. metadata: KEY=VALUE, written as handtool.KEY; `names` as it is."""
    anchors = sum((width // stride) * (height // stride) for stride in (8, 16, 32))
    sizes = {
        "wide": width,
        "high": height,
        "anchors": anchors,
        "tripled": 3 * anchors,
        "cells_wide": width // 4,
        "cells_high": height // 4,
    }
    outputs, body = LAYOUTS[layout]
    first, last = ("two", "three") if bgr else ("zero", "one")
    head = HEAD.format(**sizes, outputs=outputs.format(**sizes), threshold=threshold, first=first, last=last)
    model = onnx.parser.parse_model(head + body.format(**sizes) + "\n}")
    if joints is not None:  # (21, 3), whatever is seen
        model.graph.initializer.append(
            onnx.helper.make_tensor("known", onnx.TensorProto.FLOAT, [1, 63], joints.ravel())
        )
        model.graph.node.append(onnx.helper.make_node("Mul", ["x_centre", "zero_float"], ["nothing"]))
        model.graph.node.append(onnx.helper.make_node("Add", ["nothing", "known"], ["world"]))
        model.graph.output.append(onnx.helper.make_tensor_value_info("world", onnx.TensorProto.FLOAT, ["N", 63]))
    if layout == "regression":
        offsets = [number for joint in range(21) for number in (0.0, float(joint))]
        model.graph.initializer.append(onnx.helper.make_tensor("below", onnx.TensorProto.FLOAT, [21, 2], offsets))
    if batch is not None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = batch
    for key, value in metadata.items():
        model.metadata_props.add(key=key if key == "names" else f"handtool.{key}", value=str(value))
    onnx.save(model, path)
    return path
