"""What travels inside a deployed file beside its weights. Imports no MindSpore.

One JSON text under the key `mindcv_hrnet`: in a MINDIR among its `user_info`, in an ONNX file among its
`metadata_props`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mindcv_hrnet import __version__
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.recipe.keys import AugmentationConfig

KEY = "mindcv_hrnet"
LAYOUT = 1
"""Raised when files change so that an older package would misread them."""
LARGEST_SIDE, LARGEST_BATCH, SMALLEST_CROP, SMALLEST_STD = 8192, 65_536, 0.01, 1e-6
LARGEST_STATISTIC = 1e6
INTERPOLATIONS = AugmentationConfig.__dataclass_fields__["interpolation"].metadata["choices"]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """How to make a network's input, and what its outputs mean.

    Input: (N, in_channels, image_resize, image_resize), RGB or grey. float32 is `(pixel - mean) / std` with pixels in
    0..255, uint8 the pixels themselves. `images.Preprocessor` makes it of a file: the shorter side becomes
    floor(image_resize / crop_pct), the longer one in proportion, rounded down, and the centre is cropped. Output:
    (N, classes) logits, or of a backbone one (N, C_i, H_i, W_i) map for each name of `outputs`.
    """

    model: str
    in_channels: int
    image_resize: int
    crop_pct: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    """In the order of the logits; empty where nobody named them."""
    input_dtype: str = "float32"
    dynamic_size: bool = False
    """Whether H and W may be anything from 32 up, instead of `image_resize`."""
    batch_size: int = 0
    """The only N that the file takes; 0: any."""
    outputs: tuple[str, ...] = ("logits",)
    version: str = ""
    """Of the package that wrote the file."""
    weights_digest: str = ""
    """`digest` of the weights, the same in every format."""
    layout: int = LAYOUT

    @classmethod
    def of(
        cls,
        config: Config,
        class_names: Sequence[str],
        *,
        outputs: Sequence[str] = ("logits",),
        weights_digest: str = "",
    ) -> Metadata:
        """The metadata of a recipe."""
        a, export = config.augmentation, config.export
        return cls(
            model=config.model.model,
            in_channels=config.model.in_channels,
            image_resize=a.image_resize,
            crop_pct=a.crop_pct,
            interpolation=a.interpolation,
            mean=a.mean,
            std=a.std,
            class_names=tuple(class_names),
            input_dtype=export.export_input,
            dynamic_size=export.export_dynamic_size,
            batch_size=export.export_batch_size,
            outputs=tuple(outputs),
            version=__version__,
            weights_digest=weights_digest,
        )

    @property
    def input_shape(self) -> tuple[int | None, int, int | None, int | None]:
        """(N, C, H, W), None where any number will do."""
        side = None if self.dynamic_size else self.image_resize
        return self.batch_size or None, self.in_channels, side, side

    @property
    def is_classifier(self) -> bool:
        """Whether the outputs are logits, and not the maps of a backbone."""
        return self.outputs == ("logits",)

    def to_json(self) -> str:
        """The text that `from_json` reads."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: Path) -> Metadata:
        """What the file `path` says of itself, or a CheckpointError that tells why it cannot be used."""
        try:
            content = json.loads(text)
            layout, version = content.get("layout", LAYOUT), content.get("version", "")
            strange = sorted(content.keys() - {field.name for field in fields(cls)})
            if layout > LAYOUT or strange:
                raise CheckpointError(
                    f"{path}: was written by mindcv-hrnet {version or '(unknown)'}, this is {__version__}; "
                    "update this package, or export the file again with it"
                )
            # JSON knows no tuples
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            found = cls(**values)
            if not found._makes_sense():
                raise ValueError
            return found
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{path}: its labels and preprocessing are damaged; export it again") from None

    def _makes_sense(self) -> bool:
        """Whether every entry, which a file may set to anything, is of its type and within its limits."""

        def numbers(values: Any, least: float) -> bool:
            count = len(values) if type(values) is tuple else 0
            return count == self.in_channels and all(
                type(value) in (int, float) and least <= value <= LARGEST_STATISTIC for value in values
            )

        def texts(values: Any) -> bool:
            return type(values) is tuple and all(type(value) is str for value in values)

        return (
            texts((self.model, self.version, self.weights_digest))
            and texts(self.class_names)
            and texts(self.outputs)
            and len(self.outputs) > 0
            and type(self.in_channels) is int
            and type(self.image_resize) is int
            and 1 <= self.image_resize <= LARGEST_SIDE
            and type(self.crop_pct) in (int, float)
            and SMALLEST_CROP <= self.crop_pct <= 1
            and self.interpolation in INTERPOLATIONS
            and numbers(self.mean, -LARGEST_STATISTIC)
            and numbers(self.std, SMALLEST_STD)
            and self.input_dtype in ("float32", "uint8")
            and type(self.dynamic_size) is bool
            and type(self.batch_size) is int
            and 0 <= self.batch_size <= LARGEST_BATCH
        )


def digest(weights: Mapping[str, np.ndarray]) -> str:
    """`sha256:...` over names, shapes and float32 values, whatever file and order they came in."""
    total = hashlib.sha256()
    for name in sorted(weights):
        values = np.ascontiguousarray(weights[name], np.float32)
        total.update(f"{name} {values.shape}\n".encode())
        total.update(values.tobytes())
    return f"sha256:{total.hexdigest()}"
