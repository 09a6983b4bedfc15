"""RandAugment as the published HRNet recipe has it, and the policy strings that name it.

A policy string is a name and settings joined by dashes: `randaug-m7-mstd0.5`. Operations, level ranges and the two
places where MindCV 0.3 leaves the paper are in one table below; `-canonical1` turns those two places back.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from mindcv_hrnet.data import transforms as T
from mindcv_hrnet.data.transforms import Augmentation
from mindcv_hrnet.errors import ConfigError

LEVELS = 10.0
POLICIES = ("randaug",)


@dataclass(frozen=True)
class Canvas:
    """What geometric operations need besides their level: colour of uncovered pixels and OpenCV's resampling flag."""

    fill: tuple[int, ...]
    flag: int
    canonical: bool = False


# An operation takes the image, its level (0 to LEVELS), a sign (-1 or 1) and the canvas.
Operation = Callable[[np.ndarray, float, int, Canvas], np.ndarray]
Enhance = Callable[[np.ndarray, float], np.ndarray]


def _blend(operation: Enhance, increasing: bool) -> Operation:
    """Factor 0.1 to 1.9; `increasing` moves away from 1 in either direction as the level rises."""

    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        factor = max(0.1, 1 + sign * 0.9 * level / LEVELS) if increasing else 0.1 + 1.8 * level / LEVELS
        return operation(image, factor)

    return apply


def _posterize(increasing: bool) -> Operation:
    """MindCV hands the paper's bits to keep over as bits to drop: level 7 keeps 6 bits, in the paper 2."""

    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        bits = int(level / LEVELS * 4)
        bits = 4 - bits if increasing else bits
        return T.posterize(image, min(8, max(0, bits) if canvas.canonical else max(1, 8 - bits)))

    return apply


def _solarize(increasing: bool) -> Operation:
    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        threshold = int(level / LEVELS * 255)
        return T.solarize(image, 255 - threshold if increasing else threshold)

    return apply


def _shear(level: float, sign: int, canvas: Canvas) -> float:
    """Slope. The paper's 0.3 is a slope; MindCV hands it to an operation that takes degrees."""
    slope = sign * 0.3 * level / LEVELS
    return slope if canvas.canonical else math.tan(math.radians(slope))


