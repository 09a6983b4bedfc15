"""What an epoch adds up to."""

import pytest

from mindcv_hrnet.engine.totals import RunningTotals


def test_counted_until_taken(pynative):
    import mindspore as ms

    totals = RunningTotals()
    counts = [int(totals.add(ms.Tensor(loss, ms.float32))) for loss in (1.5, 2.0)] + [int(totals.skip())]
    assert counts == [1, 2, 1]
    assert totals.take() == (pytest.approx(3.5), 2, 1)
    assert totals.take() == (0.0, 0, 0)
    assert sorted(totals.parameters_dict()) == ["loss_sum", "skipped_updates", "updates"]
