"""Batch statistics beyond the ordinary: over all ranks, or of cells whose forward pass is computed twice."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from mindcv_hrnet.models.hrnet import Bottleneck, Module
from mindcv_hrnet.models.layers import BatchNorm, replace_operation


class BatchStatistics(nn.Cell):
    """Batch normalisation over the images of `size` ranks, as one rank with the large batch computes it.

    Stands in for the training kernel of a `BatchNorm` and is called like it. Every rank has the same number of images.
    Sums are taken around the moving mean, which all ranks share, so that the variance as a difference of two means
    loses no digits.
    """

    def __init__(self, eps: float, momentum: float, size: int) -> None:
        super().__init__()
        self.eps, self.momentum, self.size = eps, momentum, size
        self.add_up = ops.AllReduce() if size > 1 else nn.Identity()
        self.mean = ops.ReduceMean()
        self.concat = ops.Concat()
        self.rsqrt = ops.Rsqrt()
        self.assign = ops.Assign()
        self.cast = ops.Cast()

    def construct(
        self, x: Tensor, gamma: Tensor, beta: Tensor, moving_mean: Tensor, moving_variance: Tensor
    ) -> tuple[Tensor]:
        """(N, C, H, W) and four (C,) -> (the normalised images,); the moving statistics move."""
        channels = x.shape[1]
        around = ops.stop_gradient(moving_mean + 0)
        centred = self.cast(x, ms.float32) - _per_channel(around)
        own = self.concat((self.mean(centred, (0, 2, 3)), self.mean(centred * centred, (0, 2, 3))))
        together = self.add_up(own) / self.size
        mean, square = together[:channels], together[channels:]
        variance = ops.maximum(square - mean * mean, Tensor(0, ms.float32))
        slope = gamma * self.rsqrt(variance + self.eps)
        y = centred * _per_channel(slope) + _per_channel(beta - mean * slope)
        count = x.size // channels * self.size
        unbiased = variance * (count / max(count - 1, 1))
        self.assign(moving_mean, around + (1 - self.momentum) * mean)
        self.assign(moving_variance, self.momentum * moving_variance + (1 - self.momentum) * unbiased)
        return (self.cast(y, x.dtype),)


def _per_channel(vector: Tensor) -> Tensor:
    """(C,) -> (1, C, 1, 1)."""
    return ops.reshape(vector, (1, -1, 1, 1))


def synchronise(network: nn.Cell, size: int) -> None:
    """Let every batch normalisation of `network` see the images of all `size` ranks (arXiv:1711.07240, section 3.3)."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm):
            replace_operation(cell, "normalise_batch", BatchStatistics(cell.eps, cell.momentum, size))


def recompute(network: nn.Cell) -> None:
    """Keep of each module and bottleneck its input alone; the backward pass computes the rest again (arXiv:1604.06174).

    Graph mode only. The kernel of a batch normalisation then runs twice, and would move its statistics twice: it now
    replaces them by those of the batch, and `engine/blend.py` moves them once.
    """
    for _, unit in network.cells_and_names():
        if isinstance(unit, (Module, Bottleneck)):
            unit.recompute()
            for _, cell in unit.cells_and_names():
                if isinstance(cell, BatchNorm) and isinstance(cell.normalise_batch, ops.BatchNorm):
                    kernel = ops.BatchNorm(is_training=True, epsilon=cell.eps, momentum=1.0)
                    replace_operation(cell, "normalise_batch", kernel)
                    cell.moves_later = True
