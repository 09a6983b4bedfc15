"""What the tests of the network share: quiet MindSpore, PyNative mode, and a four-branch network of some thousand
parameters."""

import os
import sys
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mindspore as ms
import numpy as np
import pytest

from mindcv_hrnet.models.specs import Spec


@pytest.fixture(autouse=True)
def _pynative():
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture
def tiny_spec() -> Spec:
    return Spec(
        width=2, stage1=(1, 8), modules=(1, 1, 1), blocks=1, stem_width=4, head_widths=(4, 8, 12, 16), head_features=20
    )


@pytest.fixture
def images():
    def make(*shape: int, seed: int = 0) -> ms.Tensor:
        return ms.Tensor(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))

    return make
