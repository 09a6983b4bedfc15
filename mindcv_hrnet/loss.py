"""What is minimised: cross entropy over soft targets, and its per-class (sigmoid) form."""

from mindspore import Tensor, nn, ops

from mindcv_hrnet.config import LossConfig


class SoftTargetCrossEntropy(nn.Cell):
    """(N, K) logits, (N, K) target probabilities -> scalar, -sum(target * log softmax(logits))."""

    def __init__(self, reduction: str):
        super().__init__()
        self.log_softmax = ops.LogSoftmax(axis=-1)
        self.mean = reduction == "mean"

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses = -ops.reduce_sum(targets * self.log_softmax(logits), -1)
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


class SoftTargetBinaryCrossEntropy(nn.Cell):
    """(N, K) logits, (N, K) targets in [0, 1] -> scalar; every class is a yes/no question of its own."""

    def __init__(self, reduction: str):
        super().__init__()
        self.softplus = ops.Softplus()
        self.mean = reduction == "mean"

    def construct(self, logits: Tensor, targets: Tensor) -> Tensor:
        # Spelt out with ReLU and abs, its gradient would be wrong at a logit of exactly 0
        losses = self.softplus(logits) - logits * targets
        return ops.reduce_mean(losses) if self.mean else ops.reduce_sum(losses)


def build_loss(config: LossConfig) -> nn.Cell:
    """The loss that `loss` and `reduction` name. Label smoothing is part of the targets (see `preprocess`)."""
    return {"CE": SoftTargetCrossEntropy, "BCE": SoftTargetBinaryCrossEntropy}[config.loss](config.reduction)
