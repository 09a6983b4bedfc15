"""Exact counts: what is correct in validation, and its summed loss; what is correct in training."""

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class BatchCounts(nn.Cell):
    """(N, K) logits, (N,) labels, (N,) valid -> (3,) float32: correct top-1, correct top-5, summed cross entropy.

    Where `valid` is 0 the row is padding and counts nowhere. Equal logits are ranked by class number, as argmax ranks
    them; a row with a NaN is wrong.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_softmax = ops.LogSoftmax(axis=-1)

    def construct(self, logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """(N, K), (N,) int32, (N,) float32 of 0 and 1 -> (3,) float32."""
        logits = ops.cast(logits, mstype.float32)
        classes = ops.arange(logits.shape[1])
        column = ops.expand_dims(labels, 1)
        is_label = ops.cast(classes == column, mstype.float32)
        own = ops.reduce_sum(ops.select(is_label > 0, logits, ops.zeros_like(logits)), 1)
        own = ops.expand_dims(own, 1)
        # Not "above or equal": counting what is not below keeps a NaN from ranking first
        not_below = 1 - ops.cast(logits < own, mstype.float32)
        tied_later = ops.cast(ops.logical_and(logits == own, classes > column), mstype.float32)
        rank = ops.reduce_sum(not_below - tied_later + 5 * ops.cast(ops.isnan(logits), mstype.float32), 1)
        top1 = ops.reduce_sum(valid * ops.cast(rank <= 1, mstype.float32))
        top5 = ops.reduce_sum(valid * ops.cast(rank <= 5, mstype.float32))
        losses = -ops.reduce_sum(is_label * self.log_softmax(logits), 1)
        return ops.stack((top1, top5, ops.reduce_sum(valid * losses)))


class TrainingAccuracy(nn.Cell):
    """(N, K) logits, (N, K) targets -> () float32: share of images whose highest logit is that of what they show.

    A mixed image shows the class that has more than half of its target; where there is none, where logits are equal or
    one is NaN, the answer is wrong. `label_smoothing`: what the targets have been smoothed with.
    """

    HALF = 0.5001  # two halves must both stay below it, however they are rounded

    def __init__(self, label_smoothing: float) -> None:
        super().__init__()
        self.share, self.smoothing = Tensor(self.HALF * (1 - label_smoothing), mstype.float32), label_smoothing
        self.one, self.two, self.best = (Tensor(value, mstype.float32) for value in (1, 2, -1))

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) -> ()."""
        logits = ops.cast(logits, mstype.float32)
        is_shown = self.share + self.smoothing / targets.shape[1] < targets
        shown = ops.cast(is_shown, mstype.float32)
        own = ops.expand_dims(ops.reduce_sum(ops.select(is_shown, logits, ops.zeros_like(logits)), 1), 1)
        # Not "above": counting what is not below keeps a NaN from ranking first
        not_below = self.one - ops.cast(logits < own, mstype.float32)
        # 1 - 2 for the first of all; 0 or more where no class is shown
        place = ops.reduce_sum(not_below - self.two * shown, 1)
        right = ops.cast(place <= self.best, mstype.float32)
        return ops.reduce_sum(right) * (1 / targets.shape[0])
