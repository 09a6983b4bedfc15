"""What may happen between two steps of an epoch: a save that is due, and the end where a signal asks for it.

Ranks do both together, at the same step: saving and stopping need all of them.
"""

import logging
import signal
import time
from typing import Any, NamedTuple

import numpy as np
from mindspore.train import Callback

from mindcv_hrnet.engine.callbacks import LossGuard
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.saving import Saving
from mindcv_hrnet.engine.step_log import StepLog, step_of
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster, sum_over_ranks
from mindcv_hrnet.runtime.signals import STOPS, Stopped, StopRequests

logger = logging.getLogger(__name__)

# Ranks ask each other about this often; a reduction of three numbers takes milliseconds
ASK_EVERY_S = 5.0
MOST_CALLS = 1000
MEASURED_CALLS = 3


class Decision(NamedTuple):
    """What the ranks do now: end for a signal (0: none), save."""

    signum: int = 0
    saves: bool = False


class RankPoll:
    """Asks the ranks now and then what they do; each calls it equally often, and all get the same answer.

    A rank that is alone is asked at every call. Otherwise the first calls measure how often is often enough.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.calls, self.every = 0, 1
        self._begun = 0.0

    def __call__(self, own: Decision) -> Decision:
        """What all do; `own` is what this rank wants, of saving the first rank's wish counts."""
        if self.cluster.size == 1:
            return own
        self.calls += 1
        if self.calls == 1:
            self._begun = time.monotonic()  # the first call has waited for a compilation
        if self.calls % self.every:
            return Decision()
        seconds = (time.monotonic() - self._begun) / max(1, self.calls - 1)
        main = self.cluster.is_main
        stops = [own.signum == number for number in STOPS]
        wish = np.array([*stops, main and own.saves, seconds if main else 0.0], np.float32)
        *asked, saves, seconds = sum_over_ranks(wish, self.cluster).tolist()
        if self.calls == MEASURED_CALLS:
            self.every = max(1, min(MOST_CALLS, int(ASK_EVERY_S / max(seconds, 1e-6))))
            self.calls = 0
            self._begun = time.monotonic()
        signum = max((number for number, ranks in zip(STOPS, asked, strict=True) if ranks), default=0)
        return Decision(signum, saves > 0)


class Interruptions(Callback):
    """Saves within epochs and stops between steps. `command`: what a user types to go on."""

    def __init__(
        self,
        shape: RunShape,
        step_log: StepLog,
        guard: LossGuard,
        saving: Saving,
        cluster: Cluster,
        train: TrainConfig,
        requests: StopRequests,
        command: str,
    ):
        super().__init__()
        self.shape, self.step_log, self.guard, self.saving = shape, step_log, guard, saving
        self.cluster, self.requests, self.command = cluster, requests, command
        self.save_steps, self.save_seconds = train.ckpt_save_steps, 60 * train.ckpt_save_minutes
        self.steps_poll, self.batches_poll = RankPoll(cluster), RankPoll(cluster)
        self.step = shape.first_step
        self._keep_told()

    def _keep_told(self) -> None:
        """What is told when the process leaves at once."""
        if self.saving.saved_step:
            self.requests.kept = f"stopped; what was saved last is kept, go on with: {self.command}"
        else:
            self.requests.kept = "stopped before anything was saved; start again with the same command"

    def on_train_step_end(self, run_context: Any) -> None:
        """Save or stop, where it is time."""
        before, self.step = self.step, step_of(run_context, self.shape)
        self.requests.orderly = True
        self.saving.look_after()
        decision = self.steps_poll(Decision(self.requests.signum, self._is_time()))
        by_steps = self.save_steps is not None and self.step // self.save_steps > before // self.save_steps
        if decision.signum and self.step < self.shape.steps:
            logger.info("%s: saving and stopping", signal.Signals(decision.signum).name)
            self.saving.save_within(self.step, self.step_log.seconds)
            raise self._stopped(decision.signum)
        if decision.saves or by_steps:
            self.saving.save_within(self.step, self.step_log.seconds)
            self._keep_told()

    def between_batches(self) -> None:
        """Stop in the middle of a validation; it is done again after a resume. Raises Stopped."""
        self.step = self.step_log.step
        decision = self.batches_poll(Decision(self.requests.signum))
        if decision.signum:
            raise self._stopped(decision.signum)

    def _is_time(self) -> bool:
        waited = time.monotonic() - self.saving.saved_at
        return 0 < self.save_seconds <= waited and not self.guard.in_a_row and not self.saving.writer.busy

    def _stopped(self, signum: int) -> Stopped:
        self._keep_told()
        place = f"epoch {self.shape.epoch_of(self.step)}, step {self.shape.step_in_epoch(self.step)}"
        name = signal.Signals(signum).name
        return Stopped(signum, f"{name}: stopped after {place}, which is saved; go on with: {self.command}")
