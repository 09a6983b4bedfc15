"""`manifest.json` of a run folder: which file holds what. Read with suspicion, because files are deleted by it."""

import json
import math
import os
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import CheckpointError

MANIFEST = "manifest.json"
MOST_BYTES = 1 << 24  # a hundred thousand checkpoints
SUFFIX = ".ckpt"


@dataclass(frozen=True)
class Checkpoint:
    """Weights of one epoch. `top1` is a percentage, None where the epoch was not validated."""

    file: str
    epoch: int
    step: int
    top1: float | None


@dataclass
class Manifest:
    """What `manifest.json` holds."""

    model: str
    class_names: list[str]
    checkpoints: list[Checkpoint] = field(default_factory=list)
    best: Checkpoint | None = None
    state: str = ""

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

    def names(self, file: str) -> bool:
        """Whether `file`, a name without folder, is one of the run's."""
        return file in {self.state, *(each.file for each in (*self.checkpoints, self.best) if each)}


def _checked(content: Any) -> Manifest:
    """The manifest that parsed JSON describes. Raises ValueError."""
    if not isinstance(content, dict):
        raise ValueError("it is no mapping")
    model = _of_kind(content, "model", str)
    names = _of_kind(content, "class_names", list)
    if not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError("class_names are not names, each once")
    entries = _of_kind(content, "checkpoints", list)
    checkpoints = [_checkpoint(entry, f"checkpoints[{number}]", model) for number, entry in enumerate(entries)]
    if any(later.epoch <= earlier.epoch for earlier, later in pairwise(checkpoints)):
        raise ValueError("the epochs of its checkpoints do not rise")
    best = _of_kind(content, "best", dict, type(None))
    state = _of_kind(content, "state", str)
    if state:
        _check_file(state, "state", model)
    if bool(state) != bool(checkpoints):
        raise ValueError("it has a state without checkpoints" if state else "it has checkpoints without a state")
    return Manifest(model, names, checkpoints, None if best is None else _checkpoint(best, "best", model), state)


def _checkpoint(entry: Any, where: str, model: str) -> Checkpoint:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no mapping")
    found = Checkpoint(
        file=_of_kind(entry, "file", str, where=f"{where}."),
        epoch=_of_kind(entry, "epoch", int, where=f"{where}."),
        step=_of_kind(entry, "step", int, where=f"{where}."),
        top1=_of_kind(entry, "top1", int, float, type(None), where=f"{where}."),
    )
    _check_file(found.file, f"{where}.file", model)
    for name, least in (("epoch", 1), ("step", 0)):
        if not least <= getattr(found, name) < 1 << 53:
            raise ValueError(f"{where}.{name} is {getattr(found, name)}")
    if found.top1 is not None and not (math.isfinite(found.top1) and 0 <= found.top1 <= 100):
        raise ValueError(f"{where}.top1 is {found.top1}, not a percentage")
    return found


def _check_file(name: str, where: str, model: str) -> None:
    """A file of this run, in this folder: what a manifest names may be read, replaced and deleted."""
    if (
        name != os.path.basename(name)
        or not name.isprintable()
        or not (name.startswith(f"{model}-") and name.endswith(SUFFIX))
    ):
        raise ValueError(f"{where} is '{name}', not the name of a file {model}-...{SUFFIX} beside it")


def _of_kind(content: dict[str, Any], key: str, *kinds: type, where: str = "") -> Any:
    if key not in content:
        raise ValueError(f"no '{where}{key}'")
    value = content[key]
    if type(value) not in kinds:
        raise ValueError(f"{where}{key} is {str(value)[:40]!r}")
    return value
