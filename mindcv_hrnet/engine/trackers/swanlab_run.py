"""SwanLab (swanlab.cn). Its environment variables hold: SWANLAB_MODE=offline or local, SWANLAB_PROJ_NAME, ..."""

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindcv_hrnet.engine.trackers.service import PROJECT, TrackingService
from mindcv_hrnet.engine.trackers.tracker import Start


class SwanlabRun(TrackingService):
    """An experiment of SwanLab."""

    package = "swanlab"

    def begin(self, start: Start, folder: Path, known: str) -> str:
        """What is given here would win over the environment, so it is given where that is silent."""
        self.swanlab = importlib.import_module(self.package)
        number = known or os.environ.get("SWANLAB_RUN_ID", uuid.uuid4().hex[:21])
        self.swanlab.init(
            project=os.environ.get("SWANLAB_PROJ_NAME", PROJECT),
            name=os.environ.get("SWANLAB_EXP_NAME", start.name),
            log_dir=os.environ.get("SWANLAB_LOGDIR", str(folder / "swanlog")),
            config=dict(start.recipe),
            id=number,
            resume="allow",
            settings=self.swanlab.Settings(terminal={"proxy_type": "none"}),  # stdout stays ours, and so does the bar
        )
        return number

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves."""
        self.swanlab.log(dict(values), step=step)

    def images(self, sheet: np.ndarray) -> None:
        """One picture."""
        self.swanlab.log({"first_images": self.swanlab.Image(sheet)}, step=0)

    def close(self) -> None:
        """Wait until all is sent."""
        self.swanlab.finish()
