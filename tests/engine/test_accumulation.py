"""The mean of several steps, by itself."""

import numpy as np
import pytest

from mindcv_hrnet.engine.accumulation import Accumulation

pytestmark = pytest.mark.usefixtures("pynative")


@pytest.fixture
def accumulation():
    import mindspore as ms

    weights = [ms.Parameter(ms.Tensor([0.0, 0.0], ms.float32), name=name) for name in ("a", "b")]
    return Accumulation(weights, steps=3)


def add(accumulation, loss, gradient, overflow=None):
    import mindspore as ms

    gradients = tuple(ms.Tensor([gradient, -gradient], ms.float32) for _ in range(2))
    scale = ms.Tensor(8.0, ms.float32)
    overflow = None if overflow is None else ms.Tensor(overflow, ms.float32)
    return int(accumulation(ms.Tensor(loss, ms.float32), gradients, scale, overflow).asnumpy())


def values(accumulation):
    gradients = [total.asnumpy().tolist() for total in accumulation.gradients]
    return gradients, float(accumulation.loss.asnumpy()), float(accumulation.overflows.asnumpy())


def test_means_are_unscaled_and_start_again_when_cleared(accumulation):
    assert [add(accumulation, loss, gradient) for loss, gradient in ((3.0, 24.0), (6.0, 48.0), (9.0, 0.0))] == [1, 2, 3]
    assert values(accumulation) == ([[3, -3], [3, -3]], 6, 0)
    accumulation.clear()
    assert values(accumulation) == ([[0, 0], [0, 0]], 0, 0)
    assert add(accumulation, 0.0, 0.0) == 1


def test_steps_that_overflow_are_counted_and_left_out(accumulation):
    assert add(accumulation, 3.0, 24.0, 0.0) == 1
    assert add(accumulation, np.nan, np.inf, 1.0) == 2
    assert add(accumulation, np.inf, np.nan, 1.0) == 3
    assert values(accumulation) == ([[1, -1], [1, -1]], 1, 2)


def test_state_is_saved_by_the_names_of_the_weights(accumulation):
    names = ["gathered.a", "gathered.b", "gathered_loss", "gathered_overflow", "gathered_steps"]
    assert sorted(accumulation.parameters_dict()) == names
    assert not accumulation.trainable_params()
