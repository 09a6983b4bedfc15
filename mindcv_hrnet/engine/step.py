"""One step as one cell: preprocess, forward, backward, accumulate, reduce, guard, clip, optimize, average."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops
from mindspore import dtype as mstype

from mindcv_hrnet.models.batch_norm import MovingStatistics
from mindcv_hrnet.recipe.keys import LossConfig, TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster

# Dynamic loss scaling (arXiv:1710.03740, section 3.2): halve on overflow, double after this many good steps
GROWTH_INTERVAL = 2000
LARGEST_SCALE = 2.0**24
AVERAGE_WARMUP = 2000

_divide = ops.MultitypeFuncGraph("divide")


@_divide.register("Tensor", "Tensor")
def _divide_one(scale: Tensor, gradient: Tensor) -> Tensor:
    return gradient / ops.cast(scale, gradient.dtype)


_add = ops.MultitypeFuncGraph("add_gradient")


@_add.register("Number", "Tensor", "Tensor")
def _add_one(share: float, total: Parameter, gradient: Tensor) -> bool:
    return ops.depend(True, ops.assign_add(total, gradient * share))


_shift = ops.MultitypeFuncGraph("shift")


@_shift.register("Tensor", "Tensor")
def _shift_one(shift: Tensor, value: Tensor) -> Tensor:
    return value + shift


_clear = ops.MultitypeFuncGraph("clear")


@_clear.register("Tensor")
def _clear_one(total: Parameter) -> bool:
    return ops.depend(True, ops.assign(total, ops.zeros_like(total)))


_follow = ops.MultitypeFuncGraph("follow")


@_follow.register("Tensor", "Tensor", "Tensor")
def _follow_one(decay: Tensor, average: Parameter, value: Parameter) -> bool:
    return ops.depend(True, ops.assign(average, average * decay + value * (1 - decay)))


class Totals(NamedTuple):
    """What an epoch added up to. `loss_sum` has the mean loss of each of the `updates` that were made."""

    loss_sum: float
    updates: int
    skipped: int


def overwrite(parameter: Parameter, value: Tensor) -> None:
    """Put a value where a compiled step finds it: branches of a graph keep the memory that `set_data` replaces."""
    ops.assign(parameter, value)


class ScaledLoss(nn.Cell):
    """(N, 3, H, W) images, (N, K) targets, scale -> scalar loss times scale."""

    def __init__(self, network: nn.Cell, loss: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss

    def construct(self, images: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
        return self.loss(self.network(images), targets) * scale


class MovingAverage(nn.Cell):
    """Exponential moving averages of all parameters of a network, batch-norm statistics included.

    As in MindCV the decay rises to its value as `decay * (1 - exp(-updates / 2000))`, so that the first, random weights
    are soon forgotten.
    """

    def __init__(self, network: nn.Cell, decay: float):
        super().__init__(auto_prefix=False)
        self.decay = decay
        self.followed = ParameterTuple(network.get_parameters())
        self.averages = self.followed.clone(prefix="ema", init="same")
        for average in self.averages:
            average.requires_grad = False
        self.updates = Parameter(Tensor(0, mstype.float32), "ema_updates", requires_grad=False)
        self.map_ = ops.HyperMap()

    def construct(self) -> Tensor:
        updates = self.updates + 1
        ops.assign(self.updates, updates)
        decay = self.decay * (1 - ops.exp(-updates / AVERAGE_WARMUP))
        return self.map_(ops.partial(_follow, decay), self.averages, self.followed)


class TrainStep(nn.Cell):
    """(images, labels, erase, mix) as the training loader yields them -> scalar loss of the batch.

    Every `gradient_accumulation_steps` steps the mean of their gradients makes one update; a rest at the end of an
    epoch is carried over into the next. Learning rate, moving average and loss scale move once per update.

    Gradients are averaged over the ranks, unscaled, and only then checked and clipped, so that every rank takes the
    same decision. Losses and skipped updates add up on the device until `take_totals`, so that an epoch's mean is known
    also where the device runs it without returning to Python.
    """

    def __init__(
        self,
        network: nn.Cell,
        preprocess: nn.Cell,
        loss: nn.Cell,
        optimizer: nn.Optimizer,
        cluster: Cluster,
        train: TrainConfig,
        loss_config: LossConfig,
    ):
        super().__init__(auto_prefix=False)
        self.preprocess = preprocess
        self.scaled_loss = ScaledLoss(network, loss)
        self.optimizer = optimizer
        self.trainable = ParameterTuple(network.trainable_params())
        self.value_and_grad = ops.value_and_grad(self.scaled_loss, None, self.trainable)
        self.map_ = ops.HyperMap()
        self.reduce = nn.DistributedGradReducer(self.trainable) if cluster.size > 1 else nn.Identity()
        self.clip = train.clip_grad
        self.clip_value = train.clip_value
        self.dynamic = loss_config.loss_scale_type in ("dynamic", "auto")
        self.skip_overflow = self.dynamic or loss_config.drop_overflow_update
        self.unscale = self.dynamic or loss_config.loss_scale != 1.0
        self.loss_scale = Parameter(Tensor(loss_config.loss_scale, mstype.float32), "loss_scale", requires_grad=False)
        self.good_steps = Parameter(Tensor(0, mstype.int32), "good_steps", requires_grad=False)
        self.skipped = Parameter(Tensor(0, mstype.int32), "skipped_updates", requires_grad=False)
        self.loss_sum = Parameter(Tensor(0, mstype.float32), "loss_sum", requires_grad=False)
        self.updates = Parameter(Tensor(0, mstype.int32), "updates", requires_grad=False)
        self.network = network
        self.statistics = MovingStatistics(network) if train.recompute else None
        self.average = MovingAverage(network, train.ema_decay) if train.ema else None
        self.accumulation = train.gradient_accumulation_steps
        if self.accumulation > 1:
            self.gathered = self.trainable.clone(prefix="gathered", init="zeros")
            for total in self.gathered:
                total.requires_grad = False
            self.gathered_loss = Parameter(Tensor(0, mstype.float32), "gathered_loss", requires_grad=False)
            self.spoiled = Parameter(Tensor(0, mstype.float32), "gathered_overflow", requires_grad=False)
            self.gathered_steps = Parameter(Tensor(0, mstype.int32), "gathered_steps", requires_grad=False)

    def construct(self, images: Tensor, labels: Tensor, erase: Tensor, mix: Tensor) -> Tensor:
        inputs, targets = self.preprocess(images, labels, erase, mix)
        scale = self.loss_scale
        if self.statistics is None:
            scaled, gradients = self.value_and_grad(inputs, targets, scale)
        else:
            before = self.statistics.before()
            scaled, gradients = self.value_and_grad(inputs, targets, scale)
            self.statistics(ops.depend(before, gradients))
        loss = scaled / scale
        if self.unscale:
            gradients = self.map_(ops.partial(_divide, scale), gradients)
        if self.accumulation > 1:
            self._gather(loss, gradients)
        else:
            self._guarded_update(loss, gradients)
        return loss

    def _gather(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> None:
        """Add a step to the mean; update when it is complete."""
        if self.skip_overflow:
            # What is kept stays finite, or the run could not be resumed within an update
            if amp.all_finite(gradients):
                self._keep(loss, gradients)
            else:
                ops.assign(self.spoiled, Tensor(1, mstype.float32))
        else:
            self._keep(loss, gradients)
        ops.assign_add(self.gathered_steps, Tensor(1, mstype.int32))
        if self.gathered_steps >= self.accumulation:
            # infinite on a rank where a step overflowed, and so on all ranks once they are averaged
            poison = self.spoiled / (1 - self.spoiled)
            self._guarded_update(self.gathered_loss, self.map_(ops.partial(_shift, poison), self.gathered))
            self.map_(_clear, self.gathered)
            ops.assign(self.gathered_loss, Tensor(0, mstype.float32))
            ops.assign(self.gathered_steps, Tensor(0, mstype.int32))
            ops.assign(self.spoiled, Tensor(0, mstype.float32))

    def _keep(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> None:
        self.map_(ops.partial(_add, 1 / self.accumulation), self.gathered, gradients)
        ops.assign_add(self.gathered_loss, loss / self.accumulation)

    def _guarded_update(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> None:
        gradients = self.reduce(gradients)
        if self.skip_overflow:
            finite = amp.all_finite(gradients)
            if self.dynamic:
                self._adapt_scale(finite)
            if finite:
                self._update(loss, gradients)
            else:
                ops.assign_add(self.skipped, Tensor(1, mstype.int32))
        else:
            self._update(loss, gradients)

    def _update(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> None:
        if self.clip:
            gradients = ops.clip_by_global_norm(gradients, self.clip_value)
        self.optimizer(gradients)
        if self.average is not None:
            self.average()
        ops.assign_add(self.loss_sum, loss)
        ops.assign_add(self.updates, Tensor(1, mstype.int32))

    def _adapt_scale(self, finite: Tensor) -> None:
        """Halve the scale where the gradients overflowed, double it after GROWTH_INTERVAL good steps."""
        good = ops.select(finite, self.good_steps + 1, ops.zeros_like(self.good_steps))
        grow = good >= GROWTH_INTERVAL
        larger = ops.minimum(self.loss_scale * 2, Tensor(LARGEST_SCALE, mstype.float32))
        smaller = ops.maximum(self.loss_scale / 2, Tensor(1.0, mstype.float32))
        scale = ops.select(finite, ops.select(grow, larger, self.loss_scale.value()), smaller)
        ops.assign(self.loss_scale, scale)
        ops.assign(self.good_steps, ops.select(grow, ops.zeros_like(good), good))

    def take_totals(self) -> Totals:
        """What has added up since the last call."""
        counters = self.loss_sum, self.updates, self.skipped
        # numbers before the reset: an array may share its memory with the counter
        totals = Totals(float(self.loss_sum.asnumpy()), int(self.updates.asnumpy()), int(self.skipped.asnumpy()))
        for counter in counters:
            overwrite(counter, Tensor(0, counter.dtype))
        return totals

    def weights(self) -> dict[str, Parameter]:
        """What is validated and saved, by the network's parameter names: the moving averages where there are any."""
        if self.average is None:
            return self.network.parameters_dict()
        followed, averages = self.average.followed, self.average.averages
        return {parameter.name: average for parameter, average in zip(followed, averages, strict=True)}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network holds what `weights` names."""
        if self.average is None:
            yield
            return
        raw = [parameter.asnumpy().copy() for parameter in self.average.followed]
        for parameter, average in zip(self.average.followed, self.average.averages, strict=True):
            overwrite(parameter, Tensor(average.asnumpy()))
        try:
            yield
        finally:
            for parameter, value in zip(self.average.followed, raw, strict=True):
                overwrite(parameter, Tensor(value))