def _shear_x(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.affine(image, [[1, _shear(level, sign, canvas), 0], [0, 1, 0]], canvas.fill, canvas.flag)


def _shear_y(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.affine(image, [[1, 0, 0], [_shear(level, sign, canvas), 1, 0]], canvas.fill, canvas.flag)


def _translate_x(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    shift = sign * 0.45 * level / LEVELS * image.shape[1]
    return T.affine(image, [[1, 0, shift], [0, 1, 0]], canvas.fill, canvas.flag)


def _translate_y(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    shift = sign * 0.45 * level / LEVELS * image.shape[0]
    return T.affine(image, [[1, 0, 0], [0, 1, shift]], canvas.fill, canvas.flag)


def _rotate(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.rotate(image, sign * 30 * level / LEVELS, canvas.fill, canvas.flag)


OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda image, level, sign, canvas: T.auto_contrast(image),
    "Equalize": lambda image, level, sign, canvas: T.equalize(image),
    "Invert": lambda image, level, sign, canvas: T.invert(image),
    "Rotate": _rotate,
    "Posterize": _posterize(increasing=False),
    "PosterizeIncreasing": _posterize(increasing=True),
    "Solarize": _solarize(increasing=False),
    "SolarizeIncreasing": _solarize(increasing=True),
    "Color": _blend(T.saturation, increasing=False),
    "ColorIncreasing": _blend(T.saturation, increasing=True),
    "Contrast": _blend(T.contrast, increasing=False),
    "ContrastIncreasing": _blend(T.contrast, increasing=True),
    "Brightness": _blend(T.brightness, increasing=False),
    "BrightnessIncreasing": _blend(T.brightness, increasing=True),
    "Sharpness": _blend(T.sharpness, increasing=False),
    "SharpnessIncreasing": _blend(T.sharpness, increasing=True),
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
}

# The order matters: a draw picks by position.
RANDAUG = (
    *("AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast", "Brightness"),
    *("Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY"),
)
RANDAUG_INCREASING = tuple(f"{name}Increasing" if f"{name}Increasing" in OPERATIONS else name for name in RANDAUG)
# `-w0`: probabilities in the order of RANDAUG
WEIGHTS = (0.025, 0.005, 0.0, 0.3, 0.005, 0.005, 0.025, 0.005, 0.005, 0.025, 0.2, 0.2, 0.1, 0.1)


@dataclass(frozen=True)
class RandAugment:
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
        return self.DRAWS_PER_LAYER * self.layers

    def __call__(self, image: np.ndarray, uniforms: Sequence[float]) -> np.ndarray:
        return T.after(image, self.steps(image, uniforms))

    def steps(self, image: np.ndarray, uniforms: Sequence[float]) -> Iterator[T.Step]:
        """(operation, signed level, result) of each operation that is applied, in order."""
        left = list(range(len(self.operations)))
        for layer in range(self.layers):
            choice, applied, first, second, side = uniforms[self.DRAWS_PER_LAYER * layer :][: self.DRAWS_PER_LAYER]
            place = left[int(choice * len(left))] if self.weights is None else self._take(left, choice)
            if applied < 0.5:
                name, operation = self._operations[place]
                level, sign = self._level(first, second), 1 if side < 0.5 else -1
                image = operation(image, level, sign, self.canvas)
                yield name, sign * level, image

    def _take(self, left: list[int], choice: float) -> int:
        """Remove one place from `left`, drawn by weight."""
        assert self.weights is not None
        bounds = np.cumsum([self.weights[place] for place in left])
        return left.pop(int(np.searchsorted(bounds, choice * bounds[-1], side="right")))

    def _level(self, first: float, second: float) -> float:
        if math.isinf(self.deviation):
            level = first * self.magnitude
        else:
            normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
            level = self.magnitude + self.deviation * normal
        return min(max(level, 0.0), self.highest)


LONGEST = 20  # no policy names more operations in a row; a mistyped number would only make a run crawl
DEFAULTS = {"m": LEVELS, "n": 2.0, "mstd": 0.5, "mmax": LEVELS, "inc": 0.0, "canonical": 0.0}
SETTINGS = {
    "m": "magnitude, 0 to 10",
    "n": "operations per image",
    "mstd": "deviation of the magnitude; above 100: uniform from 0 to m",
    "mmax": "highest magnitude",
    "inc": "1: severity rises with the magnitude",
    "w": "0: draw operations by weights",
    "canonical": "1: posterize and shear as in the paper",
}


def build_policy(text: str, fill: Sequence[float], flag: int = cv2.INTER_LINEAR) -> Augmentation:
    """The augmentation that a policy string names. `fill`: colour of uncovered pixels, 0 to 255 per channel.

    Raises ConfigError naming the part that is wrong and the choices.
    """
    name, *parts = text.split("-")
    if name not in POLICIES:
        raise ConfigError(f"auto_augment: unknown policy '{name}' in '{text}'; choices: {', '.join(POLICIES)}")
    values = dict(DEFAULTS)
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?|inf)", part)
        if not match or match[1] not in SETTINGS:
            known = ", ".join(f"{key} ({meaning})" for key, meaning in SETTINGS.items())
            raise ConfigError(f"auto_augment: '{part}' in '{text}' is no setting with a number; choices: {known}")
        values[match[1]] = float(match[2])
    weighted, layers = "w" in values, values["n"]
    require(values.get("w", 0) == 0, text, "w must be 0; there is one table of weights")
    require_count(layers, text, "n")
    require(not weighted or layers <= sum(w > 0 for w in WEIGHTS), text, "n is more than w0 has operations")
    require({values["inc"], values["canonical"]} <= {0, 1}, text, "inc and canonical are 0 or 1")
    require(0 < values["mmax"] < math.inf and values["m"] <= values["mmax"], text, "m must be at most mmax (10)")
    names = RANDAUG_INCREASING if values["inc"] else RANDAUG
    return RandAugment(
        operations={name: OPERATIONS[name] for name in names},
        magnitude=values["m"],
        deviation=math.inf if values["mstd"] > 100 else values["mstd"],
        layers=int(layers),
        highest=values["mmax"],
        weights=WEIGHTS if weighted else None,
        canvas=Canvas(tuple(min(255, round(level)) for level in fill), flag, bool(values["canonical"])),
    )


def require(condition: bool, text: str, meaning: str) -> None:
    """ConfigError that `meaning` does not hold for the policy string `text`, unless `condition`."""
    if not condition:
        raise ConfigError(f"auto_augment: '{text}': {meaning}")


def require_count(value: float, text: str, setting: str) -> None:
    """ConfigError unless `value` is a whole number from 1 to LONGEST."""
    require(value in range(1, LONGEST + 1), text, f"{setting} must be a whole number from 1 to {LONGEST}")
