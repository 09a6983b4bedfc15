"""One update: loss scale, overflow, clipping and totals, in PyNative and in graph mode."""

import numpy as np
import pytest

from mindcv_hrnet.engine import loss_scale


@pytest.fixture(params=["pynative", pytest.param("graph", marks=pytest.mark.slow)], autouse=True)
def mode(request, pynative):
    import mindspore as ms

    ms.set_context(mode=ms.PYNATIVE_MODE if request.param == "pynative" else ms.GRAPH_MODE)


def weights_of(step):
    return {parameter.name: parameter.asnumpy().copy() for parameter in step.trainable}


def scale_of(step):
    return float(step.scale.value.asnumpy())


def reference(weights, inputs):
    """(mean cross entropy, gradients) of the linear network."""
    images, targets = inputs[0].asnumpy().astype(np.float64), inputs[1].asnumpy()
    logits = images @ weights["weight"] + weights["bias"]
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    slope = (softmax - targets) / len(images)
    loss = -(targets * np.log(softmax)).sum(1).mean()
    return loss, {"weight": images.T @ slope, "bias": slope.sum(0)}


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"loss_scale": 1024.0},
        {"loss_scale": 1024.0, "drop_overflow_update": True},
        {"loss_scale": 1024.0, "loss_scale_type": "dynamic"},
        {"loss_scale": 0.25, "loss_scale_type": "auto"},
    ],
    ids=repr,
)
def test_the_loss_scale_changes_neither_loss_nor_update(linear_step, linear_batch, loss):
    step = linear_step(loss=loss, rates=[0.5, 0.25, 0.125])
    expected, losses = weights_of(step), []
    for seed, rate in enumerate((0.5, 0.25, 0.125)):
        inputs = linear_batch(seed)
        value, gradients = reference(expected, inputs)
        expected = {name: expected[name] - rate * gradients[name] for name in expected}
        losses.append(value)
        assert float(step(*inputs).asnumpy()) == pytest.approx(value, abs=1e-5)
    for name, weight in weights_of(step).items():
        np.testing.assert_allclose(weight, expected[name], atol=1e-5)
    assert step.totals.take()[:3] == (pytest.approx(sum(losses), abs=3e-5), 3, 0)
    assert step.totals.take() == (0.0, 0, 0, 0.0)


@pytest.mark.parametrize(
    ("loss", "scale_after"),
    [
        ({"loss_scale": 8.0, "loss_scale_type": "dynamic"}, 2.0),
        ({"loss_scale": 8.0, "drop_overflow_update": True}, 8.0),
        ({"loss_scale": 1.5, "loss_scale_type": "dynamic"}, 1.0),
    ],
    ids=repr,
)
def test_overflow_skips_the_update_and_counts_it(linear_step, linear_batch, loss, scale_after):
    step = linear_step(loss=loss)
    before = weights_of(step)
    for _ in range(2):
        step(*linear_batch())
    assert all((before[name] == weight).all() for name, weight in weights_of(step).items())
    assert scale_of(step) == scale_after

    inputs = linear_batch(3)
    value, gradients = reference(before, inputs)
    step(*inputs)
    np.testing.assert_allclose(weights_of(step)["weight"], before["weight"] - gradients["weight"], atol=1e-5)
    assert step.totals.take()[:3] == (pytest.approx(value, abs=1e-5), 1, 2)
    assert step.totals.take() == (0.0, 0, 0, 0.0)


def test_overflow_without_any_guard_reaches_the_weights(linear_step, linear_batch):
    step = linear_step(loss={"loss_scale": 8.0})
    step(*linear_batch())
    assert not np.isfinite(weights_of(step)["weight"]).all()


def test_dynamic_scale_doubles_after_good_steps_in_a_row(linear_step, linear_batch, monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 3)
    monkeypatch.setattr(loss_scale, "LARGEST_SCALE", 32.0)
    step = linear_step(loss={"loss_scale": 8.0, "loss_scale_type": "dynamic"}, rates=[0.1] * 20)
    scales = []
    for seed in (0, 1, 2, 3, None, 4, 5, 6, 0, 1, 2, 3, 4, 5):
        step(*linear_batch(seed))
        scales.append(scale_of(step))
    assert scales == [8, 8, 16, 16, 8, 8, 8, 16, 16, 16, 32, 32, 32, 32]
    assert step.totals.take().skipped == 1


@pytest.mark.parametrize("loss_scale", [1.0, 1024.0])
@pytest.mark.parametrize("limit", [0.05, 100.0])
def test_clipping_is_by_the_global_norm_of_the_unscaled_gradients(linear_step, linear_batch, limit, loss_scale):
    step = linear_step(loss={"loss_scale": loss_scale}, train={"clip_grad": True, "clip_value": limit})
    before, inputs = weights_of(step), linear_batch(7)
    _, gradients = reference(before, inputs)
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    assert 0.05 < norm < 100
    step(*inputs)
    for name, weight in weights_of(step).items():
        np.testing.assert_allclose(weight, before[name] - gradients[name] * min(1, limit / norm), atol=1e-5)
    assert step.totals.gradient_norm.asnumpy().item() == pytest.approx(norm, rel=1e-5)  # before clipping


