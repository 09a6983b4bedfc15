"""The state dict that the golden PyTorch files hold: a tiny HRNet by PyTorch's names, with biases in its head."""

from __future__ import annotations

import numpy as np
from golden_fill import quick_fill

from mindcv_hrnet.models.variants import Spec

TINY = Spec(
    width=1, stage1=(1, 4), modules=(1, 1, 1), blocks=1, stem_width=2, head_widths=(4, 4, 4, 8), head_features=6
)
CLASSES = 3


def tiny_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tiny network by MindCV's names."""
    from mindspore.nn.utils import no_init_parameters

    from mindcv_hrnet.models import HRNet

    with no_init_parameters():
        network = HRNet(TINY, CLASSES)
    return {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items()}


def pytorch_state() -> dict[str, np.ndarray]:
    """float32 and int64 arrays by PyTorch's names, in PyTorch's order."""
    from mindcv_hrnet.weights.naming import to_pytorch

    shapes = to_pytorch({name: np.zeros(shape, np.float32) for name, shape in tiny_shapes().items()})
    return {
        name: np.array(7, np.int64) if array.dtype == np.int64 else quick_fill(name, array.shape)
        for name, array in shapes.items()
    }
