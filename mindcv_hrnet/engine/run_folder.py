"""The run folder: recipe, weights, training state, and a manifest that says what each file is.

    config.yaml            the resolved recipe; pass it back with -c
    history.jsonl          one line per start: when, command, versions, where it went on, what was changed
    run.log                what the run said, with times
    metrics.csv            one row per epoch
    steps.csv              one row every `log_interval` steps
    events/                the same for TensorBoard
    NAME-EPOCH.ckpt        network weights and class names; with `ema` their moving average, which was validated too
    NAME-best.ckpt         weights of the best validated epoch
    NAME-state-EPOCH.ckpt  weights, averages, optimizer, loss scale, to resume from; the newest two are kept
    NAME-state-EPOCH-STEP.ckpt  the same within an epoch
    manifest.json          epoch, step, score, size and SHA-256 of each file, class names; written last

Every write is atomic, and a file is deleted only after a manifest that does not name it is in place.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from mindcv_hrnet.engine.writer import Hopeless
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.files import digest_of, make_folder, write_atomically, write_json, write_text
from mindcv_hrnet.runtime.locks import OwnerLock, process_exists
from mindcv_hrnet.weights.formats.mindspore import write_ckpt
from mindcv_hrnet.weights.manifest import MANIFEST, STATES_KEPT, Checkpoint, Manifest, State

RECIPE = "config.yaml"
METRICS = "metrics.csv"
STEPS = "steps.csv"
EVENTS = "events"
HISTORY = "history.jsonl"
LOG = "run.log"
LOCK = ".lock"
# Names of the files that a save is about to make; there only while it does
UNFINISHED = ".unfinished.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Save:
    """What a save writes, copied from the device: `arrays` by name, `weights` as names in it by the network's names."""

    entry: State
    """Without size and digest yet."""
    arrays: Mapping[str, np.ndarray]
    metrics: str
    weights: Mapping[str, str] | None = None
    """None inside an epoch."""


