"""How a run came about: the recipe that it began with, and a line for each start."""

import json
import logging
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from mindcv_hrnet.engine.run_folder import HISTORY, RECIPE
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.config import Config, parse_config, run_folder
from mindcv_hrnet.recipe.keys import ExportConfig, ValidationConfig

logger = logging.getLogger(__name__)

# What may differ when a run goes on: where and how it runs, what is kept and shown, what other commands read; the sizes
# are checked by themselves
FREE = frozenset(
    (
        *("mode", "distribute", "device_target", "compile_cache", "log_interval", "log_format", "tensorboard"),
        *("num_parallel_workers", "rank_timeout", "tracker"),
        *("data_dir", "dataset_download", "batch_size", "epoch_size", "val_while_train", "val_interval"),
        *("ckpt_path", "resume_opt", "resume_override", "nan_patience", "class_names_override", "dataset_sink_mode"),
        *("ckpt_save_dir", "ckpt_save_interval", "ckpt_save_policy", "ckpt_save_steps", "ckpt_save_minutes"),
        *("keep_checkpoint_max", "pretrained", "pretrained_url", "val_amp_level"),
        *(field.name for section in (ValidationConfig, ExportConfig) for field in fields(section)),
    )
)
# What says how a run goes on, and not what it is
HOW = ("ckpt_path", "resume_opt", "resume_override", "pretrained", "pretrained_url")


def recorded_recipe(folder: Path) -> Config | None:
    """The recipe in a run folder, None where there is none."""
    path = folder / RECIPE
    return parse_config(["-c", str(path)]) if path.is_file() else None


def changes(before: Config, now: Config) -> dict[str, tuple[Any, Any]]:
    """Keys whose values changed, but for those that are free to."""
    old, new = before.to_dict(), now.to_dict()
    return {key: (old[key], new[key]) for key in old if key not in FREE and old[key] != new[key]}


class Recipes(NamedTuple):
    """The recipe of this start, the one that repeats the whole run, and what this start has changed in it."""

    now: Config
    whole: Config
    changed: dict[str, tuple[Any, Any]]


def compare_recipes(config: Config, resumed_from: Path | None) -> Recipes:
    """Compare a recipe with the one of the run that goes on.

    `resumed_from` is the folder of the state, None where a run begins, or begins anew because nothing was saved.
    RunError lists the differences, unless `resume_override` is given.
    """
    folder = resumed_from or run_folder(config)
    recorded = recorded_recipe(folder) if config.train.resume_opt else None
    if recorded is None:
        whole = config.override(resume_opt=False, resume_override=False)
        return Recipes(config if resumed_from else whole, whole, {})
    found = changes(recorded, config)
    if found:
        text = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in found.items())
        if not config.train.resume_override:
            raise RunError(
                f"{folder}: was trained with another recipe ({text}); resume with its config.yaml, or pass "
                "--resume_override True to go on with the new values"
            )
        logger.warning("%s: goes on with another recipe (%s)", folder, text)
    old = recorded.to_dict()
    whole = config.override(**{key: old[key] for key in HOW})
    return Recipes(config if resumed_from else whole, whole, found)


def write_history(
    folder: Path, shape: RunShape, *, ranks: int, device: str, changed: dict[str, tuple[Any, Any]]
) -> None:
    """Append the line of this start; epoch and step, from 1, are the first that it does."""
    line = {
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": device,
        "ranks": ranks,
        "first_epoch": shape.epoch_of(shape.first_step + 1),
        "first_step": shape.first_step + 1,
        "changed": {key: list(pair) for key, pair in changed.items()},
        "versions": {name: _version(name) for name in ("mindcv_hrnet", "mindspore", "numpy")},
        "python": platform.python_version(),
        "commit": _commit(),
    }
    try:
        with open(folder / HISTORY, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise RunError(f"{folder / HISTORY}: cannot be written ({error.strerror}); check the folder") from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return ""


def _commit() -> str:
    """The commit of the checkout that this code runs from; empty where it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()
    return ""


def command_to_go_on(arguments: Sequence[str], launcher: str = "", ranks: int = 1) -> str:
    """The command line that continues the run of a command line."""
    program, *rest = arguments
    start = ["python", program] if program.endswith(".py") else [os.path.basename(program)]
    if launcher == "mpirun":
        start = ["mpirun", "-n", str(ranks), *start]
    resumes = [] if "--resume_opt" in rest or "--resume" in rest else ["--resume_opt", "True"]
    return shlex.join([*start, *rest, *resumes])
