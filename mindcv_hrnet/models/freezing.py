"""Parts of a network that training leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence

from mindspore import nn

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.layers import BatchNorm
from mindcv_hrnet.models.stages import FREEZABLE, STAGES, part_of


def freeze(network: nn.Cell, parts: Sequence[str]) -> int:
    """Keep these parts (see `FREEZABLE`) from being trained, and return how many parameters that spares.

    A batch normalisation in a frozen part works with its moving statistics, also while training, and keeps them.
    """
    unknown = [part for part in parts if part not in FREEZABLE]
    if unknown:
        raise UserError(f"unknown part {unknown[0]!r}. Choices: {', '.join(FREEZABLE)}")
    frozen = {*parts, *(STAGES if "backbone" in parts else ())}
    before = sum(parameter.size for parameter in network.trainable_params())
    for name, cell in network.cells_and_names():
        norm = isinstance(cell, BatchNorm)
        if (norm and "bn" in frozen) or part_of(name) in frozen:
            if norm:
                cell.frozen = True
            for parameter in cell.get_parameters(expand=False):
                parameter.requires_grad = False
    return before - sum(parameter.size for parameter in network.trainable_params())
