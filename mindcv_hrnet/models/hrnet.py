"""HRNet: high-resolution representations for visual recognition (arXiv:1908.07919).

A stem brings the image to a quarter of its size. Four stages follow; each adds a branch at half the resolution of the
last one, and all branches run side by side at C, 2C, 4C and 8C channels. After every module the branches exchange what
they know: each receives the sum of all of them, brought to its own resolution. The classification head widens the four
branches to 128, 256, 512 and 1024 channels and folds the fine ones into the coarse ones.

The attributes carry MindCV's names, so that checkpoints fit in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import NamedTuple

import mindspore as ms
from mindspore import Tensor, nn, ops

from mindcv_hrnet.models.drop import DropBranch, Dropout, Row, block_rates, number_columns
from mindcv_hrnet.models.layers import BatchNorm, CastTo, Conv2d, ConvNorm, Dense, GlobalMean, Upsample
from mindcv_hrnet.models.variants import BRANCHES, REDUCTIONS, Spec

Branches = tuple[Tensor, ...]
"""Maps (N, C_i, H_i, W_i) from fine to coarse; each has half the resolution of the one before, rounded up."""


class BasicBlock(nn.Cell):
    """Two 3x3 convolutions around an identity: (N, C, H, W) -> same. `drop` is the rate of stochastic depth."""

    def __init__(self, channels: int, drop: float = 0.0) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels)
        self.bn1 = BatchNorm(channels)
        self.conv2 = Conv2d(channels, channels)
        self.bn2 = BatchNorm(channels)
        self.drops = drop > 0
        if self.drops:
            self.drop = DropBranch(drop)
        self.add = ops.Add()
        self.relu = ops.ReLU()

    def construct(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> same shape. `keep`: see `drop.py`."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.drops:
            y = self.drop(y, keep)
        return self.relu(self.add(y, x))


class Bottleneck(nn.Cell):
    """1x1, 3x3 at a quarter of the channels, 1x1: (N, C_in, H, W) -> (N, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, drop: float = 0.0) -> None:
        super().__init__()
        inner = out_channels // 4
        self.conv1 = Conv2d(in_channels, inner, 1)
        self.bn1 = BatchNorm(inner)
        self.conv2 = Conv2d(inner, inner)
        self.bn2 = BatchNorm(inner)
        self.conv3 = Conv2d(inner, out_channels, 1)
        self.bn3 = BatchNorm(out_channels)
        self.projects = in_channels != out_channels
        if self.projects:
            self.down_sample = ConvNorm(in_channels, out_channels, 1)
        self.drops = drop > 0
        if self.drops:
            self.drop = DropBranch(drop)
        self.add = ops.Add()
        self.relu = ops.ReLU()

    def construct(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W). `keep`: see `drop.py`."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.drops:
            y = self.drop(y, keep)
        shortcut = self.down_sample(x) if self.projects else x
        return self.relu(self.add(y, shortcut))


def strided_convolutions(in_channels: int, out_channels: int, halvings: int, relu: bool = False) -> nn.SequentialCell:
    """Strided 3x3 convolutions: (N, C_in, H, W) -> (N, C_out, H / 2**halvings, W / 2**halvings), sizes rounded up.

    Only the last one changes the channels, and only the last one may leave out its ReLU.
    """
    first = [ConvNorm(in_channels, in_channels, stride=2, relu=True) for _ in range(halvings - 1)]
    return nn.SequentialCell(*first, ConvNorm(in_channels, out_channels, stride=2, relu=relu))


def named_by_number(cells: dict[int, nn.Cell]) -> nn.Cell:
    """A holder whose children have these numbers as names. Unlike in a `CellList` the numbers may have gaps."""
    holder = nn.Cell()
    for number, cell in cells.items():
        setattr(holder, str(number), cell)
    return holder


def widening(spec: Spec, branches: Sequence[int]) -> nn.Cell:
    """What brings C, 2C, 4C and 8C channels to 128, 256, 512 and 1024, for these branches."""
    pairs = list(zip(spec.branch_widths, spec.head_widths, strict=True))
    return named_by_number({i: nn.SequentialCell(Bottleneck(*pairs[i])) for i in branches})


