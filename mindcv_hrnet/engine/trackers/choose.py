"""Which trackers a recipe names."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.engine.run_folder import EVENTS, STEPS
from mindcv_hrnet.engine.trackers.first_images import first_images
from mindcv_hrnet.engine.trackers.step_file import StepFile
from mindcv_hrnet.engine.trackers.tensorboard import TensorBoard
from mindcv_hrnet.engine.trackers.tracker import Start, Tracker, Trackers
from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import Config

# A service's module is imported where it is asked for only: it needs its package
SERVICES = {"wandb": "WandbRun", "mlflow": "MlflowRun", "swanlab": "SwanlabRun"}


def check_tracker(name: str | None) -> None:
    """Raise ConfigError where the service's package is missing."""
    if name and find_spec(name) is None:
        raise ConfigError(f"tracker {name}: its package is missing here; pip install 'mindcv-hrnet[{name}]'")


def open_trackers(config: Config, folder: Path, first_step: int, loader: TrainLoader) -> Trackers:
    """Those of the main rank. They are told the recipe, and where a run begins its first images.

    Raises RunError where a service cannot be had.
    """
    steps = StepFile(folder / STEPS, first_step)
    start = Start(name=folder.name, recipe=config.to_dict(), first_step=first_step, told=steps.told)
    trackers: list[Tracker] = [steps]
    if config.train.tensorboard:
        trackers.append(TensorBoard(folder / EVENTS, start))
    if config.train.tracker:
        module = import_module(f"mindcv_hrnet.engine.trackers.{config.train.tracker}_run")
        trackers.append(getattr(module, SERVICES[config.train.tracker])(start, folder))
    opened = Trackers(trackers)
    if len(trackers) > 1 and not first_step:
        opened.images(first_images(loader))
    return opened
