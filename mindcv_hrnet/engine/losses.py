"""What is minimised. All losses take soft targets: label smoothing and mixing happen before (see `preprocess`)."""

from mindspore import Tensor, nn, ops

from mindcv_hrnet.recipe.keys import LossConfig


class SoftTargetCrossEntropy(nn.Cell):
    """(N, K) logits, (N, K) target probabilities -> scalar, -sum(target * log softmax(logits))."""

    def __init__(self, reduction: str):
        super().__init__()
        self.log_softmax = ops.LogSoftmax(axis=-1)
        self.mean = reduction == "mean"

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) -> ()."""
        losses = -ops.reduce_sum(targets * self.log_softmax(logits), -1)
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


class SoftTargetBinaryCrossEntropy(nn.Cell):
    """(N, K) logits, (N, K) targets in [0, 1] -> scalar; every class is a yes/no question of its own."""

    def __init__(self, reduction: str):
        super().__init__()
        self.softplus = ops.Softplus()
        self.mean = reduction == "mean"

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) -> ()."""
        # Spelt out with ReLU and abs, its gradient would be wrong at a logit of exactly 0
        losses = self.softplus(logits) - logits * targets
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


class SingleLabelAsymmetric(nn.Cell):
    """(N, K) logits, (N, K) target probabilities -> scalar, ASL for one class per image (arXiv:2009.14119).

    The log probability of the class that is there weighs (1 - p)^1, those of the others p^4. The weights know no label
    smoothing, so it is taken out of the targets for them.
    """

    def __init__(self, reduction: str, label_smoothing: float):
        super().__init__()
        self.log_softmax = ops.LogSoftmax(axis=-1)
        self.mean = reduction == "mean"
        self.smoothing = label_smoothing

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) -> ()."""
        log_p = self.log_softmax(logits)
        p = ops.exp(log_p)
        there = (targets - self.smoothing / targets.shape[1]) / (1 - self.smoothing)
        # for hard targets (1 - p)^1 where the class is there and p^4 where it is not
        weights = there * (1 - p) + (1 - there) * ops.pow(p, 4)
        losses = -ops.reduce_sum(targets * log_p * weights, -1)
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


class MultiLabelAsymmetric(nn.Cell):
    """(N, K) logits, (N, K) targets in [0, 1] -> scalar, ASL for any number of classes (arXiv:2009.14119, eq. 7).

    Probabilities below 0.05 of a class that is not there cost nothing. Summed over classes, as its authors do it.
    A soft target t blends the losses of the hard ones, t * loss(1) + (1 - t) * loss(0); the authors' code, written for
    hard targets, would blend probabilities and powers into one weight of both terms.
    """

    MARGIN, SMALLEST = 0.05, 1e-8

    def __init__(self, reduction: str):
        super().__init__()
        self.mean = reduction == "mean"

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(N, K), (N, K) -> ()."""
        p = ops.sigmoid(logits)
        not_p = ops.minimum(1 - p + self.MARGIN, ops.ones_like(p))
        there = targets * (1 - p) * ops.log(ops.maximum(p, ops.full_like(p, self.SMALLEST)))
        absent = (1 - targets) * ops.pow(1 - not_p, 4) * ops.log(ops.maximum(not_p, ops.full_like(p, self.SMALLEST)))
        losses = -ops.reduce_sum(there + absent, -1)
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


class JensenShannon(nn.Cell):
    """(3N, K) logits, (3N, K) targets -> scalar: cross entropy of the first N + 12 times the divergence of all three.

    AugMix (arXiv:1912.02781, eq. 1): rows i, N + i and 2N + i are views of one image, the first one without
    `auto_augment`. The divergence is a mean over the batch at any `reduction`.
    """

    VIEWS, WEIGHT = 3, 12.0

    def __init__(self, reduction: str):
        super().__init__()
        self.log_softmax = ops.LogSoftmax(axis=-1)
        self.cross_entropy = SoftTargetCrossEntropy(reduction)

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(3N, K), (3N, K) -> ()."""
        count, classes = logits.shape[0] // self.VIEWS, logits.shape[1]
        log_p = self.log_softmax(logits).reshape((self.VIEWS, count, classes))
        p = ops.exp(log_p)
        mixture = ops.log(ops.maximum(ops.reduce_mean(p, 0), ops.full_like(p[0], 1e-7)))
        divergence = ops.reduce_sum(p * (log_p - mixture)) / (self.VIEWS * count)
        return self.cross_entropy(logits[:count], targets[:count]) + self.WEIGHT * divergence


def build_loss(config: LossConfig) -> nn.Cell:
    """The loss that `loss` and `reduction` name."""
    if config.loss == "asl_single_label":
        return SingleLabelAsymmetric(config.reduction, config.label_smoothing)
    return {
        "CE": SoftTargetCrossEntropy,
        "BCE": SoftTargetBinaryCrossEntropy,
        "asl_multi_label": MultiLabelAsymmetric,
        "JSD": JensenShannon,
    }[config.loss](config.reduction)
