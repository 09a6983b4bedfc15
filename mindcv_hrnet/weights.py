"""Read network weights from a checkpoint file, all of them or none."""

import logging
from collections.abc import Mapping
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn

from mindcv_hrnet.errors import CheckpointError

logger = logging.getLogger(__name__)

NAMES_SHOWN = 3


def read_checkpoint(path: str) -> dict[str, Parameter]:
    """Name -> parameter of a MindSpore checkpoint, or a one-line CheckpointError."""
    file = Path(path).expanduser()
    if not path:
        raise CheckpointError("ckpt_path is empty; pass --ckpt_path FILE")
    if not file.exists():
        raise CheckpointError(f"{path}: checkpoint not found; pass --ckpt_path FILE")
    if file.is_dir():
        raise CheckpointError(f"{path}: is a folder; pass a checkpoint file, such as {path}/NAME-best.ckpt")
    if file.suffix != ".ckpt":
        raise CheckpointError(f"{path}: not a MindSpore checkpoint by its name; it must end in .ckpt")
    try:
        parameters = ms.load_checkpoint(str(file))
    except Exception as error:  # MindSpore raises many kinds for a damaged file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a MindSpore checkpoint ({reason}); is it complete?") from None
    for name, parameter in parameters.items():
        value = parameter.asnumpy()
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; use an earlier checkpoint")
    return parameters


def count_classes(parameters: Mapping[str, Parameter], path: str) -> int:
    """Classes of the classifier in a checkpoint."""
    if "classifier.weight" not in parameters:
        raise CheckpointError(f"{path}: has no classifier.weight; it is not a checkpoint of an HRNet classifier")
    return int(parameters["classifier.weight"].shape[0])


def load_weights(network: nn.Cell, path: str) -> None:
    """Put every weight of the checkpoint at `path` into `network`; CheckpointError lists what does not fit."""
    fit_weights(network, read_checkpoint(path), path)


def fit_weights(network: nn.Cell, parameters: Mapping[str, Parameter], path: str) -> None:
    """Put `parameters` into `network`. Nothing is changed unless names and shapes all fit."""
    own = network.parameters_dict()
    missing = [name for name in own if name not in parameters]
    unknown = [name for name in parameters if name not in own]
    shapes = [
        f"{name} is {tuple(parameters[name].shape)}, the network has {tuple(own[name].shape)}"
        for name in own
        if name in parameters and tuple(parameters[name].shape) != tuple(own[name].shape)
    ]
    if not missing and not unknown and len(shapes) == 2 and all(text.startswith("classifier.") for text in shapes):
        theirs, ours = count_classes(parameters, path), own["classifier.weight"].shape[0]
        raise CheckpointError(f"{path}: has {theirs} classes, the network {ours}; pass --num_classes {theirs}")
    problems = [
        f"{len(names)} {label} ({', '.join(names[:NAMES_SHOWN])}{', ...' if len(names) > NAMES_SHOWN else ''})"
        for label, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{path}: does not fit the network, {'; '.join(problems)}; is --model the variant that wrote it?"
        )
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(parameters[name].asnumpy().astype(np.float32)))
    logger.info("weights: %s", path)
