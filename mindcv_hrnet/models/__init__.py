"""HRNet and its variants. Imports weights and runtime.

The table of variants is here at once; what needs MindSpore is looked up on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mindcv_hrnet.models.variants import VARIANTS, Description, Spec, describe, list_models

if TYPE_CHECKING:
    from mindcv_hrnet.models.batch_norm import recompute, synchronise
    from mindcv_hrnet.models.factory import create_model
    from mindcv_hrnet.models.freezing import freeze
    from mindcv_hrnet.models.hrnet import HRNet, HRNetFeatures
    from mindcv_hrnet.models.precision import HALF, set_precision

__all__ = [
    "HALF",
    "VARIANTS",
    "Description",
    "HRNet",
    "HRNetFeatures",
    "Spec",
    "create_model",
    "describe",
    "freeze",
    "list_models",
    "recompute",
    "set_precision",
    "synchronise",
]

_HOMES = {
    "HALF": "precision",
    "HRNet": "hrnet",
    "HRNetFeatures": "hrnet",
    "create_model": "factory",
    "freeze": "freezing",
    "recompute": "batch_norm",
    "set_precision": "precision",
    "synchronise": "batch_norm",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
