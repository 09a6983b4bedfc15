"""MLflow. Its environment variables hold: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_RUN_NAME, ..."""

import importlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindcv_hrnet.engine.trackers.service import PROJECT, TrackingService
from mindcv_hrnet.engine.trackers.tracker import Start


class MlflowRun(TrackingService):
    """A run of MLflow, in a data base in the run folder where no server is named."""

    package = "mlflow"

    def begin(self, start: Start, folder: Path, known: str) -> str:
        """Parameters cannot be given twice, so a run that goes on gives none."""
        self.mlflow = importlib.import_module(self.package)
        place = {}
        if "MLFLOW_TRACKING_URI" not in os.environ:
            self.mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
            place = {"artifact_location": (folder / "mlflow").as_uri()}
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        if self.mlflow.get_experiment_by_name(experiment) is None:
            self.mlflow.create_experiment(experiment, **place)
        self.mlflow.set_experiment(experiment)
        run = self.mlflow.start_run(
            run_id=known or None, run_name=os.environ.get("MLFLOW_RUN_NAME", start.name), log_system_metrics=False
        )
        if not known:
            self.mlflow.log_params({key: str(value) for key, value in start.recipe.items()})
        return str(run.info.run_id)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Points of curves."""
        self.mlflow.log_metrics(dict(values), step=step)

    def images(self, sheet: np.ndarray) -> None:
        """One picture."""
        self.mlflow.log_image(sheet, "first_images.png")

    def close(self) -> None:
        """The run there ends."""
        self.mlflow.end_run()