class Exchange(nn.Cell):
    """What one branch gets of all of them, at its own resolution: tuple of branches -> (N, C_i, H_i, W_i).

    Coarser branches come through a 1x1 convolution and upsampling, finer ones through strided 3x3 convolutions (paper,
    figure 3). Children are numbered by the branch they read; the branch itself needs none.
    """

    def __init__(self, widths: Sequence[int], target: int) -> None:
        super().__init__()
        for source in range(target):
            setattr(self, str(source), strided_convolutions(widths[source], widths[target], target - source))
        for source in range(target + 1, len(widths)):
            setattr(self, str(source), ConvNorm(widths[source], widths[target], 1))
        children = self.name_cells()
        # A tuple does not register its cells a second time, under a second name.
        self.finer = tuple(children[str(source)] for source in range(target))
        self.coarser = tuple(children[str(source)] for source in range(target + 1, len(widths)))
        self.target = target
        self.upsample = Upsample()
        self.add = ops.Add()
        self.relu = ops.ReLU()

    def construct(self, branches: Branches) -> Tensor:
        """All branches, from fine to coarse -> the target one, (N, C_i, H_i, W_i)."""
        total = branches[self.target]
        for i, cell in enumerate(self.finer):
            total = self.add(total, cell(branches[i]))
        for i, cell in enumerate(self.coarser):
            coarse = cell(branches[self.target + 1 + i])
            total = self.add(total, self.upsample(coarse, total))
        return self.relu(total)


