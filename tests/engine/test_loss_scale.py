"""Loss scale and overflow check, by themselves."""

import numpy as np
import pytest

from mindcv_hrnet.engine import loss_scale
from mindcv_hrnet.engine.loss_scale import LossScale, OverflowCheck, saturates
from mindcv_hrnet.recipe.keys import LossConfig

pytestmark = pytest.mark.usefixtures("pynative")


def move(scale, finite):
    import mindspore as ms

    scale(ms.Tensor(finite))
    return float(scale.value.asnumpy()), int(scale.good_updates.asnumpy())


def test_a_dynamic_scale_halves_to_one_and_doubles_to_its_limit(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 2)
    monkeypatch.setattr(loss_scale, "LARGEST_SCALE", 8.0)
    scale = LossScale(LossConfig(loss_scale=3.0, loss_scale_type="dynamic"))
    assert [move(scale, finite) for finite in (False, False, True, False, True, True)] == [
        *((1.5, 0), (1.0, 0), (1.0, 1), (1.0, 0), (1.0, 1), (2.0, 0))
    ]
    assert [move(scale, True)[0] for _ in range(6)] == [2, 4, 4, 8, 8, 8]


@pytest.mark.parametrize(
    ("config", "dynamic", "changes"),
    [
        (LossConfig(), False, False),
        (LossConfig(loss_scale=1024.0), False, True),
        (LossConfig(loss_scale_type="auto"), True, True),
    ],
)
def test_what_a_scale_does(config, dynamic, changes):
    scale = LossScale(config)
    assert (scale.dynamic, scale.changes_gradients) == (dynamic, changes)
    assert list(scale.parameters_dict()) == ["loss_scale", "good_steps"] and not scale.trainable_params()


@pytest.mark.parametrize(("bad", "before", "count"), [(None, 0.0, 0), (np.inf, 0.0, 1), (np.nan, 2.0, 3)])
def test_overflows_of_one_rank_are_counted(bad, before, count):
    import mindspore as ms

    values = np.ones((2, 3), np.float32)
    if bad is not None:
        values[1, 2] = bad
    gradients = ms.Tensor(np.ones(4), ms.float32), ms.Tensor(values)
    assert float(OverflowCheck(1)(gradients, before).asnumpy()) == count


def test_where_the_device_saturates_its_register_is_cleared_before_the_forward_pass(monkeypatch):
    """What runs on an Atlas training device alone, seen with a register of our own."""
    import mindspore as ms

    assert not saturates()
    monkeypatch.setattr(loss_scale, "saturates", lambda: True)
    check = OverflowCheck(1)
    register = ms.Parameter(ms.Tensor([7] * 8, ms.int32), name="register")
    check.clear = lambda status: ms.ops.assign(register, status)
    inputs = ms.Tensor([1.0, 2.0], ms.float32)
    assert (check.begin(inputs) == inputs).all() and not register.asnumpy().any()
