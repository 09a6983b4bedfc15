"""Encoded images -> a deployed network's input, by the code that validation uses. Imports no MindSpore."""

from __future__ import annotations

import numpy as np

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.transforms import EvalTransform, interpolation
from mindcv_hrnet.deploy.metadata import Metadata


class Preprocessor:
    """The bytes of an image file -> (C, S, S) uint8. Holds no state, so threads may share it."""

    def __init__(self, metadata: Metadata) -> None:
        self.shape = (metadata.in_channels, metadata.image_resize, metadata.image_resize)
        method = interpolation(metadata.interpolation).pillow
        self._transform = EvalTransform(metadata.image_resize, metadata.crop_pct, method)
        scale = 1 / np.asarray(metadata.std, np.float64)
        self._scale = scale.reshape(-1, 1, 1).astype(np.float32)
        self._shift = (-np.asarray(metadata.mean) * scale).reshape(-1, 1, 1).astype(np.float32)
        self._takes_pixels = metadata.input_dtype == "uint8"

    def __call__(self, data: bytes, out: np.ndarray | None = None) -> np.ndarray:
        """(C, S, S) uint8, RGB or grey; written into `out` where that is given. Raises UnreadableImage."""
        pixels = np.empty(self.shape, np.uint8) if out is None else out
        self._transform(data, pixels)
        return pixels

    def of_pixels(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (C, S, S) uint8: the same for an image that is decoded already."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UnreadableImage(f"it is {tuple(image.shape)} {image.dtype}, not (H, W, 3) uint8 RGB")
        pixels = np.empty(self.shape, np.uint8)
        self._transform.place(np.ascontiguousarray(image), pixels)
        return pixels

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """(..., C, H, W) uint8 -> float32, (pixel - mean) / std, computed as in training."""
        normal = pixels.astype(np.float32)
        normal *= self._scale
        normal += self._shift
        return normal

    def as_input(self, pixels: np.ndarray) -> np.ndarray:
        """(..., C, H, W) uint8 -> what the model file takes: the same, or normalised."""
        return pixels if self._takes_pixels else self.normalize(pixels)
