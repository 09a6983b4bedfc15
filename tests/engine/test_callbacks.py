"""What ends a run and what does not, and the order of an epoch's end."""

import logging
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from step_contexts import step_context

from mindcv_hrnet.engine.callbacks import EpochEnd, LossGuard
from mindcv_hrnet.engine.epoch_end import EpochMeasure, EpochTotals, MetricsFile
from mindcv_hrnet.engine.evaluate import Evaluation
from mindcv_hrnet.engine.rows import EpochRow
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.totals import Totals
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.runtime.distributed import Cluster

SHAPE = RunShape(epochs=4, steps_per_epoch=3, global_batch_size=8, first_step=3)
ROW = EpochRow(epoch=2, step=6, learning_rate=0.5)


def loss_of_an_epoch_without_updates(dynamic, scale):
    step = SimpleNamespace(
        totals=SimpleNamespace(take=lambda: Totals(0.0, 0, 3, 1.5)),
        scale=SimpleNamespace(dynamic=dynamic, value=SimpleNamespace(asnumpy=lambda: scale)),
    )
    return EpochMeasure(step, Cluster(), steps=3).take(1)


def test_a_falling_loss_scale_may_take_an_epoch(caplog):
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        totals = loss_of_an_epoch_without_updates(dynamic=True, scale=2.0**21)
    assert caplog.messages == ["every update of epoch 1 overflowed; the loss scale falls, to 2.09715e+06"]
    assert math.isnan(totals.loss) and (totals.skipped, totals.top1) == (3, 50.0)


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


def guarded_losses(losses, patience, skips=True):
    guard = LossGuard(SimpleNamespace(check="a check" if skips else None), SHAPE, Cluster(), 100, patience)
    for number, loss in enumerate(losses, start=1):
        guard.on_train_step_end(step_context(number, loss))
    return guard.in_a_row


def test_patience_counts_losses_in_a_row(caplog):
    nan = math.nan
    assert guarded_losses([nan, nan, 0.5, nan], patience=2) == 1
    told = ((4, 1), (5, 2), (7, 1))
    assert caplog.messages == [f"loss is nan at step {n}, {row} in a row; its update is skipped" for n, row in told]
    with pytest.raises(RunError, match="loss is nan at step 6"):
        guarded_losses([nan, nan, nan], patience=2)
    assert guarded_losses([nan] * 5, patience=0) == 0  # the epoch's end judges


def epoch_end(events, row=ROW, loss=0.5, updates=3, **settings):
    """An EpochEnd whose parts note what they do."""

    def note(name, result=None):
        def part(*arguments, **keywords):
            events.append((name, *arguments, keywords))
            return result

        return part

    return EpochEnd(
        SHAPE,
        SimpleNamespace(close_epoch=lambda: row, begin_epoch=note("begin")),
        SimpleNamespace(take=note("measure", EpochTotals(loss, updates, 1, 62.5))),
        note("agree"),
        SimpleNamespace(end_epoch=note("save"), score=note("score"), row_of=lambda epoch, step: row),
        evaluate=note("validate", Evaluation(200, 50, 100, 1.5, 10.0)),
        keep=note("keep"),
        **settings,
    )


def test_the_order_of_an_epochs_end():
    events = []
    epoch_end(events).on_train_step_end(step_context(3))
    assert [event[0] for event in events] == ["measure", "agree", "save", "validate", "keep", "score", "begin"]
    saved, scored = events[2][1], events[5][1]
    assert (saved.train_loss, saved.train_top1, saved.skipped_updates, saved.top1) == (0.5, 62.5, 1, None)
    assert events[2][2] == {"saves": True, "validation_due": True}
    assert (scored.train_loss, scored.top1, scored.top5, scored.val_loss) == (0.5, 25.0, 50.0, 1.5)
    assert events[4][1] == scored


def test_within_an_epoch_nothing_ends():
    events = []
    for step in (1, 2, 4):
        epoch_end(events).on_train_step_end(step_context(step))
    assert events == []


