"""Kill a run at random moments, go on, and compare what comes out with the same run left alone, bit for bit.

    python scripts/chaos.py --kills 20 --ranks 2

A real run: HRNet-W18-small on scikit-learn's digits, with mixup, cutmix, dropout, stochastic depth, a moving average,
mixed precision with a dynamic loss scale, accumulated gradients and, on several ranks, synchronised batch norm. A
state is saved every few steps. SIGKILL goes to the whole job, to its launcher or to one rank. Ends with 0 where every
run ends as the reference does: its final state and weights, the scores in the manifest, and metrics.csv without a gap
or a double row.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from image_folder import write_folder
from prepare_digits import samples

from mindcv_hrnet.weights import read_entries
from mindcv_hrnet.weights.manifest import Manifest

ROOT = Path(__file__).resolve().parents[1]
TIMES = ("seconds", "images_per_second", "data_wait")
LONGEST_WAIT_S = 60
MOST_DELAY_S = 25.0


def recipe(job: list[str], data: Path, ranks: int, epochs: int) -> list[str]:
    """The command line of the run, but for its folder. The global batch is 32 on any number of ranks."""
    settings = {
        "data_dir": data,
        "num_samples": 320,
        "epoch_size": epochs,
        "warmup_epochs": 0,
        "decay_epochs": epochs,
        "batch_size": 32 // ranks,
        "mixup": 0.2,
        "cutmix": 1.0,
        "drop_rate": 0.2,
        "drop_path_rate": 0.1,
        "ema": True,
        "ema_decay": 0.9,
        "amp_level": "O2",
        "loss_scale_type": "dynamic",
        "loss_scale": 65536,
        # 10 steps an epoch: an update is often half done at its end
        "gradient_accumulation_steps": 3,
        "sync_bn": ranks > 1,
        "ckpt_save_steps": 4,
        "log_interval": 1,
        "device_target": "CPU",
    }
    launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(ranks)] if ranks > 1 else []
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    recipe_file = ROOT / "configs/hrnet/hrnet_w18_small_digits_cpu.yaml"
    return [*launcher, sys.executable, *job, "-c", str(recipe_file), *words]


class Job:
    """One process of a run, or one launcher with its ranks. What it says goes to a file."""

    def __init__(self, command: list[str], folder: Path, output: Path):
        resumes = ["--resume"] if (folder / "history.jsonl").is_file() else []
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.output = output
        with open(output, "w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [*command, "--ckpt_save_dir", str(folder), *resumes],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def kill(self, how: str, generator: random.Random) -> None:
        """SIGKILL to the whole job, to its launcher, or to one rank; then wait until no process of it is left."""
        launcher = psutil.Process(self.process.pid)
        family = [launcher, *launcher.children(recursive=True)]
        ranks = [process for process in family if process.name().startswith("python")]
        victims = {"all": family, "launcher": [launcher], "a rank": [generator.choice(ranks or family)]}[how]
        for victim in victims:
            if victim.is_running():
                victim.kill()
        self.process.wait(LONGEST_WAIT_S)
        _, alive = psutil.wait_procs(family, LONGEST_WAIT_S)
        if alive:
            sys.exit(f"error: {[process.pid for process in alive]} live {LONGEST_WAIT_S} s after SIGKILL to {how}")

    @property
    def last_line(self) -> str:
        """What it has said last of its progress."""
        lines = [line for line in self.output.read_text(encoding="utf-8").splitlines() if line.startswith("epoch ")]
        return "  ".join(lines[-1].split("  ")[:2]) if lines else "before the first step"


def finish(command: list[str], folder: Path, output: Path) -> None:
    """Run to the end, or end this script with what the run has said."""
    if code := Job(command, folder, output).process.wait():
        sys.exit(f"error: the run ended with {code}:\n{output.read_text(encoding='utf-8')}")


def saved_step(folder: Path) -> int:
    """Steps that are safe."""
    manifest = Manifest.read(folder)
    return manifest.states[-1].step if manifest and manifest.states else 0


def differences(reference: Path, folder: Path) -> list[str]:
    """What is not as in the reference run."""
    ours, theirs = Manifest.read(folder), Manifest.read(reference)
    assert ours and theirs
    found = []
    scores = [[(c.epoch, c.step, c.top1) for c in (*m.checkpoints, m.best) if c] for m in (ours, theirs)]
    if scores[0] != scores[1]:
        found.append(f"scores {scores[0]} for {scores[1]}")
    for file in (ours.states[-1].file, ours.checkpoints[-1].file):
        mine, other = (read_entries(str(place / file)) for place in (folder, reference))
        names = set(mine) ^ set(other) or {name for name in mine if not np.array_equal(mine[name], other[name])}
        found += [f"{file}: {len(names)} entries, {min(names)}"] if names else []
    rows = []
    for place in (folder, reference):
        with open(place / "metrics.csv", newline="", encoding="utf-8") as table:
            rows.append([{key: row[key] for key in row if key not in TIMES} for row in csv.DictReader(table)])
    if rows[0] != rows[1]:
        found.append("metrics.csv: " + "; ".join(str(a) for a, b in zip(*rows, strict=False) if a != b))
    if [row["epoch"] for row in rows[0]] != [str(number) for number in range(1, len(rows[0]) + 1)]:
        found.append("metrics.csv: its epochs have a gap")
    left = sorted(path.name for path in folder.iterdir() if path.name.startswith("."))
    return found + [f"left behind: {name}" for name in left]


def main(arguments: list[str] | None = None) -> int:
    """Print a line for every kill, and whether the runs end alike."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="how often to kill (default 20)")
    parser.add_argument("--ranks", type=int, default=1, help="CPU ranks under mpirun (default 1, without a launcher)")
    parser.add_argument("--epochs", type=int, default=8, help="of 10 steps each (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--longest", type=float, default=MOST_DELAY_S, help="longest time to a kill, s (default 25)")
    train = [str(ROOT / "train.py")]
    parser.add_argument("--job", nargs="+", default=train, help="what trains: a script and its first words")
    options = parser.parse_args(arguments)
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch:
        place = Path(scratch)
        write_folder(place / "data", samples)
        command = recipe(options.job, place / "data", options.ranks, options.epochs)
        begun = time.monotonic()
        finish(command, place / "reference", place / "output")
        print(f"the reference took {time.monotonic() - begun:.0f} s", flush=True)
        kills = runs = wrong = 0
        while kills < options.kills or not runs:
            folder = place / f"run-{runs}"
            while kills < options.kills:
                job = Job(command, folder, place / "output")
                delay = generator.uniform(0.0, options.longest)
                try:
                    job.process.wait(delay)
                    break  # finished before the kill
                except subprocess.TimeoutExpired:
                    kills += 1
                how = generator.choice(("all", "launcher", "a rank")) if options.ranks > 1 else "all"
                moment = job.last_line
                job.kill(how, generator)
                print(
                    f"kill {kills}: {how} after {delay:.1f} s, {moment}; safe: {saved_step(folder)} steps", flush=True
                )
            finish(command, folder, place / "output")
            found = differences(place / "reference", folder)
            runs, wrong = runs + 1, wrong + bool(found)
            print(f"run {runs}: {'; '.join(found) or 'equal to the reference, bit for bit'}", flush=True)
            shutil.rmtree(folder)
    print(f"{kills} kills in {runs} runs on {options.ranks} rank(s): {runs - wrong} of {runs} runs equal the reference")
    return 1 if wrong else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
