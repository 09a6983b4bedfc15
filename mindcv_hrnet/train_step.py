"""One update of the weights, as one cell: preprocess, forward, backward, reduce, guard, clip, optimize."""

from mindspore import Parameter, ParameterTuple, Tensor, amp, nn, ops
from mindspore import dtype as mstype

from mindcv_hrnet.cluster import Cluster
from mindcv_hrnet.config import LossConfig, TrainConfig

# Dynamic loss scaling (arXiv:1710.03740, section 3.2): halve on overflow, double after this many good steps
GROWTH_INTERVAL = 2000
LARGEST_SCALE = 2.0**24

_divide = ops.MultitypeFuncGraph("divide")


@_divide.register("Tensor", "Tensor")
def _divide_one(scale: Tensor, gradient: Tensor) -> Tensor:
    return gradient / ops.cast(scale, gradient.dtype)


class ScaledLoss(nn.Cell):
    """(N, 3, H, W) images, (N, K) targets, scale -> scalar loss times scale."""

    def __init__(self, network: nn.Cell, loss: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = loss

    def construct(self, images: Tensor, targets: Tensor, scale: Tensor) -> Tensor:
        return self.loss(self.network(images), targets) * scale


class TrainStep(nn.Cell):
    """(images, labels, erase, mix) as the training loader yields them -> scalar loss of the batch.

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

    def construct(self, images: Tensor, labels: Tensor, erase: Tensor, mix: Tensor) -> Tensor:
        inputs, targets = self.preprocess(images, labels, erase, mix)
        scale = self.loss_scale
        scaled, gradients = self.value_and_grad(inputs, targets, scale)
        loss = scaled / scale
        gradients = self.reduce(gradients)
        if self.unscale:
            gradients = self.map_(ops.partial(_divide, scale), gradients)
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
        return loss

    def _update(self, loss: Tensor, gradients: tuple[Tensor, ...]) -> None:
        if self.clip:
            gradients = ops.clip_by_global_norm(gradients, self.clip_value)
        self.optimizer(gradients)
        ops.assign_add(self.loss_sum, loss)

    def _adapt_scale(self, finite: Tensor) -> None:
        """Halve the scale where the gradients overflowed, double it after GROWTH_INTERVAL good steps."""
        good = ops.select(finite, self.good_steps + 1, ops.zeros_like(self.good_steps))
        grow = good >= GROWTH_INTERVAL
        larger = ops.minimum(self.loss_scale * 2, Tensor(LARGEST_SCALE, mstype.float32))
        smaller = ops.maximum(self.loss_scale / 2, Tensor(1.0, mstype.float32))
        scale = ops.select(finite, ops.select(grow, larger, self.loss_scale.value()), smaller)
        ops.assign(self.loss_scale, scale)
        ops.assign(self.good_steps, ops.select(grow, ops.zeros_like(good), good))

    def take_totals(self) -> tuple[float, int]:
        """(sum of losses, skipped updates) since the last call."""
        totals = float(self.loss_sum.asnumpy()), int(self.skipped.asnumpy())
        self.loss_sum.set_data(Tensor(0, mstype.float32))
        self.skipped.set_data(Tensor(0, mstype.int32))
        return totals
