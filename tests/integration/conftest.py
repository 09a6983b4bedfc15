"""The commands a user types, run as a user runs them: from another folder, in a process of their own."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

RECIPE = ROOT / "configs/hrnet/hrnet_w18_small_digits_cpu.yaml"
# Short, and without the pipeline's help: what these tests ask is what comes out
SHORT = [
    *("--num_samples", "96", "--epoch_size", "2", "--warmup_epochs", "0", "--decay_epochs", "2"),
    *("--drop_rate", "0.1", "--drop_path_rate", "0.1"),  # a resumed run must drop the same
]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]


class Workplace:
    """A folder to stand in, and the root scripts to run from there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command: object, launcher: tuple[str, ...] = (), timeout: int = 300, **popen: Any) -> Outcome:
        done = subprocess.run(
            self.line(*command, launcher=launcher),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
            **popen,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def line(self, script: object, *arguments: object, launcher: tuple[str, ...] = ()) -> list[str]:
        start = [] if launcher and launcher[0] == "msrun" else [sys.executable]
        return [*launcher, *start, str(ROOT / str(script)), *map(str, arguments)]

    @staticmethod
    def environment() -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def mpirun(ranks: int) -> tuple[str, ...]:
    return ("mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks))


@pytest.fixture
def workplace(tmp_path):
    """An empty folder to run commands in."""
    folder = tmp_path / "standing-here"
    folder.mkdir()
    return Workplace(folder)


@pytest.fixture(scope="session")
def digits(made_once):
    """scikit-learn's digits as an image folder; of those to validate 13 of each class, 130 in all."""

    def make(folder):
        command = [sys.executable, str(ROOT / "scripts/prepare_digits.py"), "--out", str(folder / "digits")]
        subprocess.run(command, check=True)
        for label in (folder / "digits/val").iterdir():
            for image in sorted(label.iterdir())[13:]:
                image.unlink()

    return made_once("digits", make) / "digits"


@pytest.fixture
def few_digits(digits, tmp_path):
    """A copy of the digits with 4 images per class in both splits, for tests that spoil it."""
    for split in ("train", "val"):
        for folder in (digits / split).iterdir():
            target = tmp_path / "few" / split / folder.name
            target.mkdir(parents=True)
            for image in sorted(folder.iterdir())[:4]:
                shutil.copy(image, target)
    return tmp_path / "few"


@pytest.fixture(scope="session")
def trained(digits, made_once):
    """(run folder, outcome, folder stood in) of a short training run in graph mode. Nobody may change it."""

    def make(base):
        (base / "standing-here").mkdir()
        settings = ("-c", RECIPE, "--data_dir", digits, "--ckpt_save_dir", base / "run", *SHORT)
        outcome = Workplace(base / "standing-here").run("train.py", *settings)
        assert outcome.code == 0, outcome.err
        (base / "outcome.json").write_text(json.dumps(asdict(outcome)))

    base = made_once("trained", make)
    return base / "run", Outcome(**json.loads((base / "outcome.json").read_text())), base / "standing-here"
