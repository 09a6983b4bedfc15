"""bfloat16, which NumPy does not have."""

import numpy as np


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """uint16 patterns of bfloat16 -> the same values as float32."""
    return (np.ascontiguousarray(bits).astype(np.uint32) << 16).view(np.float32)
