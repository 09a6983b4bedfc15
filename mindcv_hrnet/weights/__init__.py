"""Weights of any origin: read, write, rename, fit into a network, fetch. Imports runtime alone.

Reading and writing need neither MindSpore nor PyTorch; what puts weights into a network is looked up on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindcv_hrnet.weights.read import Weights, count_classes, read_checkpoint, read_entries, read_weights
from mindcv_hrnet.weights.write import write_weights

if TYPE_CHECKING:
    from mindcv_hrnet.weights.fit import adapt_weights, fit_weights, load_weights

__all__ = [
    "Weights",
    "adapt_weights",
    "count_classes",
    "fit_weights",
    "load_weights",
    "read_checkpoint",
    "read_entries",
    "read_weights",
    "write_weights",
]

_FITTING = ("adapt_weights", "fit_weights", "load_weights")


def __getattr__(name: str) -> Any:
    if name in _FITTING:
        from mindcv_hrnet.weights import fit as fitting

        return getattr(fitting, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
