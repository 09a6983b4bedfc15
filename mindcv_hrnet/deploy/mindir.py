"""MINDIR files that carry their own labels and preprocessing, in the file's `user_info`."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from mindspore import dtype as mstype

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.files import muted_logging, reason_of

METADATA_KEY = "mindcv_hrnet"


@dataclass(frozen=True)
class Metadata:
    """What a deployed network needs besides its weights: how to make its input, and what its outputs mean.

    Input: (N, in_channels, image_resize, image_resize) float32, RGB, `(pixel - mean) / std` with pixels in 0..255,
    the shorter side resized to floor(image_resize / crop_pct) and the centre cropped. Output: (N, classes) logits.
    """

    model: str
    in_channels: int
    image_resize: int
    crop_pct: float
    interpolation: str
    mean: Sequence[float]
    std: Sequence[float]
    class_names: Sequence[str]

    @classmethod
    def of(cls, config: Config, class_names: Sequence[str]) -> "Metadata":
        """The metadata of a recipe."""
        a = config.augmentation
        return cls(
            *(config.model.model, config.model.in_channels, a.image_resize, a.crop_pct, a.interpolation),
            *(list(a.mean), list(a.std), list(class_names)),
        )


def input_placeholder(metadata: Metadata, batch_size: int) -> Tensor:
    """The graph's input; `batch_size` 0 leaves that dimension open."""
    size = metadata.image_resize
    return Tensor(shape=[batch_size or None, metadata.in_channels, size, size], dtype=mstype.float32)


def write_mindir(network: nn.Cell, metadata: Metadata, batch_size: int, path: Path) -> None:
    """Export `network` to `path` (suffix .mindir) with the metadata inside."""

    def attach(model: Any) -> None:
        model.user_info[METADATA_KEY] = json.dumps(asdict(metadata))

    size = metadata.image_resize
    if batch_size:
        example = Tensor(np.zeros((batch_size, metadata.in_channels, size, size), np.float32))
    else:
        example = input_placeholder(metadata, 0)
    with tempfile.TemporaryDirectory() as folder:
        # MindSpore refuses a path with a space or an accent in it
        file = Path(folder) / "model.mindir"
        ms.export(network, example, file_name=str(file), file_format="MINDIR", custom_func=attach)
        shutil.copyfile(file, path)


def load_mindir(path: Path, batch_size: int = 0) -> tuple[nn.Cell, Metadata]:
    """(graph, metadata) of a file that `export` wrote, or CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; pass a .mindir file that export.py wrote")
    with tempfile.TemporaryDirectory() as folder:
        # load_mindir insists on the suffix
        link = Path(folder) / "model.mindir"
        link.symlink_to(path.resolve())
        try:
            with muted_logging():
                information = ms.load_mindir(str(link)).user_info
            if METADATA_KEY not in information:
                raise CheckpointError(f"{path}: holds no labels and preprocessing; export it again with export.py")
            graph = nn.GraphCell(ms.load(str(link)))
        except CheckpointError:
            raise
        except Exception as error:  # MindSpore raises many kinds for a damaged file
            raise CheckpointError(f"{path}: cannot be read as MINDIR ({reason_of(error)}); is it complete?") from None
    try:
        metadata = Metadata(**json.loads(information[METADATA_KEY]))
    except (TypeError, ValueError):
        raise CheckpointError(f"{path}: was written by another version; export it again with export.py") from None
    if not batch_size:
        # without it each new batch size compiles anew
        graph.set_inputs(input_placeholder(metadata, 0))
    return graph, metadata
