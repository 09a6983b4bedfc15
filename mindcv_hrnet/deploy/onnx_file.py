"""ONNX files that carry their own labels and preprocessing, in the model's `metadata_props`."""

from __future__ import annotations

from pathlib import Path

import onnx
from mindspore import nn
from onnx import helper, shape_inference

from mindcv_hrnet.deploy.container import seal
from mindcv_hrnet.deploy.metadata import KEY, Metadata
from mindcv_hrnet.deploy.onnx_graph import Graph
from mindcv_hrnet.deploy.onnx_network import NetworkWriter
from mindcv_hrnet.models.hrnet import HRNet, HRNetFeatures

PRODUCER = "mindcv-hrnet"


def write_onnx(network: nn.Cell, metadata: Metadata, path: Path) -> None:
    """Write an HRNet or HRNetFeatures to `path`, with the metadata inside, checked by ONNX's own rules."""
    model = build_onnx(network, metadata)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    seal(path)


def build_onnx(network: nn.Cell, metadata: Metadata) -> onnx.ModelProto:
    """The model in memory, with the shape of every tensor in it."""
    side = metadata.image_resize
    graph = Graph(None if metadata.dynamic_size else (side, side))
    writer = NetworkWriter(network, graph)
    pixels = (metadata.mean, metadata.std) if metadata.input_dtype == "uint8" else None
    branches = writer.trunk(network, pixels)
    batch = metadata.batch_size or "N"
    outputs: dict[str, list[int | str | None]]
    if isinstance(network, HRNet):
        outputs = {name: [batch, network.num_classes] for name in metadata.outputs}
        writer.classifier(network, branches, *metadata.outputs)
    else:
        assert isinstance(network, HRNetFeatures), type(network)
        writer.features(network, branches, metadata.outputs)
        outputs = {
            name: [batch, info.channels, *(graph.sides_at(info.reduction) or (f"{name}_H", f"{name}_W"))]
            for name, info in zip(metadata.outputs, network.feature_info, strict=True)
        }
    model = graph.model(metadata.input_shape, metadata.input_dtype, outputs)
    model.producer_name, model.producer_version = PRODUCER, metadata.version
    helper.set_model_props(model, {KEY: metadata.to_json()})
    return shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
