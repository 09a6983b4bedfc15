"""Started by test_kernels.py with ONEDNN_VERBOSE=1: forward and backward through every kind of layer.

conv_steps.py [first-mindspore]: import MindSpore before the package, as a user's own script may.
"""

import sys

if "first-mindspore" in sys.argv:
    import mindspore  # noqa: F401 - its import is the point

import mindcv_hrnet  # isort: skip  # noqa: F401
import mindspore as ms
import numpy as np

from mindcv_hrnet.models import HRNet, Spec

ms.set_device("CPU")
ms.set_context(mode=ms.PYNATIVE_MODE)
# Widths of a real network's order, so that oneDNN decides as it does there
spec = Spec(16, (1, 64), (1, 1, 1), 1, stem_width=32, head_widths=(32, 64, 96, 128), head_features=64)
network = HRNet(spec, 4).set_train()
step = ms.value_and_grad(lambda image: network(image).sum(), None, network.trainable_params())
loss, _ = step(ms.Tensor(np.ones((2, 3, 64, 64)), ms.float32))
assert np.isfinite(loss.asnumpy())
