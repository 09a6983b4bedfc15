"""Which trackers a recipe names."""

from dataclasses import asdict
from pathlib import Path

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.engine.run_folder import EVENTS, STEPS
from mindcv_hrnet.engine.trackers.first_images import first_images
from mindcv_hrnet.engine.trackers.step_file import StepFile
from mindcv_hrnet.engine.trackers.tensorboard import TensorBoard
from mindcv_hrnet.engine.trackers.tracker import Start, Tracker, Trackers
from mindcv_hrnet.recipe.config import Config


def open_trackers(config: Config, folder: Path, first_step: int, loader: TrainLoader) -> Trackers:
    """Those of the main rank; they know the recipe, and where a run begins its first images."""
    recipe = {key: value for section in asdict(config).values() for key, value in section.items()}
    start = Start(name=folder.name, recipe=recipe, first_step=first_step)
    trackers: list[Tracker] = [StepFile(folder / STEPS, first_step)]
    begins = first_step == 0
    if config.train.tensorboard:
        board = TensorBoard(folder / EVENTS, start)
        begins = board.begins
        trackers.append(board)
    opened = Trackers(trackers)
    if begins and len(trackers) > 1:
        opened.images(first_images(loader))
    return opened
