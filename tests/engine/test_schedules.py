"""Learning rates at given steps, against closed forms written down here again, one step at a time."""

import math
from dataclasses import replace

import numpy as np
import pytest
from repository import ROOT

from mindcv_hrnet.engine.schedules import build_schedule
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.recipe.keys import SchedulerConfig

RECIPE = ROOT / "configs/hrnet/hrnet_w32_ascend.yaml"
COSINE = SchedulerConfig(scheduler="cosine_decay", lr=0.4, min_lr=0.04, warmup_epochs=2, decay_epochs=6)
STEP = SchedulerConfig(scheduler="step_decay", lr=0.4, warmup_epochs=2, decay_epochs=3, decay_rate=0.5)
MULTI = SchedulerConfig(
    scheduler="multi_step_decay", lr=0.4, warmup_epochs=2, decay_rate=0.1, multi_step_decay_milestones=(1, 4)
)
CONSTANT = SchedulerConfig(scheduler="constant", lr=0.4, warmup_epochs=2)
EXPONENTIAL = SchedulerConfig(scheduler="exponential_decay", lr=0.4, warmup_epochs=2, decay_rate=0.5)
POLYNOMIAL = SchedulerConfig(scheduler="polynomial_decay", lr=0.4, warmup_epochs=2, decay_rate=2.0)
ONE_CYCLE = SchedulerConfig(scheduler="one_cycle", lr=0.4, min_lr=0.002, warmup_epochs=0)
CYCLIC = SchedulerConfig(scheduler="cyclic", lr=0.4, min_lr=0.002, warmup_epochs=0)


def falling(lr, min_lr, progress):
    """Half a cosine from lr at progress 0 to min_lr at 1."""
    return min_lr + (lr - min_lr) * math.cos(math.pi / 2 * progress) ** 2


def test_published_recipe():
    # ImageNet-1K's training split on 8 devices with 128 images each
    steps = 1_281_167 // 1024
    assert steps == 1251
    config = parse_config(["-c", str(RECIPE)]).scheduler
    rates = build_schedule(config, 300, steps)
    assert rates.shape == (375_300,) and rates.dtype == np.float32
    expected = {
        0: 0.0,
        1: 1e-3 / 25_020,
        12_510: 5e-4,
        25_019: 1e-3 * 25_019 / 25_020,
        25_020: 1e-3,
        25_021: falling(1e-3, 1e-5, 1 / 350_280),
        20 * steps + 140 * steps: 5.05e-4,
        375_299: falling(1e-3, 1e-5, 350_279 / 350_280),
    }
    assert {step: float(rates[step]) for step in expected} == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert rates.argmax() == 25_020 and (np.diff(rates[25_020:]) <= 0).all()


