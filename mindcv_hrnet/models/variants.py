"""The nine variants as rows of one table, and their size by arithmetic. Imports no MindSpore.

Paper: Deep High-Resolution Representation Learning for Visual Recognition, arXiv:1908.07919.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mindcv_hrnet.errors import CheckpointError, UserError, closest_name

BRANCHES = (0, 1, 2, 3)
"""Indices of the branches after stage 4, from fine to coarse."""

REDUCTIONS = (4, 8, 16, 32)
"""Stride of each branch with respect to the image."""


@dataclass(frozen=True)
class Spec:
    """One variant: the choices in which HRNets differ. All other sizes follow from them."""

    width: int
    """C: channels of the branch at stride 4; the others have 2C, 4C and 8C."""
    stage1: tuple[int, int] = (4, 256)
    """Blocks and output channels of stage 1, which is a plain row of bottlenecks."""
    modules: tuple[int, int, int] = (1, 4, 3)
    """Modules, each ending in an exchange, of stages 2, 3 and 4."""
    blocks: int = 4
    """Basic blocks on each branch of a module."""
    stem_width: int = 64
    head_widths: tuple[int, int, int, int] = (128, 256, 512, 1024)
    """Channels to which the head widens the branches."""
    head_features: int = 2048
    """Length of the vector that the classifier sees."""

    @property
    def branch_widths(self) -> tuple[int, int, int, int]:
        """Channels of the four branches."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)


VARIANTS = {
    "hrnet_w18_small": Spec(width=16, stage1=(1, 128), modules=(1, 1, 1), blocks=2),
    "hrnet_w18_small_v2": Spec(width=18, stage1=(2, 256), modules=(1, 3, 2), blocks=2),
    "hrnet_w18": Spec(width=18),
    "hrnet_w30": Spec(width=30),
    "hrnet_w32": Spec(width=32),
    "hrnet_w40": Spec(width=40),
    "hrnet_w44": Spec(width=44),
    "hrnet_w48": Spec(width=48),
    "hrnet_w64": Spec(width=64),
}

PUBLISHED = {"hrnet_w32": (80.64, 95.44), "hrnet_w48": (81.19, 95.69)}
"""Top-1 and top-5 in percent on ImageNet-1K at 224, of the weights that MindCV publishes."""


OFFICIAL = {
    "hrnet_w18_small": (72.34, 90.69),
    "hrnet_w18_small_v2": (75.09, 92.41),
    "hrnet_w18": (76.77, 93.45),
    "hrnet_w30": (78.20, 94.22),
    "hrnet_w32": (78.45, 94.18),
    "hrnet_w40": (78.93, 94.48),
    "hrnet_w44": (78.89, 94.38),
    "hrnet_w48": (79.33, 94.52),
    "hrnet_w64": (79.46, 94.65),
}
"""Top-1 and top-5, per cent, of the authors' PyTorch weights, from timm's results/results-imagenet.csv."""

PUBLISHED_AT = {
    "hrnet_w32": "https://download.mindspore.cn/toolkits/mindcv/hrnet/hrnet_w32-cc4fbd91.ckpt",
    "hrnet_w48": "https://download.mindspore.cn/toolkits/mindcv/hrnet/hrnet_w48-2e3399cd.ckpt",
}
"""Where these weights are. The file's name ends in the first digits of its SHA-256."""


@dataclass(frozen=True)
class Description:
    """The size and the published accuracy of a variant with 1000 classes and 3 input channels."""

    name: str
    image_size: int
    parameters: int
    """Trainable ones."""
    parameters_with_statistics: int
    """With the moving means and variances of the batch normalisations, which a checkpoint holds too."""
    gmacs: float
    """Multiplications with addition, in units of 10**9, for one square image: convolutions and classifier."""
    top1: float | None
    top5: float | None


def list_models(pretrained: bool = False) -> list[str]:
    """Names that `create_model` takes; with `pretrained`, those for which weights are published."""
    return [name for name in VARIANTS if name in PUBLISHED or not pretrained]


def published_at(name: str) -> str:
    """The address of the published weights of a variant, or an error that says which variants have some."""
    if name not in PUBLISHED_AT:
        raise UserError(
            f"pretrained: no weights of {name} are published, only of {', '.join(PUBLISHED_AT)}; name a file"
        )
    return PUBLISHED_AT[name]


