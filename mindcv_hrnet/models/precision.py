"""Mixed precision, by levels that mean what MindSpore's mean, without rewriting the network's source.

MindSpore's own `auto_mixed_precision` writes generated code into the current directory at level O1; here the layers
themselves are told what to compute in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.amp_names import AMP_LEVELS
from mindcv_hrnet.models.hrnet import Trunk
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, Dense, replace_operation

# What a cast list may name, by MindSpore's names of such layers
CAST_NAMES = {Conv2d: "Conv2d", Dense: "Dense", BatchNorm: "BatchNorm2d"}

# Half precisions as recipes name them
HALF = {"fp16": ms.float16, "bf16": ms.bfloat16}


class _InOther(nn.Cell):
    """A convolution or matrix product computed in `dtype`; gives back the dtype of its first operand."""

    def __init__(self, plain: ops.Primitive, dtype: Any) -> None:
        super().__init__()
        self.plain = plain
        self.dtype = dtype
        self.cast = ops.Cast()

    def construct(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.cast(self.plain(self.cast(x, self.dtype), self.cast(weight, self.dtype)), x.dtype)


class _InFloat32(nn.Cell):
    """A batch normalisation that sees float32 only; gives back the dtype of its input."""

    def __init__(self, plain: ops.Primitive) -> None:
        super().__init__()
        self.plain = plain
        self.cast = ops.Cast()

    def construct(
        self, x: Tensor, gamma: Tensor, beta: Tensor, moving_mean: Tensor, moving_variance: Tensor
    ) -> tuple[Tensor]:
        outputs = self.plain(self.cast(x, ms.float32), gamma, beta, moving_mean, moving_variance)
        return (self.cast(outputs[0], x.dtype),)


def set_precision(
    network: nn.Cell, level: str = "O0", dtype: Any = ms.float16, cast_list: Sequence[str] | None = None
) -> nn.Cell:
    """Tells every layer of `network` what to compute in, and returns the network.

    O0: everything in float32. O1: convolutions and dense layers in `dtype`, all that flows between layers in float32.
    O2: everything in `dtype` but the batch normalisations. O3: those too, where their kernel takes `dtype`; it then
    reads and writes half precision, and still gathers its statistics in float32. Parameters, moving statistics and
    whatever leaves the network are float32 at every level. auto: what MindSpore's lists of operators come to here, O2.

    `cast_list` names kinds of layers, of CAST_NAMES, for O1 to compute in `dtype`, or for O2 to compute in float32,
    instead of those above.

    The level can be changed at any time, but a larger cell that holds the network and has been compiled already keeps
    its graph.
    """
    if level not in AMP_LEVELS:
        raise UserError(f"unknown precision level {level!r}. Choices: {', '.join(AMP_LEVELS)}")
    if dtype not in (ms.float16, ms.bfloat16):
        raise UserError(f"mixed precision computes in float16 or bfloat16, not {dtype}")
    if level != "O0" and dtype == ms.bfloat16 and ms.get_context("device_target") == "CPU":
        raise UserError("MindSpore's CPU kernels do not take bfloat16: use float16, level O0, or another device")

    level = "O2" if level == "auto" else level
    listed = set({"O1": ("Conv2d", "Dense"), "O2": ("BatchNorm2d",)}.get(level, ()) if cast_list is None else cast_list)
    # BatchNorm takes float16 and float32 on every device, bfloat16 on none.
    float32_norms = (level == "O2" and "BatchNorm2d" in listed) or (level in ("O2", "O3") and dtype == ms.bfloat16)
    for _, cell in network.cells_and_names():
        if isinstance(cell, Trunk):
            cell.enter.dtype = dtype if level in ("O2", "O3") else ms.float32
        elif isinstance(cell, (Conv2d, Dense)):
            name = "convolve" if isinstance(cell, Conv2d) else "multiply"
            plain = _plain(getattr(cell, name))
            own = dtype if level == "O1" else ms.float32
            replace_operation(cell, name, _InOther(plain, own) if CAST_NAMES[type(cell)] in listed else plain)
        elif isinstance(cell, BatchNorm):
            for name in ("normalise_batch", "normalise"):
                plain = _plain(getattr(cell, name))
                replace_operation(cell, name, _InFloat32(plain) if float32_norms else plain)
    # MindSpore does not notice that a compiled cell has changed.
    network.compile_cache.clear()
    return network


def _plain(operation: Any) -> Any:
    return operation.plain if isinstance(operation, (_InOther, _InFloat32)) else operation
