"""The few cells HRNet is made of.

Every layer calls primitives made in `__init__`: a graph of such lean cells compiles and runs markedly faster than one
of MindSpore's own layers, because compile time follows the number of function graphs. Every layer gives back the dtype
that it was given; parameters are always float32 and are cast where they are used (see `precision.py`), except in
`BatchNorm`, whose kernels take them as they are.
Images and features are (N, C, H, W) throughout.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import HeNormal, Uniform, initializer


def replace_operation(layer: nn.Cell, name: str, operation: Any) -> None:
    """Give a layer another primitive or cell for the one that it calls by this name."""
    delattr(layer, name)
    setattr(layer, name, operation)


def shape_of_graph(cell: nn.Cell) -> tuple[Any, ...]:
    """Everything that the compiled graph of a cell depends on, but for the values of parameters and inputs."""
    settings = {name: str(value) for name, value in vars(cell).items() if not name.startswith("_")}
    again = str(cell.get_scope()).startswith("recompute_")  # where MindSpore notes it
    parameters = [(own.shape, str(own.dtype), own.requires_grad) for own in cell.get_parameters(expand=False)]
    return (
        type(cell).__name__,
        settings,
        again,
        cell.get_flags(),
        parameters,
        [shape_of_graph(inner) for inner in cell.cells()],
    )


class Reused(nn.Cell):
    """A layer that is compiled once for all layers with the same `shape_of_graph`.

    It is MindSpore's `lazy_inline` with the policy "front", which asks for no device: all that the back end gets is the
    graph that it would get without, sooner. The key is the layer's state when it is compiled, where MindSpore's
    decorator takes the arguments of `__init__`: they tell nothing of precision or of what was frozen since. No such
    layer may hold another: MindSpore 2.10 then computes with the wrong parameters, and does not say so.
    """

    no_inline = False

    @property
    def cell_init_args(self) -> str:
        """What MindSpore compares, by the name that it has there."""
        return f"lazy_inline_{shape_of_graph(self)}"


class CastTo(nn.Cell):
    """Any tensor -> the same values in `dtype`: where half precision begins and ends."""

    def __init__(self, dtype: Any = ms.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.cast = ops.Cast()

    def construct(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return self.cast(x, self.dtype)


class Conv2d(Reused):
    """(N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride)), odd kernels, never a bias.

    Weights start kaiming-normal over the fan-out, as in the paper's code. A bias would be cancelled by the batch
    normalisation that follows every convolution of an HRNet.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        kaiming = HeNormal(mode="fan_out", nonlinearity="relu")
        self.weight = Parameter(initializer(kaiming, (out_channels, in_channels, kernel, kernel)), name="weight")
        # The ONNX exporter does not take the kernel as one number.
        self.stride = stride
        self.convolve = ops.Conv2D(out_channels, (kernel, kernel), pad_mode="pad", pad=kernel // 2, stride=stride)
        self.cast = ops.Cast()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride))."""
        return self.convolve(x, self.cast(self.weight, x.dtype))


class BatchNorm(Reused):
    """(N, C, H, W) -> same: batch statistics while training, moving ones otherwise and where it is `frozen`.

    `momentum` is the share of the old moving statistics that stays (PyTorch counts the other share). Parameters and
    statistics are float32, so the kernels take and give half precision but compute in float32.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.9) -> None:
        super().__init__()
        self.moving_mean = Parameter(initializer("zeros", channels), name="moving_mean", requires_grad=False)
        self.moving_variance = Parameter(initializer("ones", channels), name="moving_variance", requires_grad=False)
        self.gamma = Parameter(initializer("ones", channels), name="gamma")
        self.beta = Parameter(initializer("zeros", channels), name="beta")
        self.frozen = False
        self.moves_later = False
        self.eps, self.momentum = eps, momentum
        self.normalise_batch = ops.BatchNorm(is_training=True, epsilon=eps, momentum=1.0 - momentum)
        self.normalise = ops.BatchNorm(is_training=False, epsilon=eps)

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> same shape."""
        normalise = self.normalise_batch if self.training and not self.frozen else self.normalise
        return normalise(x, self.gamma, self.beta, self.moving_mean, self.moving_variance)[0]


class ConvNorm(nn.SequentialCell):
    """Convolution, batch normalisation and, where asked, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, relu: bool = False
    ) -> None:
        super().__init__(Conv2d(in_channels, out_channels, kernel, stride), BatchNorm(out_channels))
        self.activate = relu
        self.relu = ops.ReLU()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride))."""
        convolve, normalise = self.cell_list
        x = normalise(convolve(x))
        return self.relu(x) if self.activate else x


class Upsample(nn.Cell):
    """(N, C, h, w) and a map of the wanted size (N, C', H, W) -> (N, C, H, W), nearest neighbour.

    The size is read off the other map, so that the branches fit together at any image size. Half precision is resized
    in float32 while training: sums of gradients keep their digits, and not every Ascend has such a kernel for half.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cast = ops.Cast()

    def construct(self, x: Tensor, like: Tensor) -> Tensor:
        """(N, C, h, w), (N, C', H, W) -> (N, C, H, W)."""
        _, _, height, width = like.shape
        # The one primitive made here and not in __init__: the size is one of its attributes.
        resize = ops.ResizeNearestNeighbor((height, width))
        if self.training:
            return self.cast(resize(self.cast(x, ms.float32)), x.dtype)
        return resize(x)


class GlobalMean(nn.Cell):
    """(N, C, H, W) -> (N, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = ops.ReduceMean()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return self.mean(x, (2, 3))


class Dense(nn.Cell):
    """(N, C_in) -> (N, C_out), with a bias. Weights start uniform within 1 / sqrt(C_in), the bias at zero."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        uniform = Uniform(1.0 / math.sqrt(in_channels))
        self.weight = Parameter(initializer(uniform, (out_channels, in_channels)), name="weight")
        self.bias = Parameter(initializer("zeros", out_channels), name="bias")
        self.multiply = ops.MatMul(transpose_b=True)
        self.add = ops.BiasAdd()
        self.cast = ops.Cast()

    def construct(self, x: Tensor) -> Tensor:
        """(N, C_in) -> (N, C_out)."""
        y = self.multiply(x, self.cast(self.weight, x.dtype))
        return self.add(y, self.cast(self.bias, x.dtype))
