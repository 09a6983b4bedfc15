"""AugMix (arXiv:1912.02781)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data.augment.operations import OPERATIONS, Canvas, sign_of
from mindcv_hrnet.data.transforms import Augmentation, Step

AUGMIX = (
    *("AutoContrast", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
    *("Equalize", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)


@dataclass(frozen=True)
class AugMix(Augmentation):
    """`width` chains of operations, mixed with each other and with the image (arXiv:1912.02781, algorithm 1).

    A chain has `depth` operations, or one to three for -1, each at a level uniform in [0, magnitude].
    """

    magnitude: float
    width: int
    depth: int
    alpha: float
    canvas: Canvas

    draws = 1

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[Step]:
        """The mixture, with its share as the strength."""
        # one uniform seeds the rest: how many numbers a Dirichlet draw takes is not known before
        draw = np.random.Generator(np.random.Philox(key=int(uniforms[0] * 2**53)))
        shares = draw.dirichlet([self.alpha] * self.width)
        mixed = float(draw.beta(self.alpha, self.alpha))
        total = (1 - mixed) * image
        for share in shares:
            augmented = image
            for _ in range(self.depth if self.depth > 0 else int(draw.integers(1, 4))):
                name = AUGMIX[int(draw.integers(len(AUGMIX)))]
                level, sign = float(draw.uniform(0, self.magnitude)), sign_of(draw.random())
                augmented = OPERATIONS[name](augmented, level, sign, self.canvas)
            total = total + mixed * share * augmented
        yield "AugMix", mixed, np.clip(np.rint(total), 0, 255).astype(np.uint8)
