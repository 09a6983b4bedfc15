"""HRNet as an ONNX graph: one function for each kind of cell, in the order of `models/hrnet.py`.

Batch normalisations are folded into their convolutions (arXiv:1712.05877, section 3.2), computed in float64. Constants
and convolutions have the names of MindCV's parameters. The graph is that of evaluation, in float32, whatever precision
the cells are set to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from mindspore import nn

from mindcv_hrnet.deploy.onnx_graph import INPUT, Graph, Map
from mindcv_hrnet.models.hrnet import (
    BasicBlock,
    Bottleneck,
    Exchange,
    HRNet,
    HRNetFeatures,
    Module,
    Transition,
    Trunk,
)
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, ConvNorm, Dense

Maps = tuple[Map, ...]


class NetworkWriter:
    """Walks over a network's cells and appends their nodes to `graph`."""

    def __init__(self, network: nn.Cell, graph: Graph) -> None:
        self.graph = graph
        self._names = {id(parameter): name for name, parameter in network.parameters_and_names()}

    # --- layers ---

    def convolution(self, conv: Conv2d, norm: BatchNorm, x: Map, scale: np.ndarray | None = None) -> Map:
        """A convolution with its batch normalisation; `scale` is a factor for each input channel."""
        weight, gamma, beta, mean, variance = (
            parameter.asnumpy().astype(np.float64)
            for parameter in (conv.weight, norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
        )
        slope = gamma / np.sqrt(variance + norm.eps)
        weight *= slope.reshape(-1, 1, 1, 1)
        if scale is not None:
            weight *= scale.reshape(1, -1, 1, 1)
        name = self._names[id(conv.weight)].removesuffix(".weight")
        folded = weight.astype(np.float32), (beta - mean * slope).astype(np.float32)
        return self.graph.convolution(x, name, *folded, stride=conv.stride)

    def conv_norm(self, cell: ConvNorm, x: Map) -> Map:
        """Convolution and, where the cell has it, ReLU."""
        conv, norm = cell.cell_list
        x = self.convolution(conv, norm, x)
        return self.graph.relu(x) if cell.activate else x

    def row(self, cells: Iterable[nn.Cell], x: Map) -> Map:
        """Cells one after the other."""
        for cell in cells:
            if isinstance(cell, BasicBlock):
                x = self.basic_block(cell, x)
            elif isinstance(cell, Bottleneck):
                x = self.bottleneck(cell, x)
            else:
                assert isinstance(cell, ConvNorm), type(cell)
                x = self.conv_norm(cell, x)
        return x

    # --- blocks ---

    def basic_block(self, cell: BasicBlock, x: Map) -> Map:
        """Two 3x3 convolutions around an identity."""
        y = self.graph.relu(self.convolution(cell.conv1, cell.bn1, x))
        y = self.convolution(cell.conv2, cell.bn2, y)
        return self.graph.relu(self.graph.add(y, x))

    def bottleneck(self, cell: Bottleneck, x: Map) -> Map:
        """1x1, 3x3, 1x1 around an identity or a projection."""
        y = self.graph.relu(self.convolution(cell.conv1, cell.bn1, x))
        y = self.graph.relu(self.convolution(cell.conv2, cell.bn2, y))
        y = self.convolution(cell.conv3, cell.bn3, y)
        shortcut = self.conv_norm(cell.down_sample, x) if cell.projects else x
        return self.graph.relu(self.graph.add(y, shortcut))

    # --- branches ---

    def exchange(self, cell: Exchange, branches: Maps) -> Map:
        """What one branch gets of all of them."""
        total = branches[cell.target]
        for source, finer in enumerate(cell.finer):
            total = self.graph.add(total, self.row(finer, branches[source]))
        for source, coarser in enumerate(cell.coarser, start=cell.target + 1):
            coarse = self.conv_norm(coarser, branches[source])
            total = self.graph.add(total, self.graph.upsample(coarse, total))
        return self.graph.relu(total)

    def module(self, cell: Module, branches: Maps) -> Maps:
        """Blocks on every branch, then the exchanges."""
        refined = tuple(self.row(blocks, x) for blocks, x in zip(cell.branches, branches, strict=True))
        return tuple(self.exchange(each, refined) for each in cell.exchanges)

    def stage(self, modules: Iterable[Module], branches: Maps) -> Maps:
        """Modules one after the other."""
        for module in modules:
            branches = self.module(module, branches)
        return branches

    def transition(self, cell: Transition, branches: Maps) -> Maps:
        """One more branch, at half the resolution of the last one."""
        first = self.row(cell.adapt, branches[0])
        return (first, *branches[1:], self.row(cell.open[0], branches[-1]))

    # --- networks ---

    def image(self, mean: Sequence[float]) -> Map:
        """What the first convolution gets of uint8 pixels: float32 and centred. It divides by std itself."""
        floats = self.graph.node("Cast", (INPUT,), to=1)  # float32
        shift = self.graph.constant("mean", np.array(mean, np.float32).reshape(-1, 1, 1))
        return Map(self.graph.node("Sub", (floats, shift)), 1)

    def trunk(self, cell: Trunk, pixels: tuple[Sequence[float], Sequence[float]] | None) -> Maps:
        """`pixels`: mean and std where the input is uint8."""
        x, scale = Map(INPUT, 1), None
        if pixels:
            mean, std = pixels
            x, scale = self.image(mean), 1 / np.asarray(std, np.float64)
        x = self.graph.relu(self.convolution(cell.conv1, cell.bn1, x, scale))
        x = self.graph.relu(self.convolution(cell.conv2, cell.bn2, x))
        branches: Maps = (self.row(cell.layer1, x),)
        branches = self.stage(cell.stage2, self.transition(cell.transition1, branches))
        branches = self.stage(cell.stage3, self.transition(cell.transition2, branches))
        return self.stage(cell.stage4, self.transition(cell.transition3, branches))

    def classifier(self, cell: HRNet, branches: Maps, output: str) -> None:
        """From the four branches to logits by the name `output`."""
        x = self.row(cell.widen[0], branches[0])
        for i, downsample in enumerate(cell.downsample_modules):
            x = self.graph.add(self.row(cell.widen[i + 1], branches[i + 1]), self.conv_norm(downsample, x))
        x = self.conv_norm(cell.final_layer, x)
        vector = self.graph.node("Flatten", (self.graph.node("GlobalAveragePool", (x.name,)),))
        dense: Dense = cell.classifier
        weight, bias = (
            self.graph.constant(self._names[id(parameter)], parameter.asnumpy().astype(np.float32))
            for parameter in (dense.weight, dense.bias)
        )
        self.graph.node("Gemm", (vector, weight, bias), output, transB=1)

    def features(self, cell: HRNetFeatures, branches: Maps, outputs: Sequence[str]) -> None:
        """The maps that a backbone returns, by the names in `outputs`."""
        maps = branches
        if cell.widen:
            maps = tuple(self.row(widen, x) for widen, x in zip(cell.widen, branches, strict=True))
        for position, output in zip(cell.positions, outputs, strict=True):
            self.graph.node("Identity", (maps[position].name,), output)
