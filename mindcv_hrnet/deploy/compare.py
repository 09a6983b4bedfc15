"""Proof that a file computes what its network computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMALLEST = 1e-6


def natural_images(count: int, channels: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """(count, channels, height, width) uint8 with the spectrum of photographs, amplitude 1 / frequency.

    D. J. Field, "Relations between the statistics of natural images ...", 1987. The channels have much in common.
    """
    generator = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    shared = generator.standard_normal((count, 1, height, width))
    own = generator.standard_normal((count, channels, height, width))
    waves = np.fft.irfft2(np.fft.rfft2(shared + 0.5 * own) * amplitude, s=(height, width))
    waves -= waves.mean(axis=(2, 3), keepdims=True)
    waves /= waves.std(axis=(2, 3), keepdims=True)
    brightness = generator.uniform(70, 180, (count, 1, 1, 1))
    return np.clip(np.rint(brightness + 55 * waves), 0, 255).astype(np.uint8)


def largest_difference(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """The largest over all outputs, each relative to its own largest value; NaN where one is not finite."""
    assert [each.shape for each in outputs] == [each.shape for each in expected]
    differences = [
        float(np.abs(own - theirs).max() / max(float(np.abs(theirs).max()), SMALLEST))
        for own, theirs in zip(outputs, expected, strict=True)
    ]
    return float(np.max(differences))