@pytest.mark.parametrize(
    ("epoch", "validates", "saves"), [(1, False, False), (2, True, False), (3, False, True), (4, True, True)]
)
def test_intervals_and_the_last_epoch(epoch, validates, saves):
    events = []
    row = EpochRow(epoch=epoch, step=3 * epoch, learning_rate=0.5)
    epoch_end(events, row=row, val_interval=2, save_interval=3).on_train_step_end(step_context(3 * epoch - 3))
    names = [event[0] for event in events]
    assert ("validate" in names, "begin" in names, names.count("keep")) == (validates, epoch < 4, 1)
    assert events[names.index("save")][2] == {"saves": saves, "validation_due": validates}


@pytest.mark.parametrize(("share", "tells"), [(3.4, False), (12.0, True)])
def test_the_line_of_an_epoch_says_what_the_device_has_waited_for(caplog, share, tells):
    row = replace(ROW, images_per_second=81.6, seconds=50.0, data_wait=share)
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        epoch_end([], row=row, advice="pack it").on_train_step_end(step_context(3))
    line = f"waited {share / 2:.1f} s for data ({share:.0f} %)" + tells * ": the host is the bottleneck, pack it"
    assert caplog.messages[0] == f"epoch 2/4  train loss 0.5000  train top-1 62.50 %  82 images/s  {line}"
    told, validated = (record.event for record in caplog.records)
    assert (told["kind"], told["train_top1"], told["data_wait"]) == ("epoch", 62.5, share)
    assert (validated["kind"], validated["step"], validated["top1"], validated["images"]) == (
        "validation",
        6,
        25.0,
        200,
    )


def test_an_epoch_that_was_not_validated_any_more_is_validated_late():
    events = []
    epoch_end(events).validate_late(SimpleNamespace(epoch=2, step=6))
    assert [event[0] for event in events] == ["validate", "keep", "score"] and events[1][1].top1 == 25.0


def test_nothing_is_kept_of_an_epoch_whose_loss_is_not_finite():
    events = []
    with pytest.raises(RunError, match="loss is nan at step 6"):
        epoch_end(events, loss=math.nan).on_train_step_end(step_context(3))
    assert [event[0] for event in events] == ["measure"]


def test_an_epoch_without_updates_is_kept():
    events = []
    epoch_end(events, loss=math.nan, updates=0).on_train_step_end(step_context(3))
    (saved,) = [event[1] for event in events if event[0] == "save"]
    assert math.isnan(saved.train_loss)


def test_metrics_of_a_resumed_run(tmp_path):
    path = tmp_path / "metrics.csv"
    for first_epoch, epochs in ((0, (1, 2, 3)), (2, (3,))):
        file = MetricsFile(path, first_epoch)
        for epoch in epochs:
            file.put(EpochRow(epoch=epoch, step=3 * epoch, learning_rate=0.1, train_loss=1.0 + first_epoch))
            path.write_text(file.text())
    lines = path.read_text().splitlines()
    assert lines[0].startswith("epoch,step,learning_rate,train_loss,skipped_updates,images_per_second,seconds,top1")
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["1", "3", "0.1", "1"],
        ["2", "6", "0.1", "1"],
        ["3", "9", "0.1", "3"],
    ]
    assert lines[-1].endswith(",,,,,")


def test_a_row_that_is_read_back_is_the_same_text(tmp_path):
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path, 0)
    file.put(EpochRow(epoch=1, step=3, learning_rate=1 / 3, train_loss=2 / 3, seconds=1e-7, top1=None))
    path.write_text(file.text())
    again = MetricsFile(path, 1)
    again.put(again.row(1))
    assert again.text() == file.text() and again.row(2) is None


@pytest.mark.parametrize("text", ["epoch,step\nx,3\n", "epoch\n1\n", "a,b\n1,2\n"])
def test_metrics_that_are_none(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(RunError, match=r"metrics.csv: not the metrics of a run \(.*\); remove the file"):
        MetricsFile(tmp_path / "metrics.csv", 1)
