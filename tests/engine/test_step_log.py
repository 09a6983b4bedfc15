"""What a run says after its steps: lines, rows, the bar; and how long it has waited for data."""

import json
import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest
from step_contexts import step_context
from terminals import Screen, terminal

from mindcv_hrnet.cli import set_up_logging
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.step_log import DataWait, Gauges, StepLog
from mindcv_hrnet.runtime.distributed import Cluster

SHAPE = RunShape(epochs=4, steps_per_epoch=3, global_batch_size=8, first_step=3)
RATES = np.linspace(0.1, 1.2, SHAPE.steps)


@pytest.fixture
def quiet():
    """The package's logger as it was, once the test is over."""
    logger = logging.getLogger("mindcv_hrnet")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


class Readings:
    """Gauges of an epoch in which every second answer is right."""

    loss_scale, gradient_norm, memory_gib = 1024.0, None, None
    accuracy_sum = 0.0


def step_log(shape=SHAPE, interval=2, **settings):
    rows, gauges = [], Readings()
    log = StepLog(shape, RATES, interval, Cluster(), gauges, DataWait(lambda: 0.0), keep=rows.append, **settings)
    log.on_train_begin(None)

    def run(*steps):
        for step in steps:
            gauges.accuracy_sum += 0.5
            log.on_train_step_end(step_context(step))

    return log, rows, run


def test_the_log_counts_steps_of_the_whole_run(caplog):
    log, rows, run = step_log()
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        run(1, 2, 3)
    assert caplog.messages[0].startswith("first step, compilation included: ")
    assert [line.split("  ")[:5] for line in caplog.messages[1:]] == [
        ["epoch 2/4", "step 2/3", "loss 0.2500", "lr 0.5", "top-1 50.00 %"],
        ["epoch 2/4", "step 3/3", "loss 0.2500", "lr 0.6", "top-1 50.00 %"],
    ]
    assert " images/s  data wait 0 %  left 0:00:0" in caplog.messages[1]
    assert [(row.epoch, row.step, row.loss, row.top1, row.loss_scale) for row in rows] == [
        (2, 5, 0.25, 50.0, 1024.0),
        (2, 6, 0.25, 50.0, 1024.0),
    ]
    told = caplog.records[1].event
    assert (told["kind"], told["step"], told["gradient_norm"], round(told["learning_rate"], 6)) == (
        "step",
        5,
        None,
        0.5,
    )
    row = log.close_epoch()
    assert (row.epoch, row.step, row.learning_rate) == (2, 6, pytest.approx(0.6))
    assert row.images_per_second == pytest.approx(2 * 8 / row.seconds, rel=1e-2)


def test_a_line_for_the_step_that_compiles_has_no_pace(caplog):
    _, rows, run = step_log(interval=1)
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        run(1)
    assert caplog.messages[1] == "epoch 2/4  step 1/3  loss 0.2500  lr 0.4  top-1 50.00 %"
    assert (rows[0].images_per_second, rows[0].data_wait) == (None, None)


def test_seconds_of_an_epoch_that_an_earlier_process_began():
    log, _, run = step_log(RunShape(4, 3, 8, first_step=4), seconds_before=100.0)
    run(1, 2)
    row = log.close_epoch()
    assert 100 < row.seconds < 101 and row.images_per_second > 8
    log.begin_epoch()
    assert log.seconds < 1


def test_waiting_is_what_passes_between_the_end_of_a_step_and_the_next_batch():
    wait = DataWait()
    wait.on_train_begin(None)
    for _ in range(2):
        time.sleep(0.03)
        wait.on_train_step_begin(None)
        time.sleep(0.1)  # the step
        wait.on_train_step_end(None)
    assert 0.06 <= wait.seconds < 0.1
    log = StepLog(SHAPE, RATES, 2, Cluster(), Readings(), SimpleNamespace(seconds=0.0))
    log.on_train_begin(None)
    log.on_train_step_end(step_context(1))
    time.sleep(0.02)
    log.data_wait.seconds += 0.01
    log.on_train_step_end(step_context(2))
    log.on_train_step_end(step_context(3))
    assert 25 < log.close_epoch().data_wait <= 50


@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal_an_epoch_has_a_bar_and_its_lines_stand_above_it(monkeypatch, quiet, columns):
    with terminal(monkeypatch, columns) as written:
        set_up_logging()
        log, _, run = step_log(interval=3)
        compiling = Screen(written())[-1]
        run(1, 2)
        log.bar.refresh()
        drawn = Screen(written())[-1]
        run(3)
        log.close_epoch()
        lines = Screen(written())
    assert compiling.startswith("epoch 2/4 ") and compiling.endswith("0/3  the first step compiles")
    assert drawn.startswith("epoch 2/4 █") and len(drawn) < columns
    assert (
        "2/3  loss 0.2500" in drawn and " data 0 %  left 0:0" in drawn and ("top-1 50.0 %" in drawn) == (columns > 80)
    )
    assert [line.split(":")[0] if "first" in line else line.split("  ")[1] for line in lines[:-1]] == [
        "first step, compilation included",
        "step 3/3",
    ]
    assert lines[-1] == ""


def test_for_machines_each_line_is_an_object(quiet, capsys):
    set_up_logging("json")
    _, _, run = step_log(interval=1)
    run(1, 2)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["kind"] for each in told] == ["notice", "step", "step"]
    assert told[0]["message"].startswith("first step, compilation included")
    assert (told[2]["step"], told[2]["top1"], told[2]["device_memory_gib"]) == (5, 50.0, None)
    assert told[1]["images_per_second"] is None and told[2]["images_per_second"] > 0


def test_a_device_tells_its_memory_and_a_cpu_does_not(monkeypatch):
    monkeypatch.setattr("mindspore.runtime.max_memory_allocated", lambda: 3 * 2**29)
    step = SimpleNamespace(clip=None)
    assert Gauges(step, Cluster(device="Ascend")).memory_gib == 1.5
    assert (Gauges(step, Cluster(device="CPU")).memory_gib, Gauges(step, Cluster()).gradient_norm) == (None, None)
