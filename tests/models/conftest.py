"""What the tests of the network share: PyNative mode and random images."""

import mindspore as ms
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _pynative(pynative):
    """Every test here starts in PyNative mode."""


@pytest.fixture
def images():
    def make(*shape: int, seed: int = 0) -> ms.Tensor:
        return ms.Tensor(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))

    return make
