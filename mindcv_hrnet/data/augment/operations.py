"""The image operations that policies choose from, and how a policy draws their levels.

The places where MindCV 0.3 leaves the papers (posterize, shear) are here; a canvas with `canonical` follows the papers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mindcv_hrnet.data import transforms as T

TOP_LEVEL = 10.0


@dataclass(frozen=True)
class Canvas:
    """What geometric operations need besides their level: colour of uncovered pixels and OpenCV's resampling flag."""

    fill: tuple[int, ...]
    flag: int
    canonical: bool = False


# An operation takes the image, its level (0 to TOP_LEVEL), a sign (-1 or 1) and the canvas.
Operation = Callable[[np.ndarray, float, int, Canvas], np.ndarray]
Enhance = Callable[[np.ndarray, float], np.ndarray]


def _blend(operation: Enhance, increasing: bool) -> Operation:
    """Factor 0.1 to 1.9; `increasing` moves away from 1 in either direction as the level rises."""

    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        factor = max(0.1, 1 + sign * 0.9 * level / TOP_LEVEL) if increasing else 0.1 + 1.8 * level / TOP_LEVEL
        return operation(image, factor)

    return apply


def _posterize(increasing: bool) -> Operation:
    """MindCV hands the paper's bits to keep over as bits to drop: level 7 keeps 6 bits, in the paper 2."""

    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        bits = int(level / TOP_LEVEL * 4)
        bits = 4 - bits if increasing else bits
        return T.posterize(image, min(8, max(0, bits) if canvas.canonical else max(1, 8 - bits)))

    return apply


def _solarize(increasing: bool) -> Operation:
    def apply(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
        threshold = int(level / TOP_LEVEL * 255)
        return T.solarize(image, 255 - threshold if increasing else threshold)

    return apply


def _posterize_original(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    """The paper keeps 4 to 8 bits; MindCV drops as many."""
    bits = int(level / TOP_LEVEL * 4) + 4
    return T.posterize(image, bits if canvas.canonical else max(1, 8 - bits))


def _desaturate(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.saturation(image, 0.5 - 0.5 * level / TOP_LEVEL)


def _blur(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    """Sigma 0.1 to 2; the level is drawn by the policy."""
    return T.gaussian_blur(image, 0.1 + 1.9 * level / TOP_LEVEL)


def _rotate(image: np.ndarray, level: float, sign: int, canvas: Canvas) -> np.ndarray:
    return T.rotate(image, sign * 30 * level / TOP_LEVEL, canvas.fill, canvas.flag)


def slope(paper: float, canvas: Canvas) -> float:
    """The slope of a shear. The papers' numbers are slopes; MindCV hands them to an operation that takes degrees."""
    return paper if canvas.canonical else math.tan(math.radians(paper))


def shear_x(image: np.ndarray, slope: float, canvas: Canvas) -> np.ndarray:
    """Shift every row by `slope` times its distance from the centre."""
    return T.affine(image, [[1, slope, 0], [0, 1, 0]], canvas.fill, canvas.flag)


def shear_y(image: np.ndarray, slope: float, canvas: Canvas) -> np.ndarray:
    """Shift every column by `slope` times its distance from the centre."""
    return T.affine(image, [[1, 0, 0], [slope, 1, 0]], canvas.fill, canvas.flag)


def move(image: np.ndarray, right: float, down: float, canvas: Canvas) -> np.ndarray:
    """Move by so many pixels."""
    return T.affine(image, [[1, 0, right], [0, 1, down]], canvas.fill, canvas.flag)


def _shear_slope(level: float, sign: int, canvas: Canvas) -> float:
    return slope(sign * 0.3 * level / TOP_LEVEL, canvas)


def _pixels(level: float, sign: int, side: int) -> float:
    return sign * 0.45 * level / TOP_LEVEL * side


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
    "ShearX": lambda image, level, sign, canvas: shear_x(image, _shear_slope(level, sign, canvas), canvas),
    "ShearY": lambda image, level, sign, canvas: shear_y(image, _shear_slope(level, sign, canvas), canvas),
    "TranslateX": lambda image, level, sign, canvas: move(image, _pixels(level, sign, image.shape[1]), 0, canvas),
    "TranslateY": lambda image, level, sign, canvas: move(image, 0, _pixels(level, sign, image.shape[0]), canvas),
    "PosterizeOriginal": _posterize_original,
    "Desaturate": _desaturate,
    "GaussianBlur": _blur,
}


def sign_of(uniform: float) -> int:
    """1 or -1, each half of the time."""
    return 1 if uniform < 0.5 else -1


def draw_level(first: float, second: float, around: float, deviation: float, highest: float = TOP_LEVEL) -> float:
    """A level from two uniforms: normal around `around`, cut to [0, highest]; uniform in [0, around] for infinity."""
    if math.isinf(deviation):
        level = first * around
    else:
        normal = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)
        level = around + deviation * normal
    return min(max(level, 0.0), highest)
