"""TrivialAugment in its wide form (arXiv:2103.10158)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data import transforms as T
from mindcv_hrnet.data.augment.operations import (
    TOP_LEVEL,
    Canvas,
    Operation,
    move,
    shear_x,
    shear_y,
    sign_of,
    slope,
)
from mindcv_hrnet.data.transforms import Augmentation, Step


def _slope(share: float, sign: int, canvas: Canvas) -> float:
    return slope(sign * 0.99 * share, canvas)


def _pixels(share: float, sign: int, side: int, canvas: Canvas) -> float:
    """The paper shifts by up to 32 pixels either way; MindCV by up to 15 % of the side, one way."""
    return sign * 32.0 * share if canvas.canonical else 0.15 * share * side


# Operations take the share of the largest strength, 0 to 1 (arXiv:2103.10158, table 1, "wide")
WIDE: dict[str, Operation] = {
    "AutoContrast": lambda image, share, sign, canvas: T.auto_contrast(image),
    "Equalize": lambda image, share, sign, canvas: T.equalize(image),
    "Invert": lambda image, share, sign, canvas: T.invert(image),
    "Rotate": lambda image, share, sign, canvas: T.rotate(image, sign * 135 * share, canvas.fill, canvas.flag),
    "Posterize": lambda image, share, sign, canvas: T.posterize(
        image, 8 - int(6 * share) if canvas.canonical else max(1, 6 - int(6 * share))
    ),
    "Solarize": lambda image, share, sign, canvas: T.solarize(image, int(255 * share)),
    "Color": lambda image, share, sign, canvas: T.saturation(image, 0.01 + 1.99 * share),
    "Contrast": lambda image, share, sign, canvas: T.contrast(image, 0.01 + 1.99 * share),
    "Brightness": lambda image, share, sign, canvas: T.brightness(image, 0.01 + 1.99 * share),
    "Sharpness": lambda image, share, sign, canvas: T.sharpness(image, 0.01 + 1.99 * share),
    "ShearX": lambda image, share, sign, canvas: shear_x(image, _slope(share, sign, canvas), canvas),
    "ShearY": lambda image, share, sign, canvas: shear_y(image, _slope(share, sign, canvas), canvas),
    "TranslateX": lambda image, share, sign, canvas: move(
        image, _pixels(share, sign, image.shape[1], canvas), 0, canvas
    ),
    "TranslateY": lambda image, share, sign, canvas: move(
        image, 0, _pixels(share, sign, image.shape[0], canvas), canvas
    ),
}


@dataclass(frozen=True)
class TrivialAugmentWide(Augmentation):
    """One operation at a strength uniform between nothing and the largest. `m` is the unit and changes nothing."""

    canvas: Canvas

    draws = 3

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """The one operation that is applied, its share as a signed level."""
        choice, share, side = uniforms[:3]
        name = tuple(WIDE)[int(choice * len(WIDE))]
        sign = sign_of(side)
        yield name, sign * share * TOP_LEVEL, WIDE[name](image, share, sign, self.canvas)