# 8 epochs of 5 steps: first step, last of the warm-up, first of the decay, middle of the decay, last
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (COSINE, {0: 0.0, 9: 0.36, 10: 0.4, 25: 0.22, 39: falling(0.4, 0.04, 29 / 30)}),
        (STEP, {0: 0.0, 9: 0.36, 10: 0.4, 24: 0.4, 25: 0.2, 39: 0.2}),
        (MULTI, {0: 0.0, 9: 0.36, 10: 0.4, 14: 0.4, 15: 0.04, 29: 0.04, 30: 0.004, 39: 0.004}),
        (CONSTANT, {0: 0.0, 9: 0.36, 10: 0.4, 25: 0.4, 39: 0.4}),
        (EXPONENTIAL, {0: 0.0, 9: 0.36, 10: 0.4, 11: 0.4 * 0.5**0.2, 25: 0.05, 39: 0.4 * 0.5**5.8}),
        (POLYNOMIAL, {0: 0.0, 9: 0.36, 10: 0.4, 25: 0.1, 39: 0.4 / 900}),
        # torch.optim.lr_scheduler.OneCycleLR(total_steps=40, final_div_factor=8) and CyclicLR(step_size_up=20 and 10)
        (ONE_CYCLE, {0: 0.016, 1: 0.023777349066, 5: 0.180675551052, 11: 0.4, 12: 0.398748729769}),
        (ONE_CYCLE, {20: 0.306874383227, 30: 0.095125616773, 39: 0.002}),
        (replace(ONE_CYCLE, min_lr=0.0), {0: 0.016, 11: 0.4, 39: 0.0}),
        (CYCLIC, {0: 0.002, 1: 0.0219, 10: 0.201, 11: 0.2209, 20: 0.4, 30: 0.201, 39: 0.0219}),
        (replace(CYCLIC, num_cycles=2), {0: 0.002, 1: 0.0418, 10: 0.4, 11: 0.3602, 20: 0.002, 30: 0.4, 39: 0.0418}),
    ],
    ids=lambda value: getattr(value, "scheduler", None),
)
def test_golden_values(config, expected, measured):
    rates = build_schedule(config, 8, 5)
    assert rates.shape == (40,)
    measured(f"schedule {config.scheduler}", rates[list(expected)], list(expected.values()), relative=True)
    assert {step: float(rates[step]) for step in expected} == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    "config", [COSINE, STEP, MULTI, CONSTANT, EXPONENTIAL, POLYNOMIAL], ids=lambda config: config.scheduler
)
def test_every_step_without_and_with_stairs(config, measured):
    curves = {
        "cosine_decay": lambda epoch: falling(0.4, 0.04, epoch / 6),
        "step_decay": lambda epoch: 0.4 * 0.5 ** (int(epoch) // 3),
        "multi_step_decay": lambda epoch: 0.4 * 0.1 ** ((epoch >= 1) + (epoch >= 4)),
        "constant": lambda epoch: 0.4,
        "exponential_decay": lambda epoch: 0.4 * 0.5**epoch,
        "polynomial_decay": lambda epoch: 0.4 * (1 - epoch / 6) ** 2,
    }
    curve = curves[config.scheduler]
    for stair in (False, True):
        rates = build_schedule(replace(config, lr_epoch_stair=stair), 8, 5)
        for step, rate in enumerate(rates):
            epoch = step // 5 if stair else step / 5
            expected = 0.4 * epoch / 2 if epoch < 2 else curve(epoch - 2)
            measured(f"schedule {config.scheduler}", rate, expected, relative=True)
            assert rate == pytest.approx(expected, rel=1e-6), (stair, step)


def test_warmup_factor_is_where_the_warmup_starts():
    rates = build_schedule(replace(CONSTANT, warmup_factor=0.25), 4, 5)
    assert rates[[0, 5, 9, 10]].tolist() == pytest.approx([0.1, 0.25, 0.37, 0.4])


def test_without_warmup_the_first_step_has_the_full_rate():
    assert build_schedule(replace(COSINE, warmup_epochs=0), 6, 5)[[0, 15]].tolist() == pytest.approx([0.4, 0.22])


def test_cycles_restart_lower_each_time_and_the_last_stays_at_its_end():
    config = replace(COSINE, warmup_epochs=0, decay_epochs=2, num_cycles=3, cycle_decay=0.5)
    rates = build_schedule(config, 8, 4)
    starts, middles = rates[[0, 8, 16]], rates[[4, 12, 20]]
    assert starts.tolist() == pytest.approx([0.4, 0.2, 0.1])
    assert middles.tolist() == pytest.approx([0.22, 0.12, 0.07])
    assert rates[24:].tolist() == pytest.approx([0.04] * 8)


def test_one_cycle_that_ends_early_stays_at_min_lr():
    rates = build_schedule(replace(COSINE, decay_epochs=3), 8, 5)
    assert rates[24] == pytest.approx(falling(0.4, 0.04, 14 / 15)) and rates[25:].tolist() == pytest.approx([0.04] * 15)


def test_a_curve_that_outlasts_the_run_is_told(caplog):
    caplog.set_level("INFO", logger="mindcv_hrnet")
    build_schedule(COSINE, 8, 5)
    assert caplog.records == []
    build_schedule(COSINE, 7, 5)
    assert [record.getMessage() for record in caplog.records] == [
        "warmup_epochs 2 + decay_epochs 6 x num_cycles 1 outlast epoch_size 7: the rate will not reach min_lr"
    ]


@pytest.mark.parametrize("config", [COSINE, STEP, MULTI, POLYNOMIAL, ONE_CYCLE, CYCLIC], ids=lambda c: c.scheduler)
def test_accumulated_steps_follow_the_curve_of_the_large_batch(config):
    large = build_schedule(config, 8, 5)
    np.testing.assert_array_equal(build_schedule(config, 8, 10, accumulation=2), large)
    # 45 steps make 22 updates, the last step waits for an update that does not come
    assert build_schedule(replace(COSINE, warmup_epochs=0), 9, 5, accumulation=2).shape == (22,)


@pytest.mark.parametrize("cycles", [1, 2, 3, 5])
def test_as_many_triangles_as_asked_for(cycles):
    rates = build_schedule(replace(CYCLIC, num_cycles=cycles), 10, 1)
    expected = [0.002 + 0.398 * (1 - abs(step * cycles / 5 % 2 - 1)) for step in range(10)]
    assert rates.tolist() == pytest.approx(expected, rel=1e-6)
    falls = np.diff(np.append(rates, rates[0])) < 0
    assert (falls & ~np.roll(falls, 1)).sum() == cycles


def test_one_cycle_of_a_single_update_trains():
    assert build_schedule(replace(ONE_CYCLE, min_lr=0.0), 1, 1).tolist() == pytest.approx([0.4])


def test_more_cycles_than_updates_allow():
    with pytest.raises(RunError, match=r"^cyclic: 4 updates are too few for num_cycles 3; lower num_cycles$"):
        build_schedule(replace(CYCLIC, num_cycles=3), 4, 1)


@pytest.mark.parametrize("scheduler", ["constant", "cosine_decay", "step_decay", "polynomial_decay"])
@pytest.mark.parametrize(("warmup", "last"), [(4, 0.3), (8, 0.15)])
def test_a_run_shorter_than_its_warm_up_only_rises_and_says_so(scheduler, warmup, last, caplog):
    config = SchedulerConfig(scheduler=scheduler, lr=0.4, warmup_epochs=warmup)
    with caplog.at_level("WARNING", "mindcv_hrnet"):
        schedule = build_schedule(config, 4, 5)
    assert schedule[[0, 15]] == pytest.approx([0.0, last])
    assert (np.diff(schedule) > 0).all()
    assert f"warmup_epochs {warmup} lasts as long as epoch_size 4 or longer: the rate only rises" in caplog.messages[0]
    assert len(caplog.messages) == 1
