"""When a state is saved within an epoch, and how several ranks come to stop at the same step."""

import signal
from types import SimpleNamespace

import numpy as np
import pytest

from mindcv_hrnet.engine import interruptions as module
from mindcv_hrnet.engine.interruptions import Decision, Interruptions, RankPoll
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.runtime.signals import Stopped

SHAPE = RunShape(epochs=2, steps_per_epoch=10, global_batch_size=8, first_step=3)


@pytest.fixture
def clock(monkeypatch):
    """The seconds that `time.monotonic` tells."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def build(clock):
    """A function (**train) -> (Interruptions of one rank, what it has saved)."""

    def make(**train):
        saved = []
        saving = SimpleNamespace(
            saved_at=0.0,
            saved_step=0,
            writer=SimpleNamespace(busy=False),
            save_within=lambda step, seconds: saved.append(step),
            look_after=lambda: None,
        )
        requests = SimpleNamespace(signum=0, orderly=False, kept="")
        interruptions = Interruptions(
            SHAPE,
            SimpleNamespace(seconds=1.5, step=0),
            SimpleNamespace(in_a_row=0),
            saving,
            Cluster(),
            TrainConfig(**train),
            requests,
            "python train.py --resume",
        )
        return interruptions, saved

    return make


def run_steps(interruptions, numbers):
    for number in numbers:
        arguments = SimpleNamespace(cur_step_num=number)
        interruptions.on_train_step_end(SimpleNamespace(original_args=lambda arguments=arguments: arguments))


def test_every_so_many_steps_of_the_run(build):
    interruptions, saved = build(ckpt_save_steps=4, ckpt_save_minutes=0)
    run_steps(interruptions, range(1, 11))
    assert saved == [4, 8, 12]


def test_pieces_of_sink_mode_may_pass_over_the_step(build):
    interruptions, saved = build(ckpt_save_steps=4, ckpt_save_minutes=0)
    run_steps(interruptions, (3, 6, 7, 12))
    assert saved == [6, 9, 15]


def test_by_the_clock(build, clock):
    interruptions, saved = build(ckpt_save_minutes=1.0)
    for number, seconds in ((1, 10.0), (2, 61.0)):
        clock.seconds = seconds
        run_steps(interruptions, [number])
    assert saved == [5]
    interruptions.saving.saved_at = 61.0
    for number, what, value in ((3, interruptions.guard, 1), (4, interruptions.saving.writer, True)):
        clock.seconds = 1000.0
        setattr(what, "in_a_row" if number == 3 else "busy", value)
        run_steps(interruptions, [number])  # neither a loss that is not finite nor a second write at a time
    assert saved == [5]


def test_a_request_saves_and_stops(build):
    interruptions, saved = build()
    run_steps(interruptions, [1])
    assert interruptions.requests.orderly and saved == []
    assert interruptions.requests.kept == "stopped before anything was saved; start again with the same command"
    interruptions.saving.saved_step = 4
    interruptions.requests.signum = signal.SIGTERM
    with pytest.raises(Stopped) as stopped:
        run_steps(interruptions, [2])
    assert saved == [5] and stopped.value.exit_code == 143
    assert stopped.value.message == (
        "SIGTERM: stopped after epoch 1, step 5, which is saved; go on with: python train.py --resume"
    )
    assert interruptions.requests.kept.endswith("what was saved last is kept, go on with: python train.py --resume")


def test_after_the_last_step_there_is_nothing_to_stop(build):
    interruptions, saved = build()
    interruptions.requests.signum = signal.SIGINT
    run_steps(interruptions, [17])
    assert saved == []


def test_ranks_stop_and_save_together(monkeypatch, clock):
    polls = [RankPoll(Cluster(rank, 2)) for rank in (0, 1)]
    asked = []

    def ask(wishes):
        """One call of every rank, whose sums the two see; a rank that does not sum lags behind."""
        given = []
        monkeypatch.setattr(module, "sum_over_ranks", lambda values, cluster: given.append(values) or values)
        for poll, wish in zip(polls, wishes, strict=True):
            calls, every = poll.calls, poll.every
            poll(wish)
            poll.calls, poll.every = calls, every
        assert len(given) in (0, 2)
        asked.append(len(given))
        total = np.sum(given, axis=0) if given else None
        monkeypatch.setattr(module, "sum_over_ranks", lambda values, cluster: total)
        return [poll(wish) for poll, wish in zip(polls, wishes, strict=True)]

    nothing = Decision()
    for _ in range(3):
        assert ask([nothing, nothing]) == [nothing, nothing]
        clock.seconds += 1.0
    assert {poll.every for poll in polls} == {5}  # steps of a second, asked every five seconds
    # of saving the first rank's clock decides, of stopping anybody
    wishes = [Decision(0, True), Decision(signal.SIGTERM, False)]
    answers = [ask(wishes) for _ in range(5)]
    assert answers[:4] == [[nothing, nothing]] * 4
    assert answers[4] == [Decision(signal.SIGTERM, True)] * 2
    assert asked == [2, 2, 2, 0, 0, 0, 0, 2]
    assert ask([nothing, Decision(0, True)]) == [nothing, nothing]
