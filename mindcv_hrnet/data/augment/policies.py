"""The policies beside RandAugment: AutoAugment, its research variant, three-augment, TrivialAugment, AugMix.

Strings are MindCV's: `autoaug-mstd0.5`, `autoaugr`, `3a`, `trivialaugwide-m31`, `augmix-m3-w3-d2-a1`. Where MindCV
leaves the papers (posterize, shear, trivialaugwide's shifts), `-canonical1` follows the papers.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mindcv_hrnet.data import transforms as T
from mindcv_hrnet.data.augment import operations as auto_augment
from mindcv_hrnet.data.augment.operations import LEVELS, OPERATIONS, Canvas, Operation, require, require_count
from mindcv_hrnet.data.transforms import Augmentation
from mindcv_hrnet.errors import ConfigError


def _posterize_original(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    """The paper keeps 4 to 8 bits; MindCV drops as many."""
    bits = int(level / LEVELS * 4) + 4
    return T.posterize(image, bits if canvas.canonical else max(1, 8 - bits))


def _desaturate(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.saturation(image, 0.5 - 0.5 * level / LEVELS)


def _blur(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    """Sigma 0.1 to 2; the level is drawn by the policy."""
    return T.gaussian_blur(image, 0.1 + 1.9 * level / LEVELS)


OTHER_OPERATIONS: dict[str, Operation] = {
    "PosterizeOriginal": _posterize_original,
    "Desaturate": _desaturate,
    "GaussianBlur": _blur,
}


# --- AutoAugment ----------------------------------------------------------------------------------------------------

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
class AutoAugment:
    """One row of `table`, its operations in turn, each with its probability and a level normal around its own."""

    table: tuple[tuple[Choice, ...], ...]
    deviation: float
    canvas: Canvas

    draws = 9

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        return T.after(image, self.steps(image, uniforms))

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[T.Step]:
        """(operation, signed level, result) of what is applied, in order."""
        row = self.table[int(uniforms[0] * len(self.table))]
        for place, (name, probability, around) in enumerate(row):
            applied, first, second, side = uniforms[1 + 4 * place : 5 + 4 * place]
            if applied < probability:
                normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
                level = min(max(around + self.deviation * normal, 0.0), LEVELS)
                if name == "GaussianBlur":  # its level bounds a uniform draw
                    level *= side
                operation, sign = {**OPERATIONS, **OTHER_OPERATIONS}[name], 1 if side < 0.5 else -1
                image = operation(image, level, sign, self.canvas)
                yield name, sign * level, image


# --- TrivialAugment -------------------------------------------------------------------------------------------------


def _shear_of(share: float, sign: int, canvas: Canvas) -> float:
    slope = sign * 0.99 * share
    return slope if canvas.canonical else math.tan(math.radians(slope))


def _shift_of(share: float, sign: int, side: int, canvas: Canvas) -> float:
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
    "ShearX": lambda image, share, sign, canvas: T.affine(
        image, [[1, _shear_of(share, sign, canvas), 0], [0, 1, 0]], canvas.fill, canvas.flag
    ),
    "ShearY": lambda image, share, sign, canvas: T.affine(
        image, [[1, 0, 0], [_shear_of(share, sign, canvas), 1, 0]], canvas.fill, canvas.flag
    ),
    "TranslateX": lambda image, share, sign, canvas: T.affine(
        image, [[1, 0, _shift_of(share, sign, image.shape[1], canvas)], [0, 1, 0]], canvas.fill, canvas.flag
    ),
    "TranslateY": lambda image, share, sign, canvas: T.affine(
        image, [[1, 0, 0], [0, 1, _shift_of(share, sign, image.shape[0], canvas)]], canvas.fill, canvas.flag
    ),
}


@dataclass(frozen=True)
class TrivialAugmentWide:
    """One operation at a strength uniform between nothing and the largest. `m` is the unit and changes nothing."""

    canvas: Canvas

    draws = 3

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        return T.after(image, self.steps(image, uniforms))

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[T.Step]:
        """The one operation that is applied, its share as a signed level."""
        choice, share, side = uniforms[:3]
        name = tuple(WIDE)[int(choice * len(WIDE))]
        sign = 1 if side < 0.5 else -1
        yield name, sign * share * LEVELS, WIDE[name](image, share, sign, self.canvas)


# --- AugMix ---------------------------------------------------------------------------------------------------------

AUGMIX = (
    *("AutoContrast", "ColorIncreasing", "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing"),
    *("Equalize", "Rotate", "PosterizeIncreasing", "SolarizeIncreasing"),
    *("ShearX", "ShearY", "TranslateX", "TranslateY"),
)


@dataclass(frozen=True)
class AugMix:
    """`width` chains of operations, mixed with each other and with the image (arXiv:1912.02781, algorithm 1).

    A chain has `depth` operations, or one to three for -1, each at a level uniform in [0, magnitude].
    """

    magnitude: float
    width: int
    depth: int
    alpha: float
    canvas: Canvas

    draws = 1

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        return T.after(image, self.steps(image, uniforms))

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[T.Step]:
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
                level, sign = float(draw.uniform(0, self.magnitude)), 1 if draw.random() < 0.5 else -1
                augmented = OPERATIONS[name](augmented, level, sign, self.canvas)
            total = total + mixed * share * augmented
        yield "AugMix", mixed, np.clip(np.rint(total), 0, 255).astype(np.uint8)


# --- strings --------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "autoaug": {"mstd": 0.5},
    "autoaugr": {"mstd": 0.5},
    "3a": {"mstd": 0.5},
    "trivialaugwide": {"m": 31.0},
    "augmix": {"m": 3.0, "w": 3.0, "d": -1.0, "a": 1.0},
}
MAX_ALPHA = 100  # where all shares are as good as equal
POLICIES = (*auto_augment.POLICIES, *DEFAULTS)


def build_policy(text: str, fill: Sequence[float], flag: int = cv2.INTER_LINEAR) -> Augmentation:
    """The augmentation that a policy string names. `fill`: colour of uncovered pixels, 0 to 255 per channel.

    Raises ConfigError naming the part that is wrong and the choices.
    """
    name, *parts = text.split("-")
    if name in auto_augment.POLICIES:
        return auto_augment.build_policy(text, fill, flag)
    if name not in DEFAULTS:
        raise ConfigError(f"auto_augment: unknown policy '{name}' in '{text}'; choices: {', '.join(POLICIES)}")
    values = {**DEFAULTS[name], "canonical": 0.0}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", part)
        if not match or match[1] not in values:
            raise ConfigError(
                f"auto_augment: '{part}' in '{text}' is no setting with a number; choices: {', '.join(values)}"
            )
        values[match[1]] = float(match[2])
        if match[1] in ("w", "d"):
            require_count(values[match[1]], text, match[1])
    require(values["canonical"] in (0, 1), text, "canonical must be 0 or 1")
    canvas = Canvas(tuple(min(255, round(level)) for level in fill), flag, bool(values["canonical"]))
    if name == "trivialaugwide":
        require(0 < values["m"] < math.inf, text, "m must be above 0")
        return TrivialAugmentWide(canvas)
    if name == "augmix":
        require(values["m"] <= LEVELS, text, "m must be 0 to 10")
        require(0 < values["a"] <= MAX_ALPHA, text, f"a must be above 0 and at most {MAX_ALPHA}")
        return AugMix(values["m"], int(values["w"]), int(values["d"]), values["a"], canvas)
    require(values["mstd"] <= LEVELS, text, "mstd must be 0 to 10")
    return AutoAugment(TABLES[name], values["mstd"], canvas)
