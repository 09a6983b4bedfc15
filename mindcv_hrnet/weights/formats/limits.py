"""What no file of weights needs more of: checked, as the file's own size is, before anything is made of it."""

from typing import Any

MOST_DIMENSIONS = 32  # NumPy has no more
MOST_TENSORS = 100_000


def is_size(value: Any) -> bool:
    """Whether a value out of a file can be a size, an offset or a stride."""
    return type(value) is int and 0 <= value < 1 << 63