def identify(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The variant that has these parameters, by MindCV's names; empty where it is none of them."""

    from mindcv_hrnet.weights.naming import FINEST  # which imports numpy, and a recipe needs no more than the table

    def count(pattern: str) -> int:
        numbers = [int(found[1]) for name in shapes if (found := re.match(pattern, name))]
        return max(numbers, default=-1) + 1

    if FINEST not in shapes:
        return ""
    row = (
        shapes[FINEST][0],
        count(r"layer1\.(\d+)\."),
        tuple(count(rf"stage{stage}\.(\d+)\.") for stage in (2, 3, 4)),
        count(r"stage4\.0\.branches\.0\.(\d+)\."),
    )
    rows = {name: (spec.width, spec.stage1[0], spec.modules, spec.blocks) for name, spec in VARIANTS.items()}
    return next((name for name in rows if rows[name] == row), "")


def check_variant(name: str, arrays: Mapping[str, Any], path: str, choice: str) -> None:
    """Raise CheckpointError where `arrays`, weights by MindCV's names, are those of a variant other than `name`.

    choice: how the right one is chosen, such as "--model {}". What is of no variant is left to the check of every name.
    """
    theirs = identify({weight: array.shape for weight, array in arrays.items()})
    if theirs and theirs != name:
        raise CheckpointError(f"{path}: these are weights of {theirs}, not of {name}: {choice.format(theirs)}")


def find_spec(name: str) -> Spec:
    """The row of the table, or an error that names the nearest one."""
    if name in VARIANTS:
        return VARIANTS[name]
    near = closest_name(str(name), VARIANTS, cutoff=0.0)
    raise UserError(f"unknown model {name!r}: did you mean {near!r}? Choices: {', '.join(VARIANTS)}")


def describe(name: str, image_size: int = 224) -> Description:
    """Parameters, multiply-additions at `image_size`, and published accuracy of a variant."""
    spec = find_spec(name)
    if image_size < 1:
        raise UserError(f"image_size must be positive, not {image_size}")
    classifier = spec.head_features * 1000
    weights, channels, macs = classifier + 1000, 0, classifier
    for inputs, outputs, kernel, halvings in convolutions(spec):
        size = image_size
        for _ in range(halvings):
            size = (size + 1) // 2
        weights += inputs * outputs * kernel**2
        channels += outputs
        macs += inputs * outputs * kernel**2 * size**2
    top1, top5 = PUBLISHED.get(name, (None, None))
    return Description(name, image_size, weights + 2 * channels, weights + 4 * channels, macs / 1e9, top1, top5)


def convolutions(spec: Spec, in_channels: int = 3) -> Iterator[tuple[int, int, int, int]]:
    """Each convolution as (input channels, output channels, kernel, halvings from the image to its output)."""
    widths, heads = spec.branch_widths, spec.head_widths
    yield in_channels, spec.stem_width, 3, 1
    yield spec.stem_width, spec.stem_width, 3, 2
    blocks, stage1_width = spec.stage1
    for block in range(blocks):
        yield from _bottleneck(stage1_width if block else spec.stem_width, stage1_width, 2)
    if stage1_width != spec.width:
        yield stage1_width, spec.width, 3, 2
    for branches, modules in enumerate(spec.modules, start=2):
        # The stage opens its last branch from the one before it; the first time that is stage 1.
        yield widths[branches - 2] if branches > 2 else stage1_width, widths[branches - 1], 3, branches + 1
        for _ in range(modules):
            for i in range(branches):
                yield from [(widths[i], widths[i], 3, i + 2)] * (2 * spec.blocks)
                for j in range(branches):
                    if j > i:
                        yield widths[j], widths[i], 1, j + 2
                    for step in range(j + 1, i + 1):
                        yield widths[j], widths[i] if step == i else widths[j], 3, step + 2
    for i in BRANCHES:
        yield from _bottleneck(widths[i], heads[i], i + 2)
        if i:
            yield heads[i - 1], heads[i], 3, i + 2
    yield heads[-1], spec.head_features, 1, BRANCHES[-1] + 2


def _bottleneck(inputs: int, outputs: int, halvings: int) -> Iterator[tuple[int, int, int, int]]:
    inner = outputs // 4
    yield inputs, inner, 1, halvings
    yield inner, inner, 3, halvings
    yield inner, outputs, 1, halvings
    if inputs != outputs:
        yield inputs, outputs, 1, halvings
