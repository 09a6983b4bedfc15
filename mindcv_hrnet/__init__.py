"""HRNet on MindSpore: train, validate, export, serve.

Importing this package does not import MindSpore, so that reading a recipe or printing a help page stays fast;
the names below that need it are looked up on first use. It does choose MindSpore's CPU kernels, see `runtime.kernels`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mindcv_hrnet.runtime.kernels import choose_kernels

if TYPE_CHECKING:
    from mindcv_hrnet.jobs.predict import load_classifier
    from mindcv_hrnet.models import create_model, describe, list_models

__version__ = "0.2.0"

__all__ = ["__version__", "create_model", "describe", "list_models", "load_classifier"]


choose_kernels(os.environ)


def __getattr__(name: str) -> Any:
    if name in ("create_model", "describe", "list_models"):
        from mindcv_hrnet import models

        return getattr(models, name)
    if name == "load_classifier":
        from mindcv_hrnet.jobs.predict import load_classifier

        return load_classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
