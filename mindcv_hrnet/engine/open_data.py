"""The splits that a job reads, their classes numbered alike."""

import logging
from collections.abc import Sequence

from mindcv_hrnet.data.sources.dataset_download import download_dataset
from mindcv_hrnet.data.sources.open_split import class_names_of, open_split
from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.engine.classes import open_numbered
from mindcv_hrnet.engine.label_files import folders_by_class
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.config import Config

logger = logging.getLogger(__name__)


def open_data(config: Config, class_names: Sequence[str] = ()) -> tuple[Config, Source, Source | None]:
    """The recipe with `num_classes` filled in, the training split, and the validation split where it is wanted.

    `class_names`, those of the run that `ckpt_path` goes on with, decide the numbers of the classes.
    """
    data = config.data
    download_dataset(data)
    if class_names and not config.model.class_names_override:
        source = open_numbered(data, data.train_split, class_names, config.model.ckpt_path)
    else:
        source = open_split(data.data_dir, data.train_split, dataset=data.dataset)
    found, stated = len(source.class_names), config.model.num_classes
    if stated is not None and stated != found:
        raise DataError(f"{source.root}: has {found} classes, num_classes is {stated}; pass --num_classes {found}")
    wanted = config.system.val_while_train
    validation = open_split(data.data_dir, data.val_split, source.class_names, data.dataset) if wanted else None
    return config.override(num_classes=found), source, validation


def open_validation(config: Config, class_names: Sequence[str] = (), owner: str = "", num_classes: int = 0) -> Source:
    """The validation split, numbered by the names that the weights at `owner` know, else by the training split's.

    A `class_map` says which folder is which of the weights' `num_classes` classes.
    """
    data = config.data
    download_dataset(data)
    if config.validation.class_map:
        folders = folders_by_class(config.validation.class_map, class_names, num_classes)
        return open_split(data.data_dir, data.val_split, folders, data.dataset)
    if class_names:
        return open_numbered(data, data.val_split, class_names, owner)
    names = class_names_of(data.data_dir, data.train_split, data.dataset)
    if names is None:
        logger.warning("no %s split in %s: classes are numbered by %s", data.train_split, data.data_dir, data.val_split)
    return open_split(data.data_dir, data.val_split, names, data.dataset)
