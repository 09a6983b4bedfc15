#!/usr/bin/env python
"""Starts, steps, forwards, memory and checkpoints beside PyPI's MindCV and timm, on the same images and cores.

    python scripts/benchmark.py --peers mindcv,timm --mindcv-python A/bin/python --timm-python B/bin/python

A has `pip install mindcv==0.3.0 mindspore==2.10.0 "numpy<2" pillow`, B `pip install timm torch`.
Each measurement is a process of its own, in the environment of its package, one after the other, round after round, so
that a busy machine slows all of them alike. A ratio is the median over the rounds of ours / peer; below 1 is faster or
smaller here. On a machine shared with other work, compare the CPU seconds.

Training is one epoch of the recipe's network and augmentation in float32 on made images, by this package's train.py and
by what the train.py of the peers does; the first start has an empty cache folder, the second the one that it has left.
Both MindSpore programs run with the CPU kernels that this package chooses, without which MindCV's step takes 40 times
as long. --host also runs benchmark_data.py. The JSON is written after each round.

A round of all three packages takes about a quarter of an hour on two cores, with --images 24 half of that; --host adds
two minutes a round and package.
"""

import argparse
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_data import missing_from, no_photos
from benchmark_rounds import PEERS, BenchmarkError, Rounds, not_writable, packages_of, pythons_of, wrong_number

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models.variants import PUBLISHED, find_spec
from mindcv_hrnet.runtime.files import write_json
from mindcv_hrnet.runtime.kernels import ISA_VARIABLES

ROOT = Path(__file__).resolve().parents[1]
WORKER = Path(__file__).with_name("benchmark_worker.py")
RECIPE = ROOT / "configs/hrnet/hrnet_w32_ascend.yaml"
# name in the JSON: how the table calls it
MEASURES = {
    "first_start_s": "command to the end of the first step, first start, s",
    "second_start_s": "the same, second start, s",
    "first_start_cpu_s": "first start, CPU s",
    "second_start_cpu_s": "second start, CPU s",
    "step_s": "training step, s",
    "step_cpu_s": "training step, CPU s",
    "train_s": "the whole training command, first start, s",
    "second_train_s": "the whole training command, second start, s",
    "train_peak_mb": "peak memory of training, MB",
    "checkpoint_mb": "checkpoint with optimizer, MB",
    "save_s": "to write it, s",
}
STEP = re.compile(r"\bstep (\d+)/\d+")


