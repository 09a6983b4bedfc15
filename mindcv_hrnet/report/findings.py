"""What is known of a run beyond its folder: its answers for the validation split, and the images of both splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mindcv_hrnet.data.sources.source import Source
from mindcv_hrnet.engine.classes import open_numbered
from mindcv_hrnet.engine.predictions import Predictions, read_predictions
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.report.run_files import RunRecord


@dataclass(frozen=True)
class Findings:
    """Answers and images, as far as they are to be had; `remarks` say what is not, in sentences."""

    origin: str
    """Where the answers come from, or why there are none."""
    predictions: Predictions | None = None
    files: Sequence[str] = ()
    """Path of the image of each prediction."""
    loss: float | None = None
    """Mean cross entropy of the answers, where they were computed for this page."""
    training: Source | None = None
    validation: Source | None = None
    remarks: tuple[str, ...] = ()


def without_images() -> Findings:
    """For `--evaluate False`: nothing but the folder is read."""
    return Findings("Nothing was evaluated (--evaluate False).", remarks=("The data set was not read.",))


def from_file(run: RunRecord, config: Config, path: Path) -> Findings:
    """Answers that `validate --predictions` has written. The images are opened where the recipe says they are."""
    predictions, files = read_predictions(path, run.manifest.class_names)
    training, validation, remarks = _splits(run, config)
    origin = f"Answers for {len(files):,} images from the file {path}."
    return Findings(origin, predictions, files, None, training, validation, remarks)


def from_evaluation(
    run: RunRecord, config: Config, predictions: Predictions, validation: Source, loss: float
) -> Findings:
    """Answers that were computed a moment ago for the images of `validation`."""
    training, _, remarks = _splits(run, config, wants_validation=False)
    weights = run.weights
    files = [validation.path(index) for index in range(len(validation))]
    origin = (
        f"Answers of {weights.file} (epoch {weights.epoch}) for the {len(files):,} images in {validation.root}, "
        "computed for this page."
    )
    return Findings(origin, predictions, files, loss, training, validation, remarks)


def _splits(
    run: RunRecord, config: Config, *, wants_validation: bool = True
) -> tuple[Source | None, Source | None, tuple[str, ...]]:
    """Training and validation split, None and a sentence for each that cannot be opened."""
    remarks, found = [], []
    for what, split, wanted in (
        ("training", config.data.train_split, True),
        ("validation", config.data.val_split, wants_validation),
    ):
        try:
            names, owner = run.manifest.class_names, str(run.folder)
            found.append(open_numbered(config.data, split, names, owner) if wanted else None)
        except DataError as error:
            found.append(None)
            remarks.append(f"The {what} images cannot be shown: {error}.")
    return found[0], found[1], tuple(remarks)
