"""Losses and their gradients against NumPy in float64."""

import numpy as np
import pytest

from mindcv_hrnet.config import LossConfig

LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [100.0, -100.0, 3.0], [-0.3, 0.1, 60.0]])
HARD = np.eye(3)[[0, 2, 2, 1]]
SOFT = np.array([[0.9, 0.05, 0.05], [0.2, 0.3, 0.5], [0.0, 0.4, 0.6], [1 / 3, 1 / 3, 1 / 3]])


def cross_entropy(logits, targets):
    """(per image, gradient)."""
    log_softmax = logits - logits.max(1, keepdims=True)
    log_softmax -= np.log(np.exp(log_softmax).sum(1, keepdims=True))
    return -(targets * log_softmax).sum(1), np.exp(log_softmax) * targets.sum(1, keepdims=True) - targets


def binary_cross_entropy(logits, targets):
    """(per image and class, gradient)."""
    probability = 1 / (1 + np.exp(-logits))
    return targets * np.logaddexp(0, -logits) + (1 - targets) * np.logaddexp(0, logits), probability - targets


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["hard", "soft"])
@pytest.mark.parametrize(("name", "reference"), [("CE", cross_entropy), ("BCE", binary_cross_entropy)])
def test_value_and_gradient(pynative, name, reference, targets, reduction):
    import mindspore as ms

    from mindcv_hrnet.loss import build_loss

    loss = build_loss(LossConfig(loss=name, reduction=reduction))
    value, gradient = ms.value_and_grad(loss)(ms.Tensor(LOGITS, ms.float32), ms.Tensor(targets, ms.float32))
    losses, slope = reference(LOGITS, targets)
    share = losses.size if reduction == "mean" else 1
    # MindSpore's LogSoftmax is good to 3e-6 on a CPU
    assert float(value) == pytest.approx(losses.sum() / share, rel=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), slope / share, atol=5e-6)


def test_uniform_logits_cost_the_logarithm_of_the_classes(pynative):
    import mindspore as ms

    from mindcv_hrnet.loss import build_loss

    logits, targets = ms.Tensor(np.zeros((4, 1000)), ms.float32), ms.Tensor(np.eye(1000)[:4], ms.float32)
    assert float(build_loss(LossConfig(loss="CE"))(logits, targets)) == pytest.approx(np.log(1000))
    assert float(build_loss(LossConfig(loss="BCE"))(logits, targets)) == pytest.approx(np.log(2))
