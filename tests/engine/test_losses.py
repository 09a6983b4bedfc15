"""Losses and their gradients against NumPy in float64."""

import numpy as np
import pytest

from mindcv_hrnet.recipe.keys import LossConfig

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
def test_value_and_gradient(pynative, name, reference, targets, reduction, measured):
    import mindspore as ms

    from mindcv_hrnet.engine.losses import build_loss

    loss = build_loss(LossConfig(loss=name, reduction=reduction))
    value, gradient = ms.value_and_grad(loss)(ms.Tensor(LOGITS, ms.float32), ms.Tensor(targets, ms.float32))
    losses, slope = reference(LOGITS, targets)
    share = losses.size if reduction == "mean" else 1
    measured(f"loss {name}", value, losses.sum() / share, relative=True)
    measured(f"gradient of {name}", gradient, slope / share)
    # MindSpore's LogSoftmax is good to 3e-6 on a CPU
    assert float(value) == pytest.approx(losses.sum() / share, rel=1e-6)
    np.testing.assert_allclose(gradient.asnumpy(), slope / share, atol=5e-6)


def single_label_asymmetric(logits, labels, smoothing):
    """Ben-Baruch et al., ASLSingleLabel (gamma_pos 1, gamma_neg 4), per image, from class numbers."""
    log_p = -cross_entropy_terms(logits)
    p, there = np.exp(log_p), np.eye(logits.shape[1])[labels]
    weights = (1 - p * there - (1 - p) * (1 - there)) ** (there + 4 * (1 - there))
    targets = there * (1 - smoothing) + smoothing / logits.shape[1]
    return -(targets * log_p * weights).sum(1)


def multi_label_asymmetric(logits, targets):
    """Ben-Baruch et al., AsymmetricLoss (gamma_neg 4, gamma_pos 1, clip 0.05), per image."""
    p = 1 / (1 + np.exp(-logits))
    not_p = np.minimum(1 - p + 0.05, 1)
    losses = targets * np.log(np.maximum(p, 1e-8)) + (1 - targets) * np.log(np.maximum(not_p, 1e-8))
    return -(losses * (1 - p * targets - not_p * (1 - targets)) ** (targets + 4 * (1 - targets))).sum(1)


def jensen_shannon(logits, targets):
    """Hendrycks et al.: mean cross entropy of the first view + 12 * mean KL of three views to their mixture."""
    count = len(logits) // 3
    log_p = -cross_entropy_terms(logits).reshape(3, count, -1)
    mixture = np.log(np.clip(np.exp(log_p).mean(0), 1e-7, 1))
    divergences = [(np.exp(view) * (view - mixture)).sum() / count for view in log_p]
    return -(targets[:count] * log_p[0]).sum(1), 12 * sum(divergences) / 3


def cross_entropy_terms(logits):
    return (
        np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits
        + logits.max(1, keepdims=True)
    )


def slope_of(value, logits):
    """Central differences in float64."""
    slope = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        slope[place] = (value(up) - value(down)) / 2e-5
    return slope


OTHER = np.random.default_rng(3).standard_normal((6, 4)) * 2
LABELS = np.array([0, 3, 2, 2, 1, 0])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["asl_single_label", "asl_single_label-0.1", "asl_multi_label", "JSD", "JSD-0.1"])
def test_asymmetric_and_jensen_shannon(pynative, name, reduction, measured):
    import mindspore as ms

    from mindcv_hrnet.engine.losses import build_loss

    name, _, smoothing = name.partition("-")
    smoothing = float(smoothing or 0)
    labels = np.tile(LABELS[:2], 3) if name == "JSD" else LABELS
    targets = np.eye(4)[labels] * (1 - smoothing) + smoothing / 4

    def reference(logits):
        constant = 0.0
        if name == "JSD":
            losses, constant = jensen_shannon(logits, targets)
        elif name == "asl_multi_label":
            losses = multi_label_asymmetric(logits, targets)
        else:
            losses = single_label_asymmetric(logits, labels, smoothing)
        return (losses.mean() if reduction == "mean" else losses.sum()) + constant

    loss = build_loss(LossConfig(loss=name, reduction=reduction, label_smoothing=smoothing))
    value, gradient = ms.value_and_grad(loss)(ms.Tensor(OTHER, ms.float32), ms.Tensor(targets, ms.float32))
    measured(f"loss {name}", value, reference(OTHER), relative=True)
    measured(f"gradient of {name}", gradient, slope_of(reference, OTHER))
    assert float(value) == pytest.approx(reference(OTHER), rel=1e-5)
    np.testing.assert_allclose(gradient.asnumpy(), slope_of(reference, OTHER), atol=1e-5)


def test_soft_targets_of_the_multi_label_loss_blend_the_hard_ones(pynative):
    import mindspore as ms

    from mindcv_hrnet.engine.losses import build_loss

    hard, other = np.eye(4)[LABELS], np.eye(4)[LABELS[::-1]]
    loss = build_loss(LossConfig(loss="asl_multi_label"))
    found = float(loss(ms.Tensor(OTHER, ms.float32), ms.Tensor(0.3 * hard + 0.7 * other, ms.float32)))
    expected = [multi_label_asymmetric(OTHER, targets).mean() for targets in (hard, other)]
    assert found == pytest.approx(0.3 * expected[0] + 0.7 * expected[1], rel=1e-5)


@pytest.mark.parametrize("name", ["asl_single_label", "asl_multi_label", "JSD"])
def test_far_logits_have_finite_gradients(pynative, name):
    import mindspore as ms

    from mindcv_hrnet.engine.losses import build_loss

    logits = ms.Tensor(np.array([[200.0, -200, 0], [0, 0, 0], [-90, 90, 0]]), ms.float32)
    targets = ms.Tensor([[1, 0, 0], [0.5, 0.2, 0.3], [1, 0, 0]], ms.float32)
    value, gradient = ms.value_and_grad(build_loss(LossConfig(loss=name)))(logits, targets)
    assert np.isfinite(value.asnumpy()) and np.isfinite(gradient.asnumpy()).all()


def test_uniform_logits_cost_the_logarithm_of_the_classes(pynative):
    import mindspore as ms

    from mindcv_hrnet.engine.losses import build_loss

    logits, targets = ms.Tensor(np.zeros((4, 1000)), ms.float32), ms.Tensor(np.eye(1000)[:4], ms.float32)
    assert float(build_loss(LossConfig(loss="CE"))(logits, targets)) == pytest.approx(np.log(1000))
    assert float(build_loss(LossConfig(loss="BCE"))(logits, targets)) == pytest.approx(np.log(2))
