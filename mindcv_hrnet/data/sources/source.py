"""What every source of samples offers, wherever its images lie."""

from typing import Protocol

import numpy as np


class Source(Protocol):
    """Encoded images with their labels, by index."""

    root: str
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded image. Raises OSError."""
        ...

    def path(self, index: int) -> str:
        """Where the sample lies, for messages."""
        ...
