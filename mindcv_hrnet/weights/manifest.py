"""`manifest.json` of a run folder: which file holds what, with sizes and SHA-256.

Read with suspicion, because files are deleted by it.
"""

import json
import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import digest_of, expand_home, reason_of

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
MOST_BYTES = 1 << 24  # a hundred thousand checkpoints
SUFFIX = ".ckpt"
STATES_KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Weights of one epoch. `top1` is a percentage, None where the epoch was not validated."""

    file: str
    epoch: int
    step: int
    top1: float | None
    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class State:
    """A training state to go on from, and what the run was like when it was saved."""

    file: str
    epoch: int
    """The epoch that `step` belongs to, from 1."""
    step: int
    """Steps of the whole run that are done."""
    seconds: float
    """Time that this epoch has taken so far."""
    validation_due: bool
    """Whether the epoch that ended here is still to be validated."""
    ranks: int
    global_batch_size: int
    steps_per_epoch: int
    training_images: int
    validation_images: int
    size: int
    sha256: str


@dataclass
class Manifest:
    """What `manifest.json` holds."""

    model: str
    class_names: list[str]
    checkpoints: list[Checkpoint] = field(default_factory=list)
    best: Checkpoint | None = None
    states: list[State] = field(default_factory=list)
    """The newest last."""

    @classmethod
    def read(cls, folder: Path) -> "Manifest | None":
        """The manifest in `folder`, None where there is none; CheckpointError where it is damaged or makes no sense."""
        path = folder / MANIFEST
        if not path.is_file():
            return None
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES} bytes")
            return _checked(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: not a manifest of a run ({error}); restore or remove the file") from None

    @property
    def weights(self) -> Checkpoint:
        """What the run stands for: the best validated weights, or the newest ones where none were validated."""
        return self.best or self.checkpoints[-1]

    def entries(self) -> Iterator[Checkpoint | State]:
        """Everything that stands for a file."""
        yield from self.checkpoints
        if self.best:
            yield self.best
        yield from self.states

    def files(self) -> set[str]:
        """Names, without folder, of the run's files."""
        return {entry.file for entry in self.entries()}

    def names(self, file: str) -> bool:
        """Whether `file`, a name without folder, is one of the run's."""
        return file in self.files()


def damage(folder: Path, entry: Checkpoint | State) -> str:
    """What is wrong with a file that a manifest names, as a clause; empty where it is as it was written."""
    path = folder / entry.file
    try:
        size = path.stat().st_size
        if size != entry.size:
            return f"it has {size} bytes, {entry.size} were written"
        return "" if digest_of(path) == entry.sha256 else "its SHA-256 is not that of what was written"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({reason_of(error)})"


def file_of_weights(path: str) -> str:
    """The file of weights that `path` stands for: the best ones of a run folder, or itself.

    Raises CheckpointError where a folder names none, or the manifest says that the file held other bytes once.
    """
    file = weights_of_run(path) if expand_home(path).is_dir() else path
    check_undamaged(expand_home(file))
    return file


def weights_of_run(folder: str) -> str:
    """Path of the best weights in a run folder, of the newest where none were validated; the log says which."""
    place = expand_home(folder)
    manifest = Manifest.read(place)
    if manifest is None or not manifest.checkpoints:
        raise CheckpointError(f"{folder}: has no {MANIFEST} that names weights; pass a checkpoint file or a run folder")
    chosen = manifest.weights
    score = "not validated" if chosen.top1 is None else f"top-1 {chosen.top1:.2f} %"
    logger.info("%s: its %s, epoch %d, %s", folder, chosen.file, chosen.epoch, score)
    return str(place / chosen.file)


