"""RandAugment (arXiv:1909.13719) as the published HRNet recipe has it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mindcv_hrnet.data.augment.operations import OPERATIONS, Canvas, Operation, draw_level, sign_of
from mindcv_hrnet.data.transforms import Augmentation, Step

# The order matters: a draw picks by position.
RANDAUG = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
    *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
)
RANDAUG_INCREASING = tuple(f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in RANDAUG)
# `-w0`: probabilities in the order of RANDAUG
WEIGHTS = (0.025, 0.005, 0.0, 0.3, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1)


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """`layers` operations in a row, each drawn from `operations` and applied with probability 0.5.

    The level is normal around `magnitude` with `deviation`, or uniform in [0, magnitude] when that is infinite, cut to
    [0, highest]. With `weights` operations are drawn by them, without repetition.
    """

    operations: dict[str, Operation]
    magnitude: float
    deviation: float
    layers: int
    highest: float
    weights: tuple[float, ...] | None
    canvas: Canvas

    DRAWS_PER_LAYER = 5

    @cached_property
    def _operations(self) -> tuple[tuple[str, Operation], ...]:
        return tuple(self.operations.items())

    @property
    def draws(self) -> int:
        """Five per layer."""
        return self.DRAWS_PER_LAYER * self.layers

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """(operation, signed level, result) of each operation that is applied, in order."""
        left = list(range(len(self.operations)))
        for layer in range(self.layers):
            choice, applied, first, second, side = uniforms[self.DRAWS_PER_LAYER * layer :][: self.DRAWS_PER_LAYER]
            place = left[int(choice * len(left))] if self.weights is None else self._take(left, choice)
            if applied < 0.5:
                name, operation = self._operations[place]
                level = draw_level(first, second, self.magnitude, self.deviation, self.highest)
                sign = sign_of(side)
                image = operation(image, level, sign, self.canvas)
                yield name, sign * level, image

    def _take(self, left: list[int], choice: float) -> int:
        """Remove one place from `left`, drawn by weight."""
        assert self.weights is not None
        bounds = np.cumsum([self.weights[place] for place in left])
        return left.pop(int(np.searchsorted(bounds, choice * bounds[-1], side="right")))