def test_right_answers_are_counted_before_the_update(linear_step, linear_batch):
    step, shares = linear_step(rates=[0.5, 0.25]), []
    for seed in (0, 1):
        inputs, weights = linear_batch(seed), weights_of(step)
        logits = inputs[0].asnumpy() @ weights["weight"] + weights["bias"]
        shares.append(np.mean(logits.argmax(1) == inputs[1].asnumpy().argmax(1)))
        step(*inputs)
    assert step.totals.take().accuracy_sum == pytest.approx(sum(shares)) and sum(shares) > 0


def halves(inputs):
    """A batch as two batches."""
    return zip(*((part[:3], part[3:]) for part in inputs), strict=True)


@pytest.mark.parametrize(
    "train", [{}, {"clip_grad": True, "clip_value": 0.05}, {"ema": True, "ema_decay": 0.9}], ids=repr
)
@pytest.mark.parametrize("loss", [{}, {"loss_scale": 1024.0, "loss_scale_type": "dynamic"}], ids=repr)
def test_accumulated_halves_equal_the_whole_batch(linear_step, linear_batch, train, loss, measured):
    settings = {"loss": loss, "optimizer": {"momentum": 0.9, "weight_decay": 0.01}, "rates": [0.5, 0.25, 0.125]}
    whole = linear_step(train=train, **settings)
    parts = linear_step(train={**train, "gradient_accumulation_steps": 2}, **settings)
    for seed in range(3):
        inputs = linear_batch(seed)
        whole(*inputs)
        for half in halves(inputs):
            before = weights_of(parts)
            parts(*half)
        # the first of the halves has changed nothing
        assert all((before[name] != weight).any() for name, weight in weights_of(parts).items())
        for name, weight in whole.weights().items():
            measured("accumulated steps", parts.weights()[name], weight)
            np.testing.assert_allclose(parts.weights()[name].asnumpy(), weight.asnumpy(), atol=1e-6)
    of_parts, of_whole = parts.totals.take(), whole.totals.take()
    assert of_parts[:3] == (pytest.approx(of_whole.loss_sum, abs=1e-5), 3, 0)
    # two shares for one
    assert of_parts.accuracy_sum / 2 == pytest.approx(of_whole.accuracy_sum)


def test_an_overflow_spoils_its_own_update_only(linear_step, linear_batch):
    settings = {"loss": {"loss_scale": 8.0, "loss_scale_type": "dynamic"}, "rates": [0.5] * 9}
    parts = linear_step(train={"gradient_accumulation_steps": 2, "ema": True}, **settings)
    before = weights_of(parts)
    for inputs in (linear_batch(), linear_batch(1)):
        parts(*inputs)
    assert all((before[name] == weight).all() for name, weight in weights_of(parts).items())
    assert scale_of(parts) == 4
    whole = linear_step(**settings)
    whole(*linear_batch(2))
    for half in halves(linear_batch(2)):
        parts(*half)
    for name, weight in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(parts)[name], weight, atol=1e-6)
    assert parts.totals.take()[1:3] == (1, 1) and parts.ema.updates.asnumpy() == 1


def test_the_moving_average_follows_once_per_update(linear_step, linear_batch, measured):
    step = linear_step(train={"ema": True, "ema_decay": 0.9}, rates=[0.5] * 9)
    expected = weights_of(step)
    for update in range(1, 4):
        step(*linear_batch(update))
        decay = 0.9 * (1 - np.exp(-update / 2000))
        expected = {name: decay * expected[name] + (1 - decay) * value for name, value in weights_of(step).items()}
    raw = weights_of(step)
    for name, average in step.weights().items():
        measured("moving average", average, expected[name])
        np.testing.assert_allclose(average.asnumpy(), expected[name], atol=1e-7)
        assert np.abs(raw[name] - expected[name]).max() > 1e-4
    images = linear_batch(0)[0]
    logits = images.asnumpy() @ expected["weight"] + expected["bias"]
    np.testing.assert_allclose(step.validated(images).asnumpy(), logits, atol=1e-5)
    assert all((raw[name] == weight).all() for name, weight in weights_of(step).items())
    assert "ema.weight" in step.parameters_dict() and "ema_updates" in step.parameters_dict()


@pytest.mark.parametrize("train", [{}, {"gradient_accumulation_steps": 2}], ids=repr)
def test_epochs_go_on_after_totals_and_validation(linear_step, linear_batch, train):
    """What Python writes between two epochs must reach the compiled branches, and what they write must come back."""
    settings = {"loss": {"loss_scale": 8.0, "loss_scale_type": "dynamic"}, "optimizer": {"momentum": 0.9}}
    train = {**train, "ema": True, "ema_decay": 0.9}
    steps = [linear_step(train=train, rates=[0.1] * 20, **settings) for _ in range(2)]
    totals = []
    for epoch in range(3):
        for step in steps:
            for seed in range(4):
                step(*linear_batch(4 * epoch + seed))
        totals.append(steps[0].totals.take().updates)
        steps[0].validated(linear_batch(0)[0])
        for name, value in weights_of(steps[1]).items():
            np.testing.assert_array_equal(weights_of(steps[0])[name], value)
            np.testing.assert_array_equal(steps[0].weights()[name].asnumpy(), steps[1].weights()[name].asnumpy())
    assert totals == [4 // train.get("gradient_accumulation_steps", 1)] * 3
    assert steps[1].totals.take().updates == sum(totals)
