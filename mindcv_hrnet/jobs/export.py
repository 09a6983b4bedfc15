"""The export job: deployment files in evaluation mode, each proven equal to the network after a reload."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from mindcv_hrnet.data.decode import UnreadableImage
from mindcv_hrnet.data.sources.open_split import class_names_of, open_split
from mindcv_hrnet.deploy.compare import largest_difference, natural_images
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.metadata import Metadata, digest
from mindcv_hrnet.deploy.mindir import write_air, write_mindir
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.engine.graphs import graph_cache
from mindcv_hrnet.engine.load import Loaded, load_network
from mindcv_hrnet.engine.preprocess import Normalize
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.errors import CheckpointError, ConfigError, DataError, RunError
from mindcv_hrnet.models import HALF, set_precision
from mindcv_hrnet.models.variants import REDUCTIONS
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.compiled import CompileCache
from mindcv_hrnet.runtime.files import make_folder, write_atomically, write_text
from mindcv_hrnet.weights import count_classes

logger = logging.getLogger(__name__)

# float32 kernels may add in another order after the reload; half precision rounds each time
TOLERANCE = {"O0": 1e-4, "O1": 2e-2, "O2": 2e-2, "O3": 2e-2, "auto": 2e-2}
EXAMPLES = 4
"""Images on which a file is compared with its network."""
SUFFIXES = {"MINDIR": ".mindir", "ONNX": ".onnx", "AIR": ".air"}
ODD = (13, 37)
"""Rows and columns more than `image_resize`, for a file that takes any."""


def export(config: Config) -> list[Path]:
    """Write `ckpt_path` in every format of `file_format`, each file compared with the network before it is kept."""
    cluster = start(config.system)
    check_formats(config.export.file_format, cluster.device)
    loaded = load_network(config, config.export.export_features)
    config = config.override(ckpt_path=loaded.path)
    network = loaded.network.set_train(False)
    metadata = describe_file(config, loaded)
    examples = example_images(config, metadata)
    targets = target_files(config)
    with graph_cache(config.override(num_classes=metadata_classes(loaded)), cluster, "export") as graphs:
        for file_format, target in targets.items():
            level = "O0" if file_format == "ONNX" else config.model.val_amp_level
            if level != config.model.val_amp_level:
                logger.info("ONNX is float32; val_amp_level %s concerns the other formats", config.model.val_amp_level)
            set_precision(network, level, HALF[config.model.amp_dtype])
            write_file(network, metadata, file_format, target, examples, TOLERANCE[level], graphs)
    shape = ", ".join("any" if side is None else str(side) for side in metadata.input_shape)
    logger.info("input (%s) %s; outputs: %s", shape, metadata.input_dtype, ", ".join(metadata.outputs))
    for target in targets.values():
        print(target, flush=True)
    return list(targets.values())


def check_formats(formats: Sequence[str], device: str) -> None:
    """Raise ConfigError where a format cannot be written here."""
    if "AIR" in formats and device != "Ascend":
        raise ConfigError(f"file_format AIR is written on Ascend only, the device is {device}; choose MINDIR or ONNX")
    missing = [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]
    if "ONNX" in formats and missing:
        raise ConfigError(
            f"file_format ONNX: {' and '.join(missing)} not installed here; pip install 'mindcv-hrnet[onnx]'"
        )


def metadata_classes(loaded: Loaded) -> int | None:
    """Classes of a classifier; None of a backbone."""
    return getattr(loaded.network, "num_classes", None)


def describe_file(config: Config, loaded: Loaded) -> Metadata:
    """What travels in the file."""
    weights_digest = digest({name: each.asnumpy() for name, each in loaded.network.parameters_dict().items()})
    if config.export.export_features:
        outputs = [f"stride{reduction}" for reduction in REDUCTIONS]
        return Metadata.of(config, [], outputs=outputs, weights_digest=weights_digest)
    names = loaded.class_names or find_class_names(config, count_classes(loaded.arrays, loaded.path))
    return Metadata.of(config, names, weights_digest=weights_digest)


def write_file(
    network: nn.Cell,
    metadata: Metadata,
    file_format: str,
    target: Path,
    examples: Sequence[np.ndarray],
    tolerance: float,
    graphs: CompileCache,
) -> None:
    """Write one file, or raise RunError where it cannot be written or differs from the network."""
    make_folder(target.parent)
    if file_format == "AIR":
        write_atomically(target, lambda temporary: write_air(with_pixels(network, metadata), metadata, temporary))
        # the format has no place for it
        write_text(target.with_suffix(".json"), metadata.to_json())
        logger.info("%s: not compared, only the device can load it", target)
        return
    difference = 0.0

    def write(temporary: Path) -> None:
        nonlocal difference
        writer_of(file_format)(network, metadata, temporary)
        difference = compare(network, temporary, examples, graphs)
        if not difference <= tolerance:
            raise RunError(
                f"{target}: the exported graph differs from the network by {difference:.1e}; nothing was kept"
            )

    write_atomically(target, write)
    logger.info("%s: reloaded and compared, largest relative difference %.1e", target.name, difference)


def writer_of(file_format: str) -> Callable[[nn.Cell, Metadata, Path], None]:
    """The function that writes MINDIR or ONNX."""
    if file_format == "ONNX":
        from mindcv_hrnet.deploy.onnx_file import write_onnx

        return write_onnx
    return lambda network, metadata, path: write_mindir(with_pixels(network, metadata), metadata, path)


def with_pixels(network: nn.Cell, metadata: Metadata) -> nn.Cell:
    """The network that takes what the metadata says: behind the normalisation, where that is uint8."""
    if metadata.input_dtype == "float32":
        return network
    return nn.SequentialCell(Normalize(metadata.mean, metadata.std), network)


def target_files(config: Config) -> dict[str, Path]:
    """The file of each format, by default beside the checkpoint; the suffix is that of the format."""
    name = config.export.file_name or str(Path(config.model.ckpt_path).with_name(config.model.model))
    stem = next((name.removesuffix(suffix) for suffix in SUFFIXES.values() if name.endswith(suffix)), name)
    return {each: Path(stem + SUFFIXES[each]) for each in config.export.file_format}


def find_class_names(config: Config, num_classes: int) -> list[str]:
    """Names from the training split, for a checkpoint that does not know its own; empty where there is none."""
    data = config.data
    names = class_names_of(data.data_dir, data.train_split, data.dataset) or ()
    if not names:
        logger.warning("no class names: neither the checkpoint has them nor a training split in data_dir")
    elif len(names) != num_classes:
        raise CheckpointError(
            f"{config.model.ckpt_path}: has {num_classes} classes, but {len(names)} class names were found; "
            "pass the data_dir that it was trained on"
        )
    return list(names)


def example_images(config: Config, metadata: Metadata) -> list[np.ndarray]:
    """Batches of uint8 images to compare on: of the validation split where it is there, else drawn like photographs."""
    data, size = config.data, metadata.image_resize
    drawn = natural_images(EXAMPLES, metadata.in_channels, size, size)
    try:
        source = open_split(data.data_dir, data.val_split, dataset=data.dataset)
        chosen = np.linspace(0, len(source) - 1, min(EXAMPLES, len(source))).astype(int)
        preprocess = Preprocessor(metadata)
        images = np.stack([preprocess(source.read(int(index))) for index in chosen])
        logger.info("comparing on %d images of %s", len(images), source.root)
    except (DataError, UnreadableImage, OSError):
        images = drawn
        logger.info("comparing on %d drawn images: data_dir has no validation images", len(images))
    batches = [images]
    if metadata.dynamic_size:
        batches.append(natural_images(1, metadata.in_channels, size + ODD[0], size + ODD[1]))
    return batches


def compare(network: nn.Cell, path: Path, examples: Sequence[np.ndarray], graphs: CompileCache | None = None) -> float:
    """Largest relative difference between what the file and `network` make of uint8 images."""
    model = load_model(path)
    preprocess = Preprocessor(model.metadata)
    worst = 0.0
    for pixels in examples:
        normal = preprocess.normalize(pixels)
        with graphs.compiling(f"graph to compare {normal.shape}") if graphs else nullcontext():
            expected = as_arrays(network(Tensor(normal)))
        # never from the cache: it is the file that is being tested
        theirs = model.maps(preprocess.as_input(pixels))
        single = model.maps(preprocess.as_input(pixels[:1]))
        worst = max(
            worst,
            largest_difference(theirs, expected),
            largest_difference(single, [each[:1] for each in expected]),
        )
    return worst


def as_arrays(outputs: Any) -> list[np.ndarray]:
    """A cell's tensor or tuple of tensors."""
    return [each.asnumpy() for each in (outputs if isinstance(outputs, tuple) else (outputs,))]