class Module(nn.Cell):
    """Blocks on every branch, one for each of `drops`, then an exchange: branches -> the branches in `targets`."""

    def __init__(self, widths: Sequence[int], drops: Sequence[float], targets: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.CellList([Row(*(BasicBlock(w, drop) for drop in drops)) for w in widths])
        self.fuse_layers = named_by_number({target: Exchange(widths, target) for target in targets})
        self.exchanges = tuple(self.fuse_layers.cells())

    def construct(self, branches: Branches, keep: Tensor | None = None) -> Branches:
        """All branches -> those in `targets`, of the same shapes."""
        refined: Branches = ()
        for i, branch in enumerate(self.branches):
            refined = (*refined, branch(branches[i], keep))
        exchanged: Branches = ()
        for exchange in self.exchanges:
            exchanged = (*exchanged, exchange(refined))
        return exchanged


class Transition(nn.Cell):
    """Opens a branch at half the resolution of the last one, and fits the widths: n branches -> n + 1."""

    def __init__(self, widths_before: Sequence[int], widths_after: Sequence[int]) -> None:
        super().__init__()
        self.adapt: tuple[nn.Cell, ...] = ()
        if widths_before[0] != widths_after[0]:
            setattr(self, "0", ConvNorm(widths_before[0], widths_after[0], relu=True))
            self.adapt = (getattr(self, "0"),)
        new = str(len(widths_before))
        setattr(self, new, strided_convolutions(widths_before[-1], widths_after[-1], 1, relu=True))
        self.open = (getattr(self, new),)

    def construct(self, branches: Branches) -> Branches:
        """n branches -> n + 1; the new one is the last."""
        first = branches[0]
        for cell in self.adapt:
            first = cell(first)
        return (first, *branches[1:], self.open[0](branches[-1]))


class Stage(Row):
    """A row of modules over the same branches; their blocks take what they need of `drops`."""

    def __init__(
        self,
        widths: Sequence[int],
        modules: int,
        blocks: int,
        drops: Iterator[float],
        targets: Sequence[int] | None = None,
    ) -> None:
        every = range(len(widths))
        outputs = [every] * (modules - 1) + [every if targets is None else targets]
        super().__init__(*(Module(widths, list(islice(drops, blocks)), wanted) for wanted in outputs))


class Trunk(nn.Cell):
    """Stem and stages, which every use of HRNet shares. `trunk(image)` gives the branches in `targets`.

    `drop_path_rate`: stochastic depth of the last block; from 0 in the first one it grows alike with each.
    """

    def __init__(
        self, spec: Spec, in_channels: int, targets: Sequence[int] = BRANCHES, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        widths = spec.branch_widths
        stem, (bottlenecks, stage1_width) = spec.stem_width, spec.stage1

        self.enter = CastTo(ms.float32)
        self.leave = CastTo(ms.float32)
        self.cast = ops.Cast()
        self.relu = ops.ReLU()
        self.conv1 = Conv2d(in_channels, stem, stride=2)
        self.bn1 = BatchNorm(stem)
        self.conv2 = Conv2d(stem, stem, stride=2)
        self.bn2 = BatchNorm(stem)

        drops = iter(block_rates(spec, drop_path_rate))
        inputs = [stem, *[stage1_width] * (bottlenecks - 1)]
        self.layer1 = Row(*(Bottleneck(channels, stage1_width, next(drops)) for channels in inputs))
        self.transition1 = Transition([stage1_width], widths[:2])
        self.stage2 = Stage(widths[:2], spec.modules[0], spec.blocks, drops)
        self.transition2 = Transition(widths[:2], widths[:3])
        self.stage3 = Stage(widths[:3], spec.modules[1], spec.blocks, drops)
        self.transition3 = Transition(widths[:3], widths)
        self.stage4 = Stage(widths, spec.modules[2], spec.blocks, drops, targets)

    def trunk(self, image: Tensor, keep: Tensor | None = None) -> Branches:
        """(N, in_channels, H, W) -> branches at strides 4, 8, 16 and 32. `keep`: see `drop.py`."""
        x = self.enter(image)
        if keep is not None:
            keep = self.cast(keep, x.dtype)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        branches = (self.layer1(x, keep),)
        branches = self.stage2(self.transition1(branches), keep)
        branches = self.stage3(self.transition2(branches), keep)
        return self.stage4(self.transition3(branches), keep)


class HRNet(Trunk):
    """The classifier (paper, section 6): (N, in_channels, H, W) -> (N, num_classes) float32.

    H and W may be anything from 32 up, multiples of 32 or not. `num_classes=0` leaves the classifier out, and the
    result is what it would have seen: (N, 2048). `drop_rate` is the dropout before the classifier.
    """

    def __init__(
        self,
        spec: Spec,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(spec, in_channels, drop_path_rate=drop_path_rate)
        self.spec = spec
        self.num_classes = num_classes
        heads = spec.head_widths
        self.incre_modules = widening(spec, BRANCHES)
        self.widen = tuple(self.incre_modules.cells())
        self.downsample_modules = nn.CellList(
            [ConvNorm(fine, coarse, stride=2, relu=True) for fine, coarse in pairwise(heads)]
        )
        self.final_layer = ConvNorm(heads[-1], spec.head_features, kernel=1, relu=True)
        self.pool = GlobalMean()
        self.add = ops.Add()
        if num_classes:
            self.drops_features = drop_rate > 0
            if self.drops_features:
                self.dropout = Dropout(drop_rate)
            self.classifier = Dense(spec.head_features, num_classes)
        number_columns(self)

    def pooled(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """The fine branches fold into the coarse ones, and their mean is taken: (N, in_channels, H, W) -> (N, 2048)."""
        branches = self.trunk(image, keep)
        x = self.widen[0](branches[0])
        for i, downsample in enumerate(self.downsample_modules):
            x = self.add(self.widen[i + 1](branches[i + 1]), downsample(x))
        return self.pool(self.final_layer(x))

    def pre_logits(self, image: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 2048) float32: what the classifier sees."""
        return self.leave(self.pooled(image))

    def construct(self, image: Tensor, keep: Tensor | None = None) -> Tensor:
        """(N, in_channels, H, W) -> (N, num_classes) float32, or (N, 2048) without classifier; keep: see `drop.py`."""
        x = self.pooled(image, keep)
        if self.num_classes:
            if self.drops_features:
                x = self.dropout(x, keep)
            x = self.classifier(x)
        return self.leave(x)


class FeatureInfo(NamedTuple):
    """What one of the returned maps is: its channels, and its stride with respect to the image."""

    channels: int
    reduction: int


class HRNetFeatures(Trunk):
    """The backbone: (N, in_channels, H, W) -> one float32 map for each of `out_indices`, in that order.

    Index 0 is the branch at stride 4 and 3 the one at stride 32. `widened=False` gives the branches as they leave
    stage 4 (C, 2C, 4C, 8C channels), `widened=True` as the head widens them (128, 256, 512, 1024).
    `feature_info` describes the maps. Parameters that none of the maps depends on are not made.
    """

    def __init__(
        self,
        spec: Spec,
        in_channels: int = 3,
        out_indices: Sequence[int] = BRANCHES,
        widened: bool = False,
        drop_path_rate: float = 0.0,
    ) -> None:
        targets = sorted(out_indices)
        super().__init__(spec, in_channels, targets, drop_path_rate)
        channels = spec.head_widths if widened else spec.branch_widths
        self.spec = spec
        self.out_indices = tuple(out_indices)
        self.feature_info = tuple(FeatureInfo(channels[i], REDUCTIONS[i]) for i in out_indices)
        self.positions = tuple(targets.index(i) for i in out_indices)
        self.widen: tuple[nn.Cell, ...] = ()
        if widened:
            self.incre_modules = widening(spec, targets)
            self.widen = tuple(self.incre_modules.cells())
        number_columns(self)

    def construct(self, image: Tensor, keep: Tensor | None = None) -> Branches:
        """(N, in_channels, H, W) -> a tuple of (N, C_i, H_i, W_i) float32. `keep`: see `drop.py`."""
        maps = self.trunk(image, keep)
        if self.widen:
            widened: Branches = ()
            for i, cell in enumerate(self.widen):
                widened = (*widened, cell(maps[i]))
            maps = widened
        features: Branches = ()
        for position in self.positions:
            features = (*features, self.leave(maps[position]))
        return features
