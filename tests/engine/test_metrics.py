"""Exact counts against a NumPy ranking, with ties, NaN, padding and few classes."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("pynative")


def count(logits, labels, valid=None):
    import mindspore as ms

    from mindcv_hrnet.engine.metrics import BatchCounts

    valid = np.ones(len(labels)) if valid is None else valid
    counts = BatchCounts()(
        ms.Tensor(logits, ms.float32), ms.Tensor(labels, ms.int32), ms.Tensor(np.asarray(valid), ms.float32)
    )
    assert counts.dtype == ms.float32
    return counts.asnumpy().tolist()


def reference(logits, labels, valid):
    """Ranks by a stable sort: among equal logits the lower class number comes first, as with argmax."""
    order = np.argsort(-logits, axis=1, kind="stable")
    place = (order == labels[:, None]).argmax(1)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return [(valid * (place < 1)).sum(), (valid * (place < 5)).sum(), (valid * losses).sum()]


@pytest.mark.parametrize("classes", [2, 5, 6, 40])
def test_random_logits_with_many_ties_and_padding(classes):
    generator = np.random.default_rng(classes)
    logits = generator.integers(-3, 4, (200, classes)).astype(np.float64)
    labels, valid = generator.integers(0, classes, 200), generator.integers(0, 2, 200)
    top1, top5, loss = count(logits, labels, valid)
    expected = reference(logits, labels, valid)
    assert [top1, top5] == expected[:2]
    assert loss == pytest.approx(expected[2], rel=1e-5)
    assert 0 < top1 < valid.sum()


def test_all_equal_logits_count_for_the_first_classes_only():
    logits, labels = np.zeros((7, 7)), np.arange(7)
    assert count(logits, labels) == [1, 5, pytest.approx(7 * np.log(7))]


@pytest.mark.parametrize("where", ["label", "other", "all"])
def test_a_row_with_nan_is_wrong(where):
    row = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    row[{"label": 0, "other": 3, "all": slice(None)}[where]] = np.nan
    good = np.array([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    top1, top5, loss = count(np.stack([row, good]), np.array([0, 0]))
    assert (top1, top5) == (1, 1) and np.isnan(loss)


def test_padding_counts_nowhere():
    logits, labels = np.array([[5.0, 0.0], [5.0, 0.0], [0.0, 5.0]]), np.array([0, 0, 0])
    assert count(logits, labels, [1, 0, 0]) == [1, 1, pytest.approx(np.log1p(np.exp(-5)), abs=3e-6)]
    assert count(logits, labels, [0, 0, 0]) == [0, 0, 0]


def test_half_precision_logits_are_counted_in_float32():
    import mindspore as ms

    from mindcv_hrnet.engine.metrics import BatchCounts

    logits = ms.Tensor(np.tile([[8.0, 0.0]], (3000, 1)), ms.float16)
    labels, valid = ms.Tensor(np.zeros(3000), ms.int32), ms.Tensor(np.ones(3000), ms.float32)
    # float16 counts to 2048 only
    assert BatchCounts()(logits, labels, valid).asnumpy()[0] == 3000


def accuracy(logits, targets, smoothing=0.0):
    import mindspore as ms

    from mindcv_hrnet.engine.metrics import TrainingAccuracy

    return float(TrainingAccuracy(smoothing)(ms.Tensor(logits, ms.float32), ms.Tensor(targets, ms.float32)))


@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_training_answers_are_compared_with_what_most_of_the_image_shows(classes, smoothing):
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(200, classes))
    own, partner = generator.integers(0, classes, (2, 200))
    share = generator.choice([0.1, 0.4, 0.6, 1.0], 200)[:, None]
    one_hot = np.eye(classes) * (1 - smoothing) + smoothing / classes
    targets = share * one_hot[own] + (1 - share) * one_hot[partner]
    shown = np.where(share[:, 0] > 0.5, own, partner)
    assert accuracy(logits, targets, smoothing) == pytest.approx(np.mean(logits.argmax(1) == shown))


def test_halves_ties_and_numbers_that_are_none_are_wrong():
    certain, half = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]
    rows = [
        ([3.0, 2.0, 1.0], certain, True),
        ([3.0, 3.0, 1.0], certain, False),
        ([np.nan, 2.0, 1.0], certain, False),
        ([3.0, np.nan, 1.0], certain, False),
        ([-3.0, -2.0, -4.0], half, False),
        ([3.0, 2.0, 1.0], half, False),
    ]
    for logits, targets, right in rows:
        assert accuracy([logits], [targets]) == right
