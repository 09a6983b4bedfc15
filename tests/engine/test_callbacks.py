"""What ends a run, and what does not."""

import logging
import math
from types import SimpleNamespace

import pytest

from mindcv_hrnet.engine.callbacks import EpochRecord, TrainLoss
from mindcv_hrnet.engine.step import Totals
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster


def after_an_epoch_without_updates(dynamic, scale):
    import mindspore as ms

    step = SimpleNamespace(
        take_totals=lambda: Totals(0.0, 0, 3), dynamic=dynamic, loss_scale=ms.Tensor(scale, ms.float32)
    )
    record = EpochRecord()
    record.epoch, record.step = 1, 3
    TrainLoss(step, None, record, Cluster(), 1).on_train_epoch_end(None)
    return record


def test_a_falling_loss_scale_may_take_an_epoch(caplog):
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        record = after_an_epoch_without_updates(dynamic=True, scale=2.0**21)
    assert caplog.messages == ["every update of epoch 1 overflowed; the loss scale falls, to 2.09715e+06"]
    assert math.isnan(record.train_loss) and record.skipped_updates == 3


@pytest.mark.parametrize(("dynamic", "scale"), [(True, 1.0), (False, 1024.0)])
def test_where_nothing_can_fall_the_run_ends(dynamic, scale):
    with pytest.raises(RunError) as error:
        after_an_epoch_without_updates(dynamic, scale)
    assert str(error.value) == "every update of epoch 1 overflowed; lower loss_scale, lr or amp_level"
