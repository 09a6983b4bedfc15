"""The run folder: recipe, weights, training state, and a manifest that says what each file is.

    config.yaml            the resolved recipe; pass it back with -c
    metrics.csv            one row per epoch
    NAME-EPOCH.ckpt        network weights and class names; with `ema` their moving average, which was validated too
    NAME-best.ckpt         weights of the best validated epoch
    NAME-state-EPOCH.ckpt  weights, averages, optimizer, loss scale of the newest epoch, to resume from
    manifest.json          epoch, step and score of each file, class names; written last

Every write is atomic, and a file is deleted only after a manifest that does not name it is in place.
"""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import nn

from mindcv_hrnet.engine.classes import OVERRIDE, differences
from mindcv_hrnet.engine.epoch_end import EpochRow
from mindcv_hrnet.engine.manifest import MANIFEST, Checkpoint, Manifest
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.errors import CheckpointError, RunError
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.files import expand_home, make_folder, muted_logging, write_atomically, write_json, write_text
from mindcv_hrnet.weights import read_entries
from mindcv_hrnet.weights.formats.contents import CLASS_NAMES, class_names_to_text

RECIPE = "config.yaml"
logger = logging.getLogger(__name__)
# The table of learning rates belongs to the recipe, not to the state
NOT_STATE = ("learning_rate",)


class RunFolder:
    """Saves checkpoints of one run and keeps those that the policy names."""

    def __init__(self, folder: Path, model: str, class_names: Sequence[str], train: TrainConfig):
        self.folder = folder
        self.train = train
        make_folder(folder)
        self.manifest = Manifest.read(folder) or Manifest(model, list(class_names))
        if self.manifest.checkpoints and not train.resume_opt:
            raise RunError(
                f"{folder}: holds a run already ({len(self.manifest.checkpoints)} checkpoints); choose another "
                f"--ckpt_save_dir, or continue it with --resume_opt True --ckpt_path {folder}"
            )
        if self.manifest.model != model:
            raise RunError(f"{folder}: holds a run of {self.manifest.model}, not of {model}; choose another folder")

    @classmethod
    def of(cls, config: Config, class_names: Sequence[str]) -> "RunFolder":
        """The folder that a recipe names. Raises RunError where it holds another run."""
        found = cls(run_folder(config), config.model.model, class_names, config.train)
        theirs = found.manifest.class_names
        if theirs != list(class_names):
            if not config.model.class_names_override:
                what = differences(class_names, theirs, "the run in it")
                raise RunError(f"{found.folder}: {what}; choose another --ckpt_save_dir, or pass {OVERRIDE}")
            found.manifest.class_names = list(class_names)
        return found

    def write_recipe(self, config: Config) -> None:
        """The resolved recipe, to pass back with -c."""
        write_text(self.folder / RECIPE, config.to_yaml())

    def save_epoch(self, step_cell: TrainStep, row: EpochRow, epochs: int) -> None:
        """Weights and state after the epoch of `row`, of `epochs` in all."""
        path = self.save(step_cell.weights(), step_cell, row.epoch, row.step, row.top1)
        logger.info("epoch %d/%d  train loss %.4f  saved %s", row.epoch, epochs, row.train_loss, path)

    def save(self, weights: Mapping[str, Any], step_cell: nn.Cell, epoch: int, step: int, top1: float | None) -> Path:
        """Write weights and state after `epoch` (counted from 1) and `step`; returns the weights' path."""
        name = self.manifest.model
        entry = Checkpoint(f"{name}-{epoch}.ckpt", epoch, step, top1)
        state = f"{name}-state-{epoch}.ckpt"
        path = self.folder / entry.file
        texts = {CLASS_NAMES: class_names_to_text(self.manifest.class_names)}
        write_atomically(path, lambda file: _save(weights, file, texts))
        write_atomically(self.folder / state, lambda file: _save(state_of(step_cell), file))

        before = self.manifest
        entries = [*(c for c in before.checkpoints if c.epoch != epoch), entry]
        kept = self._kept(entries)
        best = before.best
        if top1 is not None and (best is None or best.top1 is None or top1 > best.top1):
            best = Checkpoint(f"{name}-best.ckpt", epoch, step, top1)
            write_atomically(self.folder / best.file, lambda file: _link_or_copy(path, file))
        self.manifest = Manifest(before.model, before.class_names, kept, best, state)
        write_json(self.folder / MANIFEST, asdict(self.manifest))
        gone = {c.file for c in entries} - {c.file for c in kept} | ({before.state} - {state, ""})
        for file in gone:
            (self.folder / file).unlink(missing_ok=True)
        return path

    def _kept(self, entries: list[Checkpoint]) -> list[Checkpoint]:
        """The newest, or the best validated ones; the last epoch always stays."""
        last = entries[-1]
        if self.train.ckpt_save_policy == "latest_k":
            return entries[-self.train.keep_checkpoint_max :]
        scored = [c for c in entries if c.top1 is not None]
        ranked = sorted(scored, key=lambda c: (c.top1 or 0.0, c.epoch), reverse=True)[: self.train.keep_checkpoint_max]
        return [c for c in entries if c in ranked or c is last]


def state_of(step_cell: nn.Cell) -> dict[str, Any]:
    """Everything that the next step depends on, by name: weights, optimizer, loss scale."""
    return {
        name: value
        for name, value in step_cell.parameters_dict().items()
        if not any(part in name for part in NOT_STATE)
    }


class Resumed(NamedTuple):
    """A training state on disk: its file, what was done when it was written, and the names of the run's classes."""

    state: Path
    epoch: int
    step: int
    class_names: tuple[str, ...]


def find_state(path: str) -> Resumed:
    """The newest state of the run that `path` (its folder, or its newest checkpoint) belongs to."""
    given = expand_home(path).resolve()
    folder = given if given.is_dir() else given.parent
    manifest = Manifest.read(folder)
    if manifest is None or not manifest.state:
        raise CheckpointError(
            f"{path}: no {MANIFEST} with a training state there; pass the run folder of a started run"
        )
    newest = manifest.checkpoints[-1]
    if given.is_file() and given.name not in (newest.file, manifest.state):
        raise CheckpointError(
            f"{path}: only the newest epoch can be resumed, {folder / newest.file}; to start anew from these weights "
            "drop --resume_opt"
        )
    return Resumed(folder / manifest.state, newest.epoch, newest.step, tuple(manifest.class_names))


def restore_state(step_cell: nn.Cell, state: Path) -> None:
    """Put a saved training state back; CheckpointError lists what differs from this recipe's state."""
    saved = read_entries(str(state))
    own = state_of(step_cell)
    differing = sorted(set(own) ^ set(saved)) or sorted(
        name for name in own if tuple(own[name].shape) != tuple(saved[name].shape)
    )
    if differing:
        raise CheckpointError(
            f"{state}: was written by another recipe, {len(differing)} entries differ ({', '.join(differing[:3])}); "
            "resume with the config.yaml of its folder"
        )
    for name, parameter in own.items():
        parameter.set_data(ms.Tensor(np.array(saved[name])))


def _save(parameters: Mapping[str, Any], path: Path, texts: dict[str, str] | None = None) -> None:
    with muted_logging():
        entries = [{"name": name, "data": value} for name, value in parameters.items()]
        ms.save_checkpoint(entries, str(path), append_dict=texts, crc_check=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
