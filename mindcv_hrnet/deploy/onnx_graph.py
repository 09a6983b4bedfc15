"""The few ONNX nodes that HRNet is made of, and the graph that collects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
"""Not 18: ONNX Runtime (1.23) keeps the Resize of this one in its blocked layout, and with it the whole network."""
IR_VERSION = 8
"""The first that may hold this opset, so that old runtimes read the file too."""
INPUT = "images"


class Map(NamedTuple):
    """A tensor (N, C, H, W) by its name, and how many times smaller than the image it is."""

    name: str
    stride: int


class Graph:
    """Nodes in order, and the constants that they need.

    `sides`: height and width of the image, None where they stay open.
    """

    def __init__(self, sides: tuple[int, int] | None) -> None:
        self.sides = sides
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._counts: dict[str, int] = {}
        self._sides: dict[int, str] = {}

    def node(self, kind: str, inputs: Sequence[str], name: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        if not name:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind.lower()}{self._counts[kind]}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        """A constant by this name, which may be asked for again."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def convolution(self, x: Map, name: str, weight: np.ndarray, bias: np.ndarray, stride: int) -> Map:
        """Odd kernels, padded by half of them: sides become ceil(side / stride)."""
        kernel = weight.shape[2:]
        inputs = (x.name, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias))
        pads = [side // 2 for side in kernel] * 2
        out = self.node("Conv", inputs, name, kernel_shape=list(kernel), strides=[stride, stride], pads=pads)
        return Map(out, x.stride * stride)

    def relu(self, x: Map) -> Map:
        """max(x, 0)."""
        return Map(self.node("Relu", (x.name,)), x.stride)

    def add(self, x: Map, y: Map) -> Map:
        """x + y, which have the same sides."""
        return Map(self.node("Add", (x.name, y.name)), x.stride)

    def upsample(self, x: Map, like: Map) -> Map:
        """Nearest neighbour, floor(place * own side / wanted side), to the sides of `like`."""
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        own, wanted = self.sides_at(x.stride), self.sides_at(like.stride)
        if own is None or wanted is None:
            sides = self._open_sides(like)
        elif all(large % small == 0 for small, large in zip(own, wanted, strict=True)):
            # runtimes have fast kernels for whole factors, and know the result's sides beforehand
            factors = [large // small for small, large in zip(own, wanted, strict=True)]
            scales = self.constant("factors" + "x".join(map(str, factors)), np.array([1, 1, *factors], np.float32))
            return Map(self.node("Resize", (x.name, "", scales), **nearest), like.stride)
        else:
            # a factor such as 7 / 4 may round to a side too few
            sides = self.constant("sides" + "x".join(map(str, wanted)), np.array(wanted, np.int64))
        # the batch may be open, so the sizes of all four axes are known only then
        sizes = self.node("Concat", (self.node("Shape", (x.name,), end=2), sides), axis=0)
        return Map(self.node("Resize", (x.name, "", "", sizes), **nearest), like.stride)

    def sides_at(self, stride: int) -> tuple[int, int] | None:
        """Height and width of maps at this stride: each halving rounds up."""
        return None if self.sides is None else (-(-self.sides[0] // stride), -(-self.sides[1] // stride))

    def _open_sides(self, like: Map) -> str:
        """Name of the sides of `like`; all maps of one stride have the same."""
        if like.stride not in self._sides:
            self._sides[like.stride] = self.node("Shape", (like.name,), start=2)
        return self._sides[like.stride]

    def model(
        self, shape: Sequence[int | None], dtype: str, outputs: Mapping[str, Sequence[int | str | None]]
    ) -> onnx.ModelProto:
        """The whole model: its input of this shape, None for what is open, and its outputs by name and shape."""
        names = ("N", "C", "H", "W")
        sides = [name if side is None else side for name, side in zip(names, shape, strict=True)]
        kind = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}[dtype]
        graph = helper.make_graph(
            self.nodes,
            "hrnet",
            [helper.make_tensor_value_info(INPUT, kind, sides)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name, sides in outputs.items()],
            list(self.constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
