"""Model files at work: one class for both formats. ONNX files run without MindSpore."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from mindcv_hrnet.deploy.container import ONNX, read_container
from mindcv_hrnet.deploy.metadata import Metadata
from mindcv_hrnet.errors import CheckpointError, ConfigError, UserError
from mindcv_hrnet.runtime.files import expand_home, reason_of

SMALLEST_SIDE = 32


class Model(ABC):
    """A network that is ready to compute. Any number of threads may call it at once."""

    format: str

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, C, H, W) of the metadata's `input_dtype` -> (N, K) float32 logits, for any N from 1 up.

        Raises UserError for another shape or type, or where the file is a backbone.
        """
        if not self.metadata.is_classifier:
            raise UserError(f"this file gives {', '.join(self.metadata.outputs)}, not logits; call its maps(images)")
        return self.maps(images)[0]

    def maps(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """(N, C, H, W) -> every output, float32, in the order of the metadata's `outputs`."""
        self._check(images)
        fixed = self.metadata.batch_size
        if not fixed or len(images) == fixed:
            return self._compute(images)
        parts = [self._padded(images[start : start + fixed], fixed) for start in range(0, len(images), fixed)]
        return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))

    @abstractmethod
    def _compute(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        """Every output, of a batch that the file takes."""

    def _padded(self, images: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
        count = len(images)
        rest = np.zeros((size - count, *images.shape[1:]), images.dtype)
        return tuple(output[:count] for output in self._compute(np.concatenate((images, rest))))

    def _check(self, images: np.ndarray) -> None:
        wanted = self.metadata.input_shape[1:]
        fits = images.ndim == 4 and len(images) > 0
        fits = fits and all(
            own == there or (there is None and own >= SMALLEST_SIDE)
            for own, there in zip(images.shape[1:], wanted, strict=True)
        )
        if not fits or images.dtype != self.metadata.input_dtype:
            sides = ", ".join(f"{SMALLEST_SIDE} or more" if side is None else str(side) for side in wanted)
            raise UserError(
                f"images are {tuple(images.shape)} {images.dtype}; {self.metadata.model} takes "
                f"(1 or more, {sides}) {self.metadata.input_dtype}"
            )


class OnnxModel(Model):
    """An ONNX file in ONNX Runtime, on the best device that its package offers."""

    format = ONNX

    def __init__(self, path: Path, metadata: Metadata, threads: int | None = None, *, patient: bool = False) -> None:
        super().__init__(metadata)
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(
                f"{path}: the package 'onnxruntime' is missing here; pip install 'mindcv-hrnet[onnx]'"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        if patient:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what goes wrong is raised as well
        try:
            # Given the bytes, the session never reads other files that a model could name
            self.session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=_providers(onnxruntime.get_available_providers())
            )
        except Exception as error:  # the runtime has a class of its own for each kind of failure
            raise CheckpointError(
                f"{path}: ONNX Runtime {onnxruntime.__version__} refuses it ({reason_of(error)}); export it again"
            ) from None
        self._input = self.session.get_inputs()[0].name
        if [output.name for output in self.session.get_outputs()] != list(metadata.outputs):
            raise CheckpointError(f"{path}: its outputs are not those of its metadata; export it again with export.py")

    def _compute(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(self.session.run(None, {self._input: np.ascontiguousarray(images)}))


def _providers(available: list[str]) -> list[str]:
    """Devices to try, best first: an Ascend, an NVIDIA GPU, the CPU."""
    return [name for name in ("CANNExecutionProvider", "CUDAExecutionProvider") if name in available] + [
        "CPUExecutionProvider"
    ]


class CellModel(Model):
    """A network in MindSpore: a MINDIR file, or one that Python built. Calls wait for each other.

    MindSpore is not made for several threads at once, not even with a graph each, as when a server loads a new file.
    """

    _lock = threading.Lock()

    def __init__(self, cell: Any, metadata: Metadata, format: str) -> None:
        super().__init__(metadata)
        self.cell, self.format = cell, format

    def _compute(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        from mindspore import Tensor

        with self._lock:
            outputs = self.cell(Tensor(np.ascontiguousarray(images)))
            return tuple(each.asnumpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,)))


def load_model(path: str | Path, *, threads: int | None = None, patient: bool = False) -> Model:
    """The model in a .mindir or .onnx file that `export` wrote; its content tells which, not its suffix.

    `threads`: cores that one call may use; None: all of them. MindSpore has one such number for the whole process, and
    takes it before its first graph runs. `patient`: ONNX Runtime's threads sleep while they wait for each other and
    leave their core to others; otherwise they spin. Raises CheckpointError with the reason for any other file.
    """
    file = expand_home(str(path))
    kind, metadata = read_container(file)
    if kind == ONNX:
        return OnnxModel(file, metadata, threads, patient=patient)
    from mindcv_hrnet.deploy.mindir import load_mindir

    return CellModel(load_mindir(file, threads=threads), metadata, kind)
