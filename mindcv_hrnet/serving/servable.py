"""A model file, loaded and checked, with what a server needs around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.labels import label_names
from mindcv_hrnet.deploy.runner import Model, load_model
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import digest_of, reason_of
from mindcv_hrnet.serving.limits import Refused, check_pixels


@dataclass(frozen=True)
class Signature:
    """What changes when a file is replaced."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Signature | None:
        """None where the file is not there, as between the two halves of a careless replacement."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


@dataclass(frozen=True)
class Servable:
    """`model` maps (n, C, H, W) to (n, classes) logits. `version` is the beginning of the file's SHA-256."""

    model: Model
    preprocess: Preprocessor
    classes: int
    version: str
    signature: Signature | None

    @classmethod
    def load(cls, path: Path, *, threads: int, max_batch: int) -> Servable:
        """Load and try out a file. CheckpointError says what is wrong with it."""
        signature = Signature.of(path)
        # the cores are shared with HTTP and with what prepares images
        model = load_model(path, threads=threads, patient=True)
        classes = _try_out(model, max_batch, path)
        return cls(model, Preprocessor(model.metadata), classes, _version(path), signature)

    def prepare(self, images: np.ndarray | Sequence[bytes], max_pixels: int) -> np.ndarray:
        """Pixels or encoded images -> what the model takes, (n, C, H, W). An image that cannot be used is refused."""
        if isinstance(images, np.ndarray):
            return self.preprocess.as_input(images) if images.dtype == np.uint8 else images
        pixels = np.empty((len(images), *self.preprocess.shape), np.uint8)
        for index, (data, out) in enumerate(zip(images, pixels, strict=True)):
            try:
                check_pixels(data, max_pixels)
                self.preprocess(data, out)
            except UnreadableImage as error:
                which = f"image {index}" if len(images) > 1 else "the image"
                raise Refused(422, f"{which} cannot be used: {error}") from None
        return self.preprocess.as_input(pixels)

    def label(self, index: int) -> str:
        """The class's name, as `predict` has it."""
        return label_names(self.model.metadata.class_names, self.classes)[index]


def _try_out(model: Model, max_batch: int, path: Path) -> int:
    """The number of classes, after a smallest and a largest batch, so that no client waits for first times."""
    metadata = model.metadata
    if not metadata.is_classifier:
        raise CheckpointError(f"{path}: gives {', '.join(metadata.outputs)}, not logits; export a classifier to serve")
    shape = (metadata.in_channels, metadata.image_resize, metadata.image_resize)
    for count in {1, max_batch}:
        logits = model(np.zeros((count, *shape), metadata.input_dtype))
        if logits.ndim != 2 or len(logits) != count or not np.isfinite(logits).all():
            raise CheckpointError(f"{path}: does not give finite logits for a black image; export it again")
    names = metadata.class_names
    if names and len(names) != logits.shape[1]:
        raise CheckpointError(f"{path}: has {logits.shape[1]} classes, but names {len(names)}; export it again")
    return int(logits.shape[1])


def _version(path: Path) -> str:
    try:
        return digest_of(path)[:12]
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({reason_of(error)})") from None
