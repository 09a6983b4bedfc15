"""What ends a run and what does not, and the order of an epoch's end."""

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest

from mindcv_hrnet.engine.callbacks import EpochEnd, LossGuard, StepLog
from mindcv_hrnet.engine.epoch_end import EpochLoss, EpochRow, EpochTotals, MetricsFile
from mindcv_hrnet.engine.evaluate import Evaluation
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.totals import Totals
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster

SHAPE = RunShape(epochs=4, steps_per_epoch=3, global_batch_size=8, first_epoch=1)
ROW = EpochRow(epoch=2, step=6, learning_rate=0.5)


def step_context(step, loss=0.25):
    """What MindSpore hands to a callback after the `step`-th step of this process."""
    arguments = SimpleNamespace(cur_step_num=step, net_outputs=SimpleNamespace(asnumpy=lambda: np.float32(loss)))
    return SimpleNamespace(original_args=lambda: arguments)


def loss_of_an_epoch_without_updates(dynamic, scale):
    step = SimpleNamespace(
        totals=SimpleNamespace(take=lambda: Totals(0.0, 0, 3)),
        scale=SimpleNamespace(dynamic=dynamic, value=SimpleNamespace(asnumpy=lambda: np.float32(scale))),
    )
    return EpochLoss(step, Cluster()).take(1)


def test_a_falling_loss_scale_may_take_an_epoch(caplog):
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        totals = loss_of_an_epoch_without_updates(dynamic=True, scale=2.0**21)
    assert caplog.messages == ["every update of epoch 1 overflowed; the loss scale falls, to 2.09715e+06"]
    assert math.isnan(totals.loss) and totals.skipped == 3


@pytest.mark.parametrize(("dynamic", "scale"), [(True, 1.0), (False, 1024.0)])
def test_where_nothing_can_fall_the_run_ends(dynamic, scale):
    with pytest.raises(RunError, match="every update of epoch 1 overflowed; lower loss_scale, lr or amp_level"):
        loss_of_an_epoch_without_updates(dynamic, scale)


@pytest.mark.parametrize(("step", "loss", "ends"), [(1, math.nan, True), (2, math.inf, True), (2, 0.5, False)])
def test_a_loss_that_is_not_finite_ends_the_run(step, loss, ends):
    guard = LossGuard(SimpleNamespace(check=None), SHAPE, Cluster(), 100)
    if not ends:
        guard.on_train_step_end(step_context(step, loss))
        return
    with pytest.raises(RunError, match=f"loss is {loss} at step {step + 3}; lower lr"):
        guard.on_train_step_end(step_context(step, loss))


def epoch_end(events, row=ROW, loss=0.5, updates=3, **settings):
    """An EpochEnd whose parts note what they do."""

    def note(name, result=None):
        def part(*arguments):
            events.append((name, *arguments))
            return result

        return part

    return EpochEnd(
        SHAPE,
        SimpleNamespace(close_epoch=lambda: row),
        SimpleNamespace(take=note("measure", EpochTotals(loss, updates, 1))),
        note("agree"),
        evaluate=note("validate", Evaluation(200, 50, 100, 1.5, 10.0)),
        write=note("write"),
        save=note("save"),
        **settings,
    )


def test_the_order_of_an_epochs_end():
    events = []
    epoch_end(events).on_train_epoch_end(None)
    names = [event[0] for event in events]
    assert names == ["measure", "agree", "validate", "write", "save"]
    row = events[-1][1]
    assert (row.train_loss, row.skipped_updates, row.top1, row.top5, row.val_loss) == (0.5, 1, 25.0, 50.0, 1.5)
    assert events[-2][1] is row


@pytest.mark.parametrize(
    ("epoch", "validates", "saves"), [(1, False, False), (2, True, False), (3, False, True), (4, True, True)]
)
def test_intervals_and_the_last_epoch(epoch, validates, saves):
    events = []
    row = EpochRow(epoch=epoch, step=3 * epoch, learning_rate=0.5)
    epoch_end(events, row=row, val_interval=2, save_interval=3).on_train_epoch_end(None)
    names = [event[0] for event in events]
    assert ("validate" in names, "save" in names) == (validates, saves)
    assert "write" in names


def test_nothing_is_kept_of_an_epoch_whose_loss_is_not_finite():
    events = []
    with pytest.raises(RunError, match="loss is nan at step 6"):
        epoch_end(events, loss=math.nan).on_train_epoch_end(None)
    assert [event[0] for event in events] == ["measure"]


def test_an_epoch_without_updates_is_kept():
    events = []
    epoch_end(events, loss=math.nan, updates=0).on_train_epoch_end(None)
    assert events[-1][0] == "save" and math.isnan(events[-1][1].train_loss)


def test_the_log_counts_steps_of_the_whole_run(caplog):
    log = StepLog(SHAPE, np.linspace(0.1, 1.2, SHAPE.steps), 2, Cluster())
    log.on_train_begin(None)
    log.on_train_epoch_begin(None)
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        for step in (1, 2, 3):
            log.on_train_step_end(step_context(step))
    assert caplog.messages[0].startswith("first step, compilation included: ")
    assert [line.split("  ")[:4] for line in caplog.messages[1:]] == [
        ["epoch 2/4", "step 2/3", "loss 0.2500", "lr 0.5"],
        ["epoch 2/4", "step 3/3", "loss 0.2500", "lr 0.6"],
    ]
    row = log.close_epoch()
    assert (row.epoch, row.step, row.learning_rate) == (2, 6, pytest.approx(0.6))
    assert row.images_per_second == pytest.approx(2 * 8 / row.seconds)


def test_metrics_of_a_resumed_run(tmp_path):
    path = tmp_path / "metrics.csv"
    for first_epoch, epochs in ((0, (1, 2, 3)), (2, (3,))):
        file = MetricsFile(path, first_epoch)
        for epoch in epochs:
            file.append(EpochRow(epoch=epoch, step=3 * epoch, learning_rate=0.1, train_loss=1.0 + first_epoch))
    lines = path.read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss,skipped_updates,images_per_second,seconds,top1")
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["1", "3", "0.1", "1"],
        ["2", "6", "0.1", "1"],
        ["3", "9", "0.1", "3"],
    ]
    assert lines[-1].endswith(",,,")
