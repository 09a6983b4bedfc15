"""AutoAugment (arXiv:1805.09501) and three-augment (arXiv:2204.07118): rows of operations, one drawn per image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data.augment.operations import OPERATIONS, Canvas, draw_level, sign_of
from mindcv_hrnet.data.transforms import Augmentation, Step

# arXiv:1805.09501, table 9: (operation, probability, level), twice
_IMAGENET = """
    Posterize 0.4 8 Rotate 0.6 9,      Solarize 0.6 5 AutoContrast 0.6 5, Equalize 0.8 8 Equalize 0.6 3,
    Posterize 0.6 7 Posterize 0.6 6,   Equalize 0.4 7 Solarize 0.2 4,     Equalize 0.4 4 Rotate 0.8 8,
    Solarize 0.6 3 Equalize 0.6 7,     Posterize 0.8 5 Equalize 1.0 2,    Rotate 0.2 3 Solarize 0.6 8,
    Equalize 0.6 8 Posterize 0.4 6,    Rotate 0.8 8 Color 0.4 0,          Rotate 0.4 9 Equalize 0.6 2,
    Equalize 0.0 7 Equalize 0.8 8,     Invert 0.6 4 Equalize 1.0 8,       Color 0.6 4 Contrast 1.0 8,
    Rotate 0.8 8 Color 1.0 2,          Color 0.8 8 Solarize 0.8 7,        Sharpness 0.4 7 Invert 0.6 8,
    ShearX 0.6 5 Equalize 1.0 9,       Color 0.4 0 Equalize 0.6 3,        Equalize 0.4 7 Solarize 0.2 4,
    Solarize 0.6 5 AutoContrast 0.6 5, Invert 0.6 4 Equalize 1.0 8,       Color 0.6 4 Contrast 1.0 8,
    Equalize 0.8 8 Equalize 0.6 3
"""
_THREE = "Solarize 1.0 5, Desaturate 1.0 10, GaussianBlur 1.0 10"

Choice = tuple[str, float, float]


def _table(text: str, posterize: str = "") -> tuple[tuple[Choice, ...], ...]:
    rows = (row.replace("Posterize", posterize).split() for row in text.split(","))
    return tuple(tuple((row[i], float(row[i + 1]), float(row[i + 2])) for i in range(0, len(row), 3)) for row in rows)


TABLES = {
    "autoaug": _table(_IMAGENET, "PosterizeOriginal"),
    "autoaugr": _table(_IMAGENET, "PosterizeIncreasing"),
    "3a": _table(_THREE),
}


@dataclass(frozen=True)
class AutoAugment(Augmentation):
    """One row of `table`, its operations in turn, each with its probability and a level normal around its own."""

    table: tuple[tuple[Choice, ...], ...]
    deviation: float
    canvas: Canvas

    draws = 9

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """(operation, signed level, result) of what is applied, in order."""
        row = self.table[int(uniforms[0] * len(self.table))]
        for place, (name, probability, around) in enumerate(row):
            applied, first, second, side = uniforms[1 + 4 * place : 5 + 4 * place]
            if applied < probability:
                level = draw_level(first, second, around, self.deviation)
                if name == "GaussianBlur":  # its level bounds a uniform draw
                    level *= side
                sign = sign_of(side)
                image = OPERATIONS[name](image, level, sign, self.canvas)
                yield name, sign * level, image
