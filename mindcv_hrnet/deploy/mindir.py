"""MINDIR files that carry their own labels and preprocessing, in the file's `user_info`."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from mindcv_hrnet.deploy.container import MINDIR, read_container, seal
from mindcv_hrnet.deploy.metadata import KEY, Metadata
from mindcv_hrnet.errors import CheckpointError, ConfigError
from mindcv_hrnet.runtime.files import muted_logging, reason_of


def input_placeholder(metadata: Metadata) -> Tensor:
    """The graph's input; sides that the metadata leaves open stay open."""
    return Tensor(shape=list(metadata.input_shape), dtype=getattr(ms, metadata.input_dtype))


def write_mindir(network: nn.Cell, metadata: Metadata, path: Path) -> None:
    """Export `network`, which takes what the metadata says, to `path` with the metadata inside."""

    def attach(model: Any) -> None:
        model.user_info[KEY] = metadata.to_json()

    example = input_placeholder(metadata)
    if None not in metadata.input_shape:
        example = Tensor(np.zeros(example.shape, metadata.input_dtype))
    with tempfile.TemporaryDirectory() as folder:
        # MindSpore refuses a path with a space or an accent in it
        file = Path(folder) / "model.mindir"
        ms.export(network, example, file_name=str(file), file_format=MINDIR, custom_func=attach)
        shutil.copyfile(file, path)
    seal(path)


def write_air(network: nn.Cell, metadata: Metadata, path: Path) -> None:
    """Export `network` to `path` as AIR, which only an Ascend writes and which holds no metadata."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.air"
        example = Tensor(np.zeros(input_placeholder(metadata).shape, metadata.input_dtype))
        ms.export(network, example, file_name=str(file), file_format="AIR")
        shutil.copyfile(file, path)


def load_mindir(path: Path, *, threads: int | None = None) -> nn.Cell:
    """The graph of a file that `write_mindir` wrote, ready for the batches that its metadata admits.

    Raises CheckpointError. `threads`: as `runner.load_model` says.
    """
    kind, metadata = read_container(path)
    if kind != MINDIR:
        raise CheckpointError(f"{path}: holds {kind}, not MINDIR; load it with load_model")
    if threads:
        _limit_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        # MindSpore insists on the suffix
        link = Path(folder) / "model.mindir"
        link.symlink_to(path.resolve())
        try:
            with muted_logging():
                graph = nn.GraphCell(ms.load(str(link)))
        except Exception as error:  # MindSpore raises many kinds for a damaged file
            raise CheckpointError(f"{path}: cannot be read as MINDIR ({reason_of(error)}); is it complete?") from None
    if not metadata.batch_size:
        # without it each new batch size compiles anew
        graph.set_inputs(input_placeholder(metadata))
    return graph


@functools.cache
def _limit_threads(threads: int) -> None:
    """MindSpore takes the number once in a process; a second file with the same number is fine."""
    try:
        ms.runtime.dispatch_threads_num(threads)
    except RuntimeError:
        raise ConfigError(f"threads: {threads} comes too late; MindSpore takes one number in a process") from None
