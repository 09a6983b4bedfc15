"""Started by test_kernels.py with ONEDNN_VERBOSE=1: a training step and an evaluation of an HRNet of few blocks.

conv_steps.py MODE [first-mindspore]: MODE is MindSpore's name of it. Import MindSpore before the package, as a user's
own script may.
"""

import sys

if "first-mindspore" in sys.argv:
    import mindspore  # noqa: F401 - its import is the point

import mindcv_hrnet  # isort: skip  # noqa: F401
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from mindcv_hrnet.models import HRNet, Spec

# Widths of a real network's order, so that oneDNN decides as it does there
SPEC = Spec(16, (1, 64), (1, 1, 1), 1, stem_width=32, head_widths=(32, 64, 96, 128), head_features=64)
BATCH, IMAGE_SIZE = 2, 64


class Gradients(nn.Cell):
    """(N, 3, H, W) -> the gradient of the sum of the logits, for each trainable parameter."""

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.gradients = ops.grad(network, None, network.trainable_params())

    def construct(self, images: Tensor) -> tuple[Parameter, ...]:
        """(N, 3, H, W) -> tensors like the parameters."""
        return self.gradients(images)


if __name__ == "__main__":
    ms.set_device("CPU")
    ms.set_context(mode=getattr(ms, sys.argv[1]))
    network = HRNet(SPEC, 4).set_train()
    images = ms.Tensor(np.ones((BATCH, 3, IMAGE_SIZE, IMAGE_SIZE)), ms.float32)
    assert all(np.isfinite(gradient.asnumpy()).all() for gradient in Gradients(network)(images))
    assert np.isfinite(network.set_train(False)(images).asnumpy()).all()