class RunFolder:
    """Saves checkpoints of one run and keeps those that the policy names. Hold the lock as long as the run lasts."""

    def __init__(self, folder: Path, model: str, class_names: Sequence[str], train: TrainConfig):
        self.folder = folder
        self.train = train
        make_folder(folder)
        try:
            self.lock = OwnerLock(folder / LOCK)
        except OSError as error:
            raise RunError(f"{folder}: cannot be written ({error.strerror}); choose another --ckpt_save_dir") from None
        try:
            self.manifest = Manifest.read(folder) or Manifest(model, list(class_names))
            self._check_that_it_is_ours(model)
        except Exception:
            self.lock.release()
            raise
        self._recipe = ""
        remove_leftovers(folder, self.manifest)

    def _check_that_it_is_ours(self, model: str) -> None:
        if self.manifest.states and not self.train.resume_opt:
            count = len(self.manifest.checkpoints)
            raise RunError(
                f"{self.folder}: holds a run already ({count} checkpoint{'' if count == 1 else 's'}); choose another "
                "--ckpt_save_dir, or continue it with --resume_opt True"
            )
        if self.manifest.model != model:
            raise RunError(
                f"{self.folder}: holds a run of {self.manifest.model}, not of {model}; choose another folder"
            )

    @classmethod
    def of(cls, config: Config, class_names: Sequence[str]) -> "RunFolder":
        """The folder that a recipe names. RunError where it holds another run, or another process works in it."""
        found = cls(run_folder(config), config.model.model, class_names, config.train)
        found.manifest.class_names = list(class_names)  # others than the run had with class_names_override only
        return found

    def close(self) -> None:
        """Let others use the folder."""
        self.lock.release()

    def begin(self, config: Config, step: int) -> None:
        """A run, whose whole recipe is `config`, starts or goes on after `step`.

        What the manifest names beyond it is forgotten, and deleted with the next save.
        """
        self._recipe = config.to_yaml()
        path = self.folder / RECIPE
        if not path.is_file() or path.read_text(encoding="utf-8") != self._recipe:
            write_text(path, self._recipe)
        self.manifest = replace(
            self.manifest,
            checkpoints=[each for each in self.manifest.checkpoints if each.step <= step],
            states=[each for each in self.manifest.states if each.step <= step],
        )

    def write(self, save: Save) -> None:
        """Metrics, weights and state, then the manifest that names them. Raises RunError where the disk refuses.

        Hopeless where a value is not finite: what is on the disk is better.
        """
        spoiled = not_finite(save.arrays)
        if spoiled:
            kept = self.manifest.states[-1].file if self.manifest.states else "nothing"
            raise Hopeless(
                f"{self.folder}: {spoiled} holds values that are not finite after step {save.entry.step}, which is not "
                f"saved, {kept} is kept; lower lr, raise warmup_epochs, or lower amp_level"
            )
        self._make_anew_if_removed()
        weights_file = f"{self.manifest.model}-{save.entry.epoch}.ckpt" if save.weights is not None else ""
        new = {save.entry.file, weights_file} - {""} - self.manifest.files()
        write_json(self.folder / UNFINISHED, sorted(new))
        try:
            self._write_files(save, weights_file)
        except RunError:
            for file in new:  # the space is needed
                (self.folder / file).unlink(missing_ok=True)
            raise
        finally:
            (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _write_files(self, save: Save, weights_file: str) -> None:
        write_text(self.folder / METRICS, save.metrics)
        manifest = self.manifest
        if save.weights is not None:
            arrays = {name: save.arrays[inside] for name, inside in save.weights.items()}
            path = self.folder / weights_file
            write_atomically(path, lambda file: write_ckpt(arrays, file, manifest.class_names))
            entry = Checkpoint(
                file=weights_file,
                epoch=save.entry.epoch,
                step=save.entry.step,
                top1=None,
                size=path.stat().st_size,
                sha256=digest_of(path),
            )
            others = [each for each in manifest.checkpoints if each.epoch != entry.epoch]
            manifest = replace(manifest, checkpoints=self._kept([*others, entry]))
        path = self.folder / save.entry.file
        write_atomically(path, lambda file: write_ckpt(save.arrays, file))
        state = replace(save.entry, size=path.stat().st_size, sha256=digest_of(path))
        states = [each for each in manifest.states if each.step < state.step]
        self._replace_manifest(replace(manifest, states=[*states, state][-STATES_KEPT:]))

    def write_score(self, epoch: int, top1: float | None, metrics: str) -> None:
        """What validation said of an epoch: metrics, its score in the manifest, and the best weights.

        An epoch that is not saved has a row in the metrics only.
        """
        self._make_anew_if_removed()
        write_text(self.folder / METRICS, metrics)
        scored = [replace(each, top1=top1) if each.epoch == epoch else each for each in self.manifest.checkpoints]
        states = [replace(each, validation_due=False) if each.epoch == epoch else each for each in self.manifest.states]
        best = self.manifest.best
        new = next((each for each in scored if each.epoch == epoch), None)
        if new and top1 is not None and (best is None or best.top1 is None or top1 > best.top1):
            best = replace(new, file=f"{self.manifest.model}-best.ckpt")
            source = self.folder / new.file
            write_atomically(self.folder / best.file, lambda file: _link_or_copy(source, file))
        if new or states != self.manifest.states:
            changed = replace(self.manifest, checkpoints=self._kept(scored), best=best, states=states)
            self._replace_manifest(changed)

    def _replace_manifest(self, manifest: Manifest) -> None:
        write_json(self.folder / MANIFEST, asdict(manifest))
        before, self.manifest = self.manifest, manifest
        for file in before.files() - manifest.files():
            (self.folder / file).unlink(missing_ok=True)

    def _kept(self, entries: list[Checkpoint]) -> list[Checkpoint]:
        """The newest, or the best validated ones; the last epoch always stays."""
        if not entries:
            return []
        last = entries[-1]
        if self.train.ckpt_save_policy == "latest_k":
            return entries[-self.train.keep_checkpoint_max :]
        scored = [c for c in entries if c.top1 is not None]
        ranked = sorted(scored, key=lambda c: (c.top1 or 0.0, c.epoch), reverse=True)[: self.train.keep_checkpoint_max]
        return [c for c in entries if c in ranked or c is last]

    def _make_anew_if_removed(self) -> None:
        """A folder that somebody removed is made again; what it held is lost, what follows is not."""
        if self.lock.is_there():
            return
        removed = not (self.folder / RECIPE).is_file()
        make_folder(self.folder)
        try:
            self.lock = OwnerLock(self.folder / LOCK)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be written ({error.strerror}); check the folder") from None
        if removed:
            logger.warning("%s: was removed meanwhile; made anew, its earlier files are lost", self.folder)
            write_text(self.folder / RECIPE, self._recipe)
            self.manifest = Manifest(self.manifest.model, self.manifest.class_names)


def not_finite(arrays: Mapping[str, np.ndarray]) -> str:
    """Name of an array with a value that is NaN or infinite; empty where there is none."""
    return next((name for name, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()), "")


def remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Remove what a killed save of this run left: files it had begun, temporary files of those that runs write.

    Files of any other name stay, and so do temporary files of a process that lives.
    """
    unfinished = _read_unfinished(folder, manifest.model)
    stems = "|".join(
        map(
            re.escape,
            (Path(METRICS).stem, Path(STEPS).stem, Path(MANIFEST).stem, Path(RECIPE).stem, Path(UNFINISHED).stem),
        )
    )
    temporary = re.compile(rf"\.(?:{stems}|{re.escape(manifest.model)}-(?:state-)?(?:\d+|\d+-\d+|best))\.(\d+)\.\w+")
    for path in folder.iterdir():
        found = temporary.fullmatch(path.name)
        begun = path.name in unfinished and not manifest.names(path.name)
        if begun or (found and not process_exists(int(found[1]))):
            logger.info("%s: left by a save that was killed; removed", path)
            path.unlink(missing_ok=True)
    (folder / UNFINISHED).unlink(missing_ok=True)


def _read_unfinished(folder: Path, model: str) -> set[str]:
    try:
        names = json.loads((folder / UNFINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    wanted = re.compile(rf"{re.escape(model)}-(?:state-)?[\d-]+\.ckpt")
    return {name for name in names if isinstance(name, str) and wanted.fullmatch(name)}


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
