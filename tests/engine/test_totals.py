"""What an epoch adds up to."""

import pytest

from mindcv_hrnet.engine.totals import RunningTotals


def test_counted_until_taken(pynative):
    import mindspore as ms

    totals = RunningTotals()
    counts = [int(totals.add(ms.Tensor(loss, ms.float32))) for loss in (1.5, 2.0)] + [int(totals.skip())]
    answered = [float(totals.answer(ms.Tensor(share, ms.float32))) for share in (0.25, 0.5)]
    assert counts == [1, 2, 1] and answered == [0.25, 0.75]
    assert totals.take() == (pytest.approx(3.5), 2, 1, 0.75)
    assert totals.take() == (0.0, 0, 0, 0.0)
    assert sorted(totals.parameters_dict()) == [
        "accuracy_sum",
        "gradient_norm",
        "loss_sum",
        "skipped_updates",
        "updates",
    ]
