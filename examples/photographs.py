"""Crops of three CC0 photographs that come with scikit-image: bricks, grass, gravel, (512, 512) grey each.

The left three quarters of each are for training, the right quarter for testing, so that no test pixel was trained on.
"""

import numpy as np
import skimage.data

MATERIALS = ("brick", "grass", "gravel")
BORDER = 384
"""Column at which the part for testing begins."""


def load_photographs(training: bool) -> list[np.ndarray]:
    """One (512, 384) or (512, 128) float32 array for each of `MATERIALS`."""
    columns = slice(None, BORDER) if training else slice(BORDER, None)
    return [getattr(skimage.data, name)()[:, columns].astype(np.float32) for name in MATERIALS]


def random_crop(generator: np.random.Generator, photograph: np.ndarray, side: int) -> np.ndarray:
    """(side, side) float32 of mean 0 and deviation 1: brightness and contrast do not tell the material."""
    top, left = (generator.integers(0, length - side + 1) for length in photograph.shape)
    crop = photograph[top : top + side, left : left + side]
    crop = crop[:, ::-1] if generator.random() < 0.5 else crop
    return (crop - crop.mean()) / crop.std()
