"""Weights & Biases (wandb.ai). Its environment variables hold: WANDB_MODE=offline, WANDB_PROJECT, WANDB_NAME, ..."""

import importlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindcv_hrnet.engine.trackers.service import PROJECT, TrackingService
from mindcv_hrnet.engine.trackers.tracker import Start


class WandbRun(TrackingService):
    """A run of wandb."""

    package = "wandb"

    def begin(self, start: Start, folder: Path, known: str) -> str:
        """What is given here would win over the environment, so it is given where that is silent."""
        self.wandb = importlib.import_module(self.package)
        defaults = {"WANDB_PROJECT": PROJECT, "WANDB_NAME": start.name, "WANDB_DIR": str(folder)}
        given = {name: os.environ.get(name, default) for name, default in defaults.items()}
        self.run = self.wandb.init(
            project=given["WANDB_PROJECT"],
            name=given["WANDB_NAME"],
            dir=given["WANDB_DIR"],
            id=known or os.environ.get("WANDB_RUN_ID", uuid.uuid4().hex[:8]),
            resume="allow",
            config=dict(start.recipe),
            settings=self.wandb.Settings(console="off"),  # stdout stays ours, and so does the bar
        )
        return str(self.run.id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Rows of a step come together as one."""
        self.run.log(dict(values), step=step)

    def images(self, sheet: np.ndarray) -> None:
        """One picture."""
        self.run.log({"first_images": self.wandb.Image(sheet)}, step=0)

    def close(self) -> None:
        """Wait until all is sent."""
        self.run.finish()
