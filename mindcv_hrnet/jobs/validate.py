"""The validation job: a checkpoint's top-1, top-5 and loss."""

import logging
from contextlib import closing

from mindcv_hrnet.data.loader import EvalLoader
from mindcv_hrnet.data.sources.download import download_dataset
from mindcv_hrnet.data.sources.split import Source, class_names_of, open_split
from mindcv_hrnet.engine.evaluate import Evaluation, Evaluator
from mindcv_hrnet.engine.load import weights_of
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.models import HALF, create_model, set_precision
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.weights import count_classes, fit_weights, read_checkpoint

logger = logging.getLogger(__name__)


def validate(config: Config) -> Evaluation:
    """Measure `ckpt_path` on the validation split. Every rank returns the same result."""
    cluster = start(config.system)
    path = weights_of(config.model)
    parameters = read_checkpoint(path)
    num_classes = config.model.num_classes or count_classes(parameters, path)
    network = create_model(config.model.model, num_classes, config.model.in_channels)
    fit_weights(network, parameters, path)
    set_precision(network, config.model.val_amp_level, HALF[config.model.amp_dtype])

    source = open_validation(config)
    if len(source.class_names) != num_classes:
        raise DataError(
            f"{source.root}: has {len(source.class_names)} classes, {path} has {num_classes}; "
            "pass the data_dir that the checkpoint was trained on"
        )
    logger.info(
        "%s, %s: %d images in %s, %s x %d (%s)",
        *(config.model.model, path, len(source), source.root, cluster.device, cluster.size, cluster.launcher),
    )
    place = (cluster.rank, cluster.size, config.model.in_channels)
    with closing(EvalLoader(source, config.data, config.augmentation, *place)) as loader:
        result = Evaluator(network, loader, config.augmentation, cluster)()
    if cluster.is_main:
        print(result, flush=True)
    return result


def open_validation(config: Config) -> Source:
    """The validation split, its classes numbered as in the training split where that is there."""
    data = config.data
    download_dataset(data)
    names = class_names_of(data.data_dir, data.train_split, data.dataset)
    if names is None:
        logger.warning("no %s split in %s: classes are numbered by %s", data.train_split, data.data_dir, data.val_split)
    return open_split(data.data_dir, data.val_split, names, data.dataset)