def make_images(folder: Path, images: int, classes: int) -> None:
    """`images` JPEGs of 500x375 for training, and one of each class to validate."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    for number in range(images + classes):
        split = "train" if number < images else "val"
        path = folder / split / f"c{number % classes}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        blobs = draw.integers(0, 256, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(blobs).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)


# --- one process -----------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """What a process printed, the seconds since it was started, and the CPU seconds that it had used."""

    text: str
    at: float
    cpu: float


def cpu_seconds(process: int) -> float:
    """User and system time of a process and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Peak(threading.Thread):
    """The most memory that a process has held, in MB. What `wait` reports begins with what its parent held."""

    def __init__(self, process: int):
        super().__init__(daemon=True)
        self.process, self.mb, self.ended = process, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        done = False
        while not done:
            for line in Path(f"/proc/{self.process}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.mb = int(line.split()[1]) / 1000
            done = self.ended.wait(0.1)


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The lines of a command, how long it took, and the most memory that it held; BenchmarkError where it fails."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        assert process.stdout
        peak = Peak(process.pid)
        lines = [Line(text, time.perf_counter() - begun, cpu_seconds(process.pid)) for text in process.stdout]
        peak.ended.set()
        peak.join()
        failed = process.wait()
        seconds = time.perf_counter() - begun
        if failed:
            errors.seek(0)
            raise BenchmarkError(f"{' '.join(command)}: exit code {failed}", errors.read())
    return {"lines": lines, "seconds": seconds, "peak_mb": peak.mb}


def environment_of(who: str, cache: Path) -> dict[str, str]:
    """MindCV has the kernels that this package chooses when it is imported; PyTorch chooses its own.

    PYTHONPATH belongs to our interpreter: a peer's has what its environment has.
    """
    left_out = {"ours": (), "mindcv": ("PYTHONPATH",), "timm": ("PYTHONPATH", *ISA_VARIABLES)}[who]
    given = {name: text for name, text in os.environ.items() if name not in left_out}
    return {**given, "GLOG_v": "3", "PYTHONUNBUFFERED": "1", "MINDCV_HRNET_CACHE": str(cache)}


def train_command(who: str, out: Path, data: Path, o: argparse.Namespace) -> list[str]:
    if who != "ours":
        paths = ["--data", str(data), "--out", str(out)]
        sizes = ["--model", o.model, "--batch-size", str(o.batch_size), "--classes", str(o.classes)]
        return [pythons_of(o)[who], str(WORKER), "train", who, *paths, *sizes, "--workers", str(o.workers)]
    recipe = {
        **{"config": RECIPE, "data_dir": data, "ckpt_save_dir": out / "run", "model": o.model},
        **{"batch_size": o.batch_size, "num_classes": o.classes, "num_parallel_workers": o.workers},
        **{"distribute": False, "device_target": "CPU", "dataset_sink_mode": False, "val_while_train": False},
        **{"amp_level": "O0", "loss_scale": 1, "epoch_size": 1, "warmup_epochs": 0, "decay_epochs": 1},
        **{"ckpt_save_policy": "latest_k", "log_interval": 1},
    }
    options = [word for key, value in recipe.items() for word in (f"--{key}", str(value))]
    return [sys.executable, str(ROOT / "train.py"), *options]


def measure_training(who: str, data: Path, cache: Path, o: argparse.Namespace) -> dict[str, float]:
    """One training command; times of steps are those between their lines."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as out:
        found = run(train_command(who, Path(out), data, o), environment_of(who, cache))
        files = {(file.stat().st_ino, file.stat().st_size) for file in Path(out).rglob("*") if file.is_file()}
    saved = [line for line in found["lines"] if "saved" in line.text and not STEP.search(line.text)]
    # a step that takes long is followed by a line of its own: `step N/M  saved the training state`
    steps = [line for line in found["lines"] if STEP.search(line.text) and "saved" not in line.text]
    if len(steps) < 2 or not saved:
        said = "".join(line.text for line in found["lines"])
        raise BenchmarkError(f"{who}: the training command told of no two steps and a save", said)
    pairs = list(itertools.pairwise(steps))
    return {
        "start_s": steps[0].at,
        "start_cpu_s": steps[0].cpu,
        "step_s": statistics.median(after.at - before.at for before, after in pairs),
        "step_cpu_s": statistics.median(after.cpu - before.cpu for before, after in pairs),
        "train_s": found["seconds"],
        "train_peak_mb": found["peak_mb"],
        "checkpoint_mb": sum(size for _, size in files) / 1e6,
        "save_s": saved[0].at - steps[-1].at,
    }


def measure_forward(who: str, o: argparse.Namespace) -> dict[str, float]:
    command = [pythons_of(o)[who], str(WORKER), "forward", who, "--model", o.model, "--batches", o.batches]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as cache:
        found = run(command, environment_of(who, Path(cache)))
    seconds = json.loads(found["lines"][-1].text)
    return {**{f"forward_{batch}_s": value for batch, value in seconds.items()}, "forward_peak_mb": found["peak_mb"]}


def measure(who: str, data: Path, o: argparse.Namespace) -> dict[str, float]:
    """Everything about one package, once. Peers have no cache: their second start is another first one."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as cache:
        first = measure_training(who, data, Path(cache), o)
        second = measure_training(who, data, Path(cache), o)
    starts = {f"first_{name}": first.pop(name) for name in ("start_s", "start_cpu_s")}
    starts |= {f"second_{name}": second[name] for name in ("start_s", "start_cpu_s", "train_s")}
    steps = {name: statistics.median((first[name], second[name])) for name in ("step_s", "step_cpu_s")}
    return {**starts, **first, **steps, **(measure_forward(who, o) if o.batches else {})}


# --- all of them -----------------------------------------------------------------------------------------------------


def refusal(o: argparse.Namespace) -> str:
    """What is wrong with the options or missing in an environment, found before anything is measured; "" if nothing."""
    for peer in packages_of(o)[1:]:
        if peer not in PEERS:
            return f"--peers: unknown '{peer}'; choices: {', '.join(PEERS)}"
    try:
        find_spec(o.model)
    except UserError as error:
        return f"--model: {error}"
    if "mindcv" in packages_of(o) and o.model not in PUBLISHED:
        return f"--model: MindCV has no {o.model}; choices with this peer: {', '.join(PUBLISHED)}"
    if o.batches and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", o.batches):
        return f"--batches: '{o.batches}' are no whole numbers above 0, joined by commas, as in 1,4,32"
    wrong = wrong_number(o, ("classes", "batch_size", "workers", "rounds")) or not_writable(o.out)
    if wrong:
        return wrong
    if o.images < 2 * o.batch_size:
        return f"--images: {o.images} are not two batches of {o.batch_size}"
    if o.classes > o.images:
        return f"--classes: {o.classes} are more than the {o.images} of --images; each needs one"
    return (no_photos() if o.host else "") or missing_from(pythons_of(o), packages_of(o))


def compare(o: argparse.Namespace, kept: Rounds) -> dict[str, Any]:
    """{"machine", "settings", "versions", "table": medians and ratios, "rounds": all measured}; prints the table."""
    packages = packages_of(o)
    settings = {key: getattr(o, key) for key in ("model", "images", "classes", "batch_size", "workers", "rounds")}
    versions = {who: versions_of(pythons_of(o)[who]) for who in packages}
    found: dict[str, Any] = {"machine": machine(), "settings": settings, "versions": versions}
    rounds: dict[str, list[dict[str, float]]] = {who: [] for who in packages}
    with tempfile.TemporaryDirectory(prefix="benchmark-images-") as folder:
        make_images(Path(folder), o.images, o.classes)
        for number in range(1, o.rounds + 1):
            for who in packages:
                rounds[who].append(measure(who, Path(folder), o))
                print(f"round {number}: {who}: {rounds[who][-1]}", file=sys.stderr, flush=True)
            found |= {"table": {name: row(name, rounds) for name in rounds["ours"][0]}, "rounds": rounds}
            kept.keep(found)
    print("\n".join(markdown(found["table"], packages)))
    return found


def measure_host(o: argparse.Namespace) -> dict[str, Any]:
    """What benchmark_data.py writes, beside `--out`."""
    out = o.out.with_name(f"{o.out.stem}-data.json")
    script = str(Path(__file__).with_name("benchmark_data.py"))
    options = [f"--peers={o.peers}", f"--mindcv-python={o.mindcv_python}", f"--timm-python={o.timm_python}"]
    options += [f"--workers={o.workers}", f"--rounds={o.rounds}", f"--out={out}"]
    failed = subprocess.run([sys.executable, script, *options]).returncode
    if failed:
        raise BenchmarkError(f"--host: {script}: exit code {failed}")
    return json.loads(out.read_text())


def versions_of(python: str) -> dict[str, str]:
    """{package: version} of the frameworks in an environment."""
    names = ("mindspore", "mindcv", "timm", "torch")
    look = (
        "import json; from importlib.metadata import distributions; "
        f"print(json.dumps({{d.name: d.version for d in distributions() if d.name in {names}}}))"
    )
    return json.loads(subprocess.run([python, "-c", look], capture_output=True, text=True, check=True).stdout)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return {
        **{"processor": (names or [platform.machine()])[0], "cores": cores, "memory_gb": round(memory_gb)},
        **{"python": platform.python_version(), "load_before": os.getloadavg()[0]},
    }


def row(name: str, rounds: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """{package: {"median", "ratio": ours / it}} of one measure."""
    cells = {}
    for who, results in rounds.items():
        ratios = [ours[name] / it[name] for ours, it in zip(rounds["ours"], results, strict=True)]
        cells[who] = {
            "median": round(statistics.median(result[name] for result in results), 3),
            "ratio": round(statistics.median(ratios), 2),
        }
    return cells


def markdown(table: dict[str, dict[str, dict[str, float]]], packages: list[str]) -> list[str]:
    peers = packages[1:]
    lines = [
        "| | " + " | ".join([*packages, *(f"ours / {peer}" for peer in peers)]) + " |",
        "|---|" + "--:|" * (len(packages) + len(peers)),
    ]
    for name, cells in table.items():
        batch = name.removeprefix("forward_").removesuffix("_s")
        title = MEASURES.get(name) or (
            f"evaluation forward, batch {batch}, s" if batch.isdigit() else "peak memory of the forward, MB"
        )
        medians = [f"{cells[who]['median']:.{0 if name.endswith('mb') else 2}f}" for who in packages]
        lines.append(f"| {title} | " + " | ".join([*medians, *(f"{cells[p]['ratio']:.2f}" for p in peers)]) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="packages to compare with: mindcv, timm or both, joined by a comma")
    parser.add_argument("--mindcv-python", default=sys.executable, help="interpreter of the environment with mindcv")
    parser.add_argument("--timm-python", default=sys.executable, help="interpreter of the environment with timm")
    parser.add_argument("--model", default="hrnet_w32")
    parser.add_argument("--images", type=int, default=200, help="training images")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--batches", default="1,4,32", help="batch sizes of the evaluation forward; '': none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--host",
        action="store_true",
        help="measure the data path as well, by benchmark_data.py with these peers, workers and rounds",
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"), help="JSON file to write")
    options = parser.parse_args()
    wrong = refusal(options)
    if wrong:
        sys.exit(f"error: {wrong}")
    kept = Rounds(options.out, options.rounds)
    with kept.one_line_end():
        found = compare(options, kept)
        if options.host:
            write_json(options.out, found | {"data": measure_host(options)})
    print(f"\nwritten: {options.out}")


if __name__ == "__main__":
    main()
