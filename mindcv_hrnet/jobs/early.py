"""What can be told before MindSpore is imported, which takes over a second: a typing error ends a command at once."""

from mindcv_hrnet.data.loader import build_train_transform
from mindcv_hrnet.data.sources.open_split import existing_folder
from mindcv_hrnet.recipe.config import Config


def check_early(job: str, config: Config) -> None:
    """Raise ConfigError for an augmentation that cannot be, DataError where the images to train with have no folder."""
    if job not in ("train", "preview"):
        return
    build_train_transform(config.augmentation)
    if not config.data.dataset_download:
        existing_folder(config.data.data_dir)
