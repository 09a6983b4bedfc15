"""The export job: a deployment file in evaluation mode, proven equal to the network after a reload."""

import logging
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from mindcv_hrnet.data.sources.split import class_names_of
from mindcv_hrnet.deploy.metadata import Metadata, digest
from mindcv_hrnet.deploy.mindir import write_mindir
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.engine.graphs import graph_cache
from mindcv_hrnet.engine.load import load_network
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.errors import CheckpointError, RunError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.compiled import CompileCache
from mindcv_hrnet.runtime.files import make_folder, write_atomically
from mindcv_hrnet.weights import count_classes

logger = logging.getLogger(__name__)

# float32 kernels may add in another order after the reload; half precision rounds each time
TOLERANCE = {"O0": 1e-4, "O1": 2e-2, "O2": 2e-2, "O3": 2e-2, "auto": 2e-2}


def export(config: Config) -> Path:
    """Write `ckpt_path` as MINDIR and prove that the file computes what the network computes."""
    cluster = start(config.system)
    network, path, parameters, known = load_network(config)
    num_classes = count_classes(parameters, path)
    config = config.override(ckpt_path=path)
    network.set_train(False)

    names = known or find_class_names(config, num_classes)
    metadata = Metadata.of(config, names, weights_digest=digest(parameters))
    target = target_file(config)
    make_folder(target.parent)
    difference = 0.0

    def write(temporary: Path) -> None:
        nonlocal difference
        write_mindir(network, metadata, temporary)
        with graph_cache(config.override(num_classes=num_classes), cluster, "export") as graphs:
            difference = compare(network, temporary, graphs)
        if not difference <= TOLERANCE[config.model.val_amp_level]:
            raise RunError(
                f"{target}: the exported graph differs from the network by {difference:.1e}; nothing was kept"
            )

    write_atomically(target, write)
    batch = config.export.export_batch_size or "any"
    size = config.augmentation.image_resize
    logger.info("input (%s, %d, %d, %d), %d classes", batch, metadata.in_channels, size, size, num_classes)
    logger.info("reloaded and compared with the network: largest relative difference %.1e", difference)
    print(target, flush=True)
    return target


def target_file(config: Config) -> Path:
    """The file to write, by default beside the checkpoint; the suffix is added where it is missing."""
    name = config.export.file_name or str(Path(config.model.ckpt_path).with_name(config.model.model))
    return Path(name if name.endswith(".mindir") else f"{name}.mindir")


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


def compare(network: nn.Cell, path: Path, graphs: CompileCache) -> float:
    """Largest difference between the file and `network`, relative to the largest logit."""
    model = load_model(path)
    metadata = model.metadata
    generator = np.random.default_rng(0)
    worst = 0.0
    for batch in (metadata.batch_size,) if metadata.batch_size else (1, 3):
        shape = (batch, metadata.in_channels, metadata.image_resize, metadata.image_resize)
        images = generator.standard_normal(shape, dtype=np.float32)
        with graphs.compiling(f"graph to compare {shape}"):
            ours = network(Tensor(images)).asnumpy()
        theirs = model(images)  # never from the cache: it is the file that is being tested
        worst = max(worst, float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-6)))
    return worst
