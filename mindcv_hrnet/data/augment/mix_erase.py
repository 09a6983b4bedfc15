"""Parameters of the augmentations that run on the device, drawn on the host: where to erase, what to mix."""

import math
from collections.abc import Sequence

import numpy as np

from mindcv_hrnet.data.rng import Purpose, generator


def draw_erase(
    uniforms: Sequence[float],
    *,
    side: int,
    probability: float,
    scale: Sequence[float],
    ratio: Sequence[float],
    attempts: int,
) -> tuple[int, int, int, int]:
    """Box (y0, x0, y1, x1) to erase in a side x side image, empty (zeros) where nothing is erased.

    Area share uniform in `scale`, width / height uniform in `ratio`, `attempts` tries to fit.
    Reads `erase_draws(attempts)` uniforms.
    """
    if uniforms[0] < probability:
        for attempt in range(1, 1 + 4 * attempts, 4):
            share, aspect, down, across = uniforms[attempt : attempt + 4]
            w_over_h = ratio[0] + aspect * (ratio[1] - ratio[0])
            area = (scale[0] + share * (scale[1] - scale[0])) * side * side
            width = round(math.sqrt(area * w_over_h))
            height = round(width / w_over_h)
            if 0 < height < side and 0 < width < side:
                top, left = int(down * (side - height + 1)), int(across * (side - width + 1))
                return top, left, top + height, left + width
    return 0, 0, 0, 0


def erase_draws(attempts: int) -> int:
    """How many uniforms `draw_erase` reads."""
    return 1 + 4 * attempts


def draw_mix(
    *, seed: int, epoch: int, step: int, rank: int, side: int, mixup: float, cutmix: float, probability: float
) -> tuple[float, float, float, float, float]:
    """(y0, x0, y1, x1, keep) of a batch: inside the box an image becomes keep * own + (1 - keep) * partner.

    With `probability` the batch is mixed: by mixup (whole image, keep from Beta(mixup, mixup)) or cutmix (keep 0, box
    of area 1 - Beta(cutmix, cutmix) around a uniform centre, cut at the border), each half of the time when both
    strengths are positive. Otherwise the box is empty.
    """
    draw = generator(seed, Purpose.MIX, epoch, step, rank)
    mixed, switch, down, across = draw.random(4)
    if mixed >= probability or not (mixup > 0 or cutmix > 0):
        return 0.0, 0.0, 0.0, 0.0, 1.0
    if cutmix > 0 and (mixup <= 0 or switch < 0.5):
        half = int(side * math.sqrt(1 - draw.beta(cutmix, cutmix))) // 2
        centre_y, centre_x = int(down * side), int(across * side)
        low_y, high_y = max(centre_y - half, 0), min(centre_y + half, side)
        low_x, high_x = max(centre_x - half, 0), min(centre_x + half, side)
        return float(low_y), float(low_x), float(high_y), float(high_x), 0.0
    return 0.0, 0.0, float(side), float(side), float(draw.beta(mixup, mixup))


def fill_with_noise(
    image: np.ndarray, box: Sequence[int], noise: np.random.Generator, *, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Erase a box of a (C, H, W) uint8 image in place: after normalisation its pixels are N(0, 1), cut at 0 and 255."""
    y0, x0, y1, x1 = box
    shape = (y1 - y0, x1 - x0, len(image))
    pixels = np.asarray(mean) + np.asarray(std) * noise.standard_normal(shape)
    image[:, y0:y1, x0:x1] = np.clip(np.rint(pixels), 0, 255).transpose(2, 0, 1)
