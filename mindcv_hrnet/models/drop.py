"""Stochastic depth and dropout, whose choices come with the batch: each cell reads its own columns of `keep`.

`keep`, (N, D), has 1 where something stays and 0 elsewhere. Drawn with the batch, it is the same after a resume,
another for every sample of every rank, and the same when a forward pass is computed twice. It has a column for each
`DropBranch`, in the order of the network's cells, and then one for each feature before the classifier.
"""

from __future__ import annotations

from mindspore import Tensor, nn, ops

from mindcv_hrnet.models.variants import Spec


def block_rates(spec: Spec, drop_path_rate: float) -> list[float]:
    """Rate of stochastic depth of each block, from 0 in the first to `drop_path_rate` in the last."""
    depth = spec.stage1[0] + spec.blocks * sum(spec.modules)
    return [drop_path_rate * block / (depth - 1) for block in range(depth)]


def drop_rates(spec: Spec, *, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> tuple[float, ...]:
    """What is the rate of each column of `keep` in the classifier; empty where nothing is dropped."""
    rates = block_rates(spec, drop_path_rate)
    columns, place = rates[: spec.stage1[0]], spec.stage1[0]
    for branches, modules in enumerate(spec.modules, start=2):
        for _ in range(modules):
            columns += rates[place : place + spec.blocks] * branches
            place += spec.blocks
    features = spec.head_features if drop_rate else 0
    return (*(rate for rate in columns if rate), *[drop_rate] * features)


def number_columns(network: nn.Cell) -> None:
    """Tell each cell that drops which columns of `keep` are its own."""
    cells = [cell for _, cell in network.cells_and_names()]
    branches = [cell for cell in cells if isinstance(cell, DropBranch)]
    for column, cell in enumerate(branches):
        cell.column = column
    for cell in cells:
        if isinstance(cell, Dropout):
            cell.column = len(branches)


class DropBranch(nn.Cell):
    """(N, C, H, W) -> same: while training, each sample is zero at `rate` and 1 / (1 - rate) times as large otherwise.

    Stochastic depth (arXiv:1603.09382), scaled while training instead of at the end, so that the expectation stays.
    Its `column` of `keep`, (N, D), says which samples stay (1); without `keep` the device draws.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.column = rate, 0
        self.dropout = nn.Dropout(p=rate)
        self.ones, self.slice, self.reshape, self.cast = ops.Ones(), ops.Slice(), ops.Reshape(), ops.Cast()

    def construct(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """A sample at a time, as a whole."""
        if not self.training:
            return x
        batch = x.shape[0]
        if keep is None:
            return x * self.dropout(self.ones((batch, 1, 1, 1), x.dtype))
        own = self.reshape(self.slice(keep, (0, self.column), (batch, 1)), (batch, 1, 1, 1))
        return x * (self.cast(own, x.dtype) * (1 / (1 - self.rate)))


class Dropout(nn.Cell):
    """(N, C) -> same: while training, each value is zero at `rate` and 1 / (1 - rate) times as large otherwise.

    The C columns of `keep`, (N, D), that begin at `column` say which values stay (1); without `keep` the device
    draws.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.column = rate, 0
        self.dropout = nn.Dropout(p=rate)
        self.slice, self.cast = ops.Slice(), ops.Cast()

    def construct(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """A value at a time."""
        if not self.training:
            return x
        if keep is None:
            return self.dropout(x)
        own = self.slice(keep, (0, self.column), x.shape)
        return x * (self.cast(own, x.dtype) * (1 / (1 - self.rate)))


class Row(nn.SequentialCell):
    """One after the other, each given `keep`."""

    def construct(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """The last one's output."""
        for cell in self.cell_list:
            x = cell(x, keep)
        return x
