"""One step as one cell: preprocess, forward, backward, accumulate, reduce, check, clip, optimize, average."""

from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from mindcv_hrnet.engine.accumulation import Accumulation
from mindcv_hrnet.engine.blend import moving_statistics
from mindcv_hrnet.engine.clipping import ClipByGlobalNorm
from mindcv_hrnet.engine.ema import MovingAverage
from mindcv_hrnet.engine.loss_scale import LossScale, OverflowCheck
from mindcv_hrnet.engine.metrics import TrainingAccuracy
from mindcv_hrnet.engine.reduction import Reduction
from mindcv_hrnet.engine.totals import RunningTotals
from mindcv_hrnet.models.drop import DropBranch, Dropout
from mindcv_hrnet.recipe.keys import LossConfig, TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster


class ScaledLoss(nn.Cell):
    """(N, 3, H, W) images, (N, K) targets, scale -> scalar loss times scale, and (N, K) logits."""

    def __init__(self, network: nn.Cell, loss: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss

    def construct(
        self, images: Tensor, targets: Tensor, scale: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W), (N, K), (), (N, D) -> (), (N, K)."""
        logits = self.network(images) if keep is None else self.network(images, keep)
        return self.loss(logits, targets) * scale, logits


class TrainStep(nn.Cell):
    """(images, labels, erase, mix, keep) as the training loader yields them -> scalar loss of the batch.

    Every `gradient_accumulation_steps` steps the mean of their gradients makes one update; a rest at the end of an
    epoch is carried over into the next. Learning rate, moving average and loss scale move once per update.

    Gradients are averaged over the ranks and unscaled, and only then checked and clipped, so that every rank takes the
    same decision. Both arms of a decision give a tensor: a branch without a value becomes a CPU node in the graph,
    which Ascend's compiler refuses.
    """

    def __init__(
        self,
        network: nn.Cell,
        preprocess: nn.Cell,
        loss: nn.Cell,
        optimizer: nn.Cell,
        cluster: Cluster,
        train: TrainConfig,
        loss_config: LossConfig,
    ):
        super().__init__(auto_prefix=False)
        self.network = network
        self.preprocess = preprocess
        self.trainable = ParameterTuple(network.trainable_params())
        self.value_and_grad = ops.value_and_grad(ScaledLoss(network, loss), None, self.trainable, has_aux=True)
        self.drops = any(isinstance(cell, (DropBranch, Dropout)) for _, cell in network.cells_and_names())
        self.statistics = moving_statistics(network) if train.recompute else None
        self.scale = LossScale(loss_config)
        self.check = OverflowCheck(cluster.size) if skips_overflow(loss_config) else None
        steps = train.gradient_accumulation_steps
        self.accumulation = Accumulation(self.trainable, steps) if steps > 1 else None
        divides = self.scale.changes_gradients and self.accumulation is None
        self.reduce = Reduction(self.trainable, cluster, divides)
        self.clip = ClipByGlobalNorm(train.clip_value) if train.clip_grad else None
        self.optimizer = optimizer
        self.ema = MovingAverage(network, train.ema_decay) if train.ema else None
        self.accuracy = TrainingAccuracy(loss_config.label_smoothing)
        self.totals = RunningTotals()

    def construct(
        self, images: Tensor, labels: Tensor, erase: Tensor, mix: Tensor, keep: Tensor | None = None
    ) -> Tensor:
        """The loss of the batch, (), once the step is done."""
        inputs, targets = self.preprocess(images, labels, erase, mix)
        loss, logits, gradients = self.gradients(inputs, targets, keep if self.drops else None)
        loss = ops.depend(loss, self.totals.answer(self.accuracy(logits, targets)))
        return ops.depend(loss, self.accumulate(loss, gradients))

    def gradients(
        self, inputs: Tensor, targets: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Loss, logits, and the gradients of the scaled loss."""
        if self.check is not None:
            inputs = self.check.begin(inputs)
        if self.statistics is None:
            (scaled, logits), gradients = self.value_and_grad(inputs, targets, self.scale.value, keep)
        else:
            before = self.statistics.before()
            (scaled, logits), gradients = self.value_and_grad(inputs, targets, self.scale.value, keep)
            scaled = ops.depend(scaled, self.statistics(ops.depend(before, gradients)))
        return scaled / self.scale.value, logits, gradients

    def accumulate(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """Add a step to the mean of several, where there is one; update when it is complete."""
        if self.accumulation is None:
            return self.update(loss, gradients, self.scale.value)
        overflow = None if self.check is None else self.check.own(gradients)
        done = self.accumulation(loss, gradients, self.scale.value, overflow)
        if done >= self.accumulation.steps:
            mean = self.accumulation
            updated = self.update(mean.loss, mean.gradients, mean.divisor, mean.overflows)
            result = ops.depend(mean.clear(), updated)
        else:
            result = done
        return result

    def update(
        self, loss: Tensor, gradients: tuple[Tensor, ...], divisor: Tensor, overflows: Tensor | float = 0.0
    ) -> Tensor:
        """Change the weights, unless a gradient of a rank, or an earlier one (`overflows`), is not finite."""
        gradients = self.reduce(gradients, divisor)
        if self.check is None:
            result = self.apply(loss, gradients)
        else:
            finite = self.check(gradients, overflows) == 0
            if self.scale.dynamic:
                finite = ops.depend(finite, self.scale(finite))
            result = self.apply(loss, gradients) if finite else self.totals.skip()
        return result

    def apply(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> Tensor:
        """Clip, optimize, average; returns how many updates the epoch has."""
        if self.clip is not None:
            gradients, norm = self.clip(gradients)
            loss = ops.depend(loss, self.totals.measure(norm))
        done = self.optimizer(self.reduce.unpack(gradients))
        if self.ema is not None:
            done = self.ema(done)
        return ops.depend(self.totals.add(loss), done)

    @property
    def validated(self) -> nn.Cell:
        """The network that is validated and saved: the moving average where there is one."""
        return self.network if self.ema is None else self.ema.network

    def weights(self) -> dict[str, Parameter]:
        """Parameters of `validated` by the names of the network's."""
        return self.network.parameters_dict() if self.ema is None else self.ema.weights()


def skips_overflow(config: LossConfig) -> bool:
    """Whether updates whose gradients are not finite are left out."""
    return config.loss_scale_type in ("dynamic", "auto") or bool(config.drop_overflow_update)