def check_undamaged(path: Path) -> None:
    """Raise CheckpointError where the manifest beside a file names it, and it is not as it was written.

    NAME-best.ckpt may be one epoch ahead of a manifest that a killed process could not write any more.
    """
    manifest = Manifest.read(path.parent)
    named = [entry for entry in manifest.entries() if entry.file == path.name] if manifest else []
    if not manifest or not named:
        return
    wrong = damage(path.parent, named[0])
    if not wrong or (named[0] is manifest.best and is_of_an_epoch(path, manifest)):
        return
    others = [entry.file for entry in manifest.checkpoints if entry.file != path.name]
    instead = f"use another one, such as {path.parent / others[-1]}" if others else "copy it again"
    raise CheckpointError(f"{path}: is damaged, {wrong}; {instead}")


def is_of_an_epoch(best: Path, manifest: Manifest) -> bool:
    """Whether the best weights are those of any epoch in the manifest."""
    return best.is_file() and digest_of(best) in {entry.sha256 for entry in manifest.checkpoints}


# --- from JSON -----------------------------------------------------------------------------------------------------

_Entry = TypeVar("_Entry", Checkpoint, State)


def _checked(content: Any) -> Manifest:
    """The manifest that parsed JSON describes. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    if "state" in content and "states" not in content:
        raise ValueError(
            "version 0.2 or older has written it, with one state and no checksums; without it the weights can begin a "
            "new run, and that version alone can go on with this one"
        )
    model = _of_kind(content, "model", str)
    names = _of_kind(content, "class_names", list)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError("class_names are not names, each once")
    checkpoints = _entries(content, "checkpoints", Checkpoint, model)
    if any(later.epoch <= earlier.epoch for earlier, later in pairwise(checkpoints)):
        raise ValueError("the epochs of its checkpoints do not rise")
    states = _entries(content, "states", State, model)
    if any(later.step <= earlier.step for earlier, later in pairwise(states)):
        raise ValueError("the steps of its states do not rise")
    best = _of_kind(content, "best", dict, type(None))
    if checkpoints and not states:
        raise ValueError("it has checkpoints without a state")
    best = None if best is None else _entry(best, "best", Checkpoint, model)
    return Manifest(model, names, checkpoints, best, states)


def _entries(content: dict[str, Any], key: str, kind: type[_Entry], model: str) -> list[_Entry]:
    entries = _of_kind(content, key, list)
    return [_entry(entry, f"{key}[{number}]", kind, model) for number, entry in enumerate(entries)]


def _entry(entry: Any, where: str, kind: type[_Entry], model: str) -> _Entry:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no mapping")
    kinds = {bool: (bool,), int: (int,), str: (str,), float: (int, float)}
    hints = get_type_hints(kind)
    values = {
        item.name: _of_kind(entry, item.name, *kinds.get(hints[item.name], (int, float, type(None))), where=f"{where}.")
        for item in fields(kind)
    }
    name = values["file"]
    # A file of this run, in this folder: what a manifest names may be read, replaced and deleted
    if (
        name != os.path.basename(name)
        or not name.isprintable()
        or not (name.startswith(f"{model}-") and name.endswith(SUFFIX))
    ):
        raise ValueError(f"{where}.file is '{name}', not the name of a file {model}-...{SUFFIX} beside it")
    for key, value in values.items():
        least = 0 if key in ("step", "seconds", "validation_images") else 1
        if hints[key] in (int, float) and not least <= value < 1 << 53:
            raise ValueError(f"{where}.{key} is {value}")
    top1 = values.get("top1")
    if top1 is not None and not (math.isfinite(top1) and 0 <= top1 <= 100):
        raise ValueError(f"{where}.top1 is {top1}, not a percentage")
    if not re.fullmatch("[0-9a-f]{64}", values["sha256"]):
        raise ValueError(f"{where}.sha256 is no SHA-256")
    return kind(**values)


def _of_kind(content: dict[str, Any], key: str, *kinds: type, where: str = "") -> Any:
    if key not in content:
        raise ValueError(f"no '{where}{key}'")
    value = content[key]
    if type(value) not in kinds:
        raise ValueError(f"{where}{key} is {str(value)[:40]!r}")
    return value
