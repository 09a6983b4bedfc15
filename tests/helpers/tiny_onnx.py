"""A model file of three classes for tests of what stands around a model: the mean red, green and blue of an image.

Written with the `onnx` package, so that no network is built or compiled.
"""

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mindcv_hrnet.deploy.metadata import KEY, Metadata

METADATA = Metadata(
    model="tiny",
    in_channels=3,
    image_resize=32,
    crop_pct=1.0,
    interpolation="bilinear",
    mean=(127.5, 127.5, 127.5),
    std=(25.5, 25.5, 25.5),
    class_names=("red", "grün", "blue"),
)


def write_tiny_onnx(path, *, repeat=0, **changes):
    """Logits are the channels' means of the normalised image; a uint8 file normalises by itself.

    Further class names get ever smaller parts of the means.
    `repeat`: so many 64-channel convolutions are computed beside them and count for nothing, to take time.
    """
    metadata = replace(METADATA, **changes)
    channels, side = metadata.in_channels, metadata.image_resize
    classes = max(channels, len(metadata.class_names))
    mix = np.stack([np.eye(channels, dtype=np.float32)[k % channels] / (1 + k // channels) for k in range(classes)], 1)
    is_uint8 = metadata.input_dtype == "uint8"
    images = helper.make_tensor_value_info(
        "images", TensorProto.UINT8 if is_uint8 else TensorProto.FLOAT, ["N", channels, side, side]
    )
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
    constants, nodes, current = [], [], "images"

    def constant(name, values):
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    if is_uint8:
        shape = (1, channels, 1, 1)
        mean = constant("mean", np.array(metadata.mean, np.float32).reshape(shape))
        std = constant("std", np.array(metadata.std, np.float32).reshape(shape))
        nodes += [
            helper.make_node("Cast", [current], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["pixels", mean], ["centred"]),
            helper.make_node("Div", ["centred", std], ["normal"]),
        ]
        current = "normal"
    nodes.append(helper.make_node("GlobalAveragePool", [current], ["pooled"]))
    result = "pooled"
    if repeat:
        first = constant("first", np.full((64, channels, 3, 3), 1e-3, np.float32))
        nodes.append(helper.make_node("Conv", [current, first], ["busy0"], pads=[1] * 4))
        weight = constant("weight", np.full((64, 64, 3, 3), 1e-3, np.float32))
        for index in range(repeat):
            nodes.append(helper.make_node("Conv", [f"busy{index}", weight], [f"busy{index + 1}"], pads=[1] * 4))
        zero = constant("zero", np.zeros((channels, 64, 1, 1), np.float32))
        nodes += [
            helper.make_node("GlobalAveragePool", [f"busy{repeat}"], ["all"]),
            helper.make_node("Conv", ["all", zero], ["nothing"]),
            helper.make_node("Add", [result, "nothing"], ["both"]),
        ]
        result = "both"
    nodes.append(helper.make_node("Flatten", [result], ["means"]))
    nodes.append(helper.make_node("MatMul", ["means", constant("mix", mix)], ["logits"]))
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", [images], [logits], constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    helper.set_model_props(model, {KEY: metadata.to_json()})
    onnx.save(model, path)
    return path
