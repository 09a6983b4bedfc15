#!/usr/bin/env python
"""Images per second of the data path, beside MindCV's and timm's, on the same files and cores.

    python scripts/benchmark_data.py --peers mindcv,timm --mindcv-python ENV/bin/python --timm-python ENV/bin/python

Makes JPEGs from scikit-learn's two photographs, then measures every loader in a process of its own, one after the
other, round after round, so that a busy machine slows all of them alike. `host` is what reaches the device: uint8
batches here and in timm (its collate function mixes them), normalised float32 batches in MindCV, which has no device
part. `device` adds normalising, erasing and mixing, run on the CPU. A ratio is the median over the rounds of
ours / peer. On a machine shared with other work, compare the CPU seconds.

Memory is what the loader adds to the process and its children (proportional set size), per worker, at its peak.
"""

import argparse
import importlib.util
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark_rounds import PEERS, BenchmarkError, Rounds, not_writable, packages_of, pythons_of, wrong_number

FILES, DISTINCT, CLASSES, QUALITY = 1024, 256, 4, 90
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PARTS = ("host", "device")
MEASURES = ("images_per_s", "cpu_s_per_1000", "memory_mb_per_worker")


def write_photos(folder: Path, width: int, height: int) -> None:
    """`folder/train/<class>/<number>.jpg`: shifted cut-outs of the two photographs; every fourth name is a file of its
    own, the others are hard links.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    draw = random.Random(0)
    for number in range(DISTINCT):
        photo = photos[number % 2]
        left, top = draw.randrange(60), draw.randrange(40)
        right, bottom = photo.width - draw.randrange(60), photo.height - draw.randrange(40)
        image = photo.resize((width, height), Image.Resampling.LANCZOS, box=(left, top, right, bottom))
        first = folder / "train" / f"c{number % CLASSES}" / f"{number:04d}.jpg"
        first.parent.mkdir(parents=True, exist_ok=True)
        image.save(first, quality=QUALITY)
        for copy in range(number + DISTINCT, FILES, DISTINCT):
            os.link(first, first.with_name(f"{copy:04d}.jpg"))


# --- one loader, in a process of its own -----------------------------------------------------------------------------


def our_batches(o: argparse.Namespace) -> Iterator[int]:
    import mindspore as ms

    from mindcv_hrnet.data.loader import TrainLoader
    from mindcv_hrnet.data.sources.open_split import open_split
    from mindcv_hrnet.data.to_mindspore import as_dataset
    from mindcv_hrnet.engine.preprocess import Preprocess
    from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig

    recipe: dict[str, Any] = (
        dict(auto_augment="randaug-m7-mstd0.5", re_prob=0.1, mixup=0.2, cutmix=1.0) if o.augment else {}
    )
    augmentation = AugmentationConfig(color_jitter=None, **recipe)
    data = DataConfig(batch_size=o.batch_size, num_parallel_workers=o.workers)
    loader = TrainLoader(open_split(str(o.folder), "train"), data, augmentation, seed=1)
    ms.set_context(mode=ms.GRAPH_MODE)
    on_device = Preprocess(MEAN, STD, 224, 1000, 0.1, erase=bool(o.augment), mix=bool(o.augment))
    epochs = as_dataset(loader).create_tuple_iterator(num_epochs=-1, output_numpy=not o.device)
    while True:
        for batch in epochs:
            if o.device:
                on_device(*batch[:4])[1].asnumpy()
            yield len(batch[0])


def mindcv_batches(o: argparse.Namespace) -> Iterator[int]:
    from mindcv.data import create_dataset, create_loader, create_transforms

    recipe = dict(auto_augment="randaug-m7-mstd0.5", re_prob=0.1) if o.augment else {}
    mixing = dict(mixup=0.2, cutmix=1.0, cutmix_prob=1.0) if o.augment else {}
    source = create_dataset("imagenet", root=str(o.folder), split="train", num_parallel_workers=o.workers)
    transform = create_transforms("imagenet", is_training=True, image_resize=224, color_jitter=None, **recipe)
    common = dict(num_classes=1000, transform=transform, num_parallel_workers=o.workers)
    dataset = create_loader(source, o.batch_size, drop_remainder=True, is_training=True, **mixing, **common)
    epochs = dataset.create_tuple_iterator(num_epochs=-1, output_numpy=True)
    while True:
        yield from map(lambda batch: len(batch[0]), epochs)


def timm_batches(o: argparse.Namespace) -> Iterator[int]:
    import torch
    from timm.data import FastCollateMixup, create_dataset, create_loader

    recipe: dict = {}
    if o.augment:
        mixing = FastCollateMixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=1000)
        recipe = dict(auto_augment="rand-m7-mstd0.5", re_prob=0.1, collate_fn=mixing)
    source = create_dataset("", root=str(o.folder), split="train", is_training=True)
    common = dict(num_workers=o.workers, device=torch.device("cpu"), color_jitter=0.0, interpolation="bilinear")
    loader = create_loader(
        source, (3, 224, 224), o.batch_size, is_training=True, use_multi_epochs_loader=True, **recipe, **common
    )
    while True:
        for batch in loader if o.device else loader.loader:
            yield len(batch[0])


LOADERS = {"ours": our_batches, "mindcv": mindcv_batches, "timm": timm_batches}
PACKAGES = {
    "ours": ["mindspore", "cv2", "numpy", "PIL"],
    "mindcv": ["mindcv", "mindspore", "numpy", "PIL"],
    "timm": ["timm", "torch", "PIL"],
}


def processes() -> list[int]:
    """This process and its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    return [own, *map(int, children)]


def cpu_seconds() -> float:
    """User and system time that this process and its children have used."""
    ticks = 0
    for process in processes():
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb() -> float:
    """Memory of this process and its children; what they share counts once."""
    total = 0
    for process in processes():
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # a child that has just ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(o: argparse.Namespace) -> dict:
    """Run one loader: a warm-up, then `o.seconds` of steady work."""
    packages = [__import__(name) for name in PACKAGES[o.loader]]
    before, peak, done = memory_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.5):
            peak = max(peak, memory_mb())

    threading.Thread(target=watch, daemon=True).start()
    batches = LOADERS[o.loader](o)
    next(batches)
    start = time.perf_counter()
    while time.perf_counter() - start < o.warm_up:
        next(batches)
    images, cpu, start = 0, cpu_seconds(), time.perf_counter()
    while (wall := time.perf_counter() - start) < o.seconds:
        images += next(batches)
    cpu = cpu_seconds() - cpu
    done.set()
    return {
        "images_per_s": images / wall,
        "cpu_s_per_1000": cpu / images * 1000,
        "memory_mb_per_worker": max(0.0, peak - before) / o.workers,
        "versions": {package.__name__: package.__version__ for package in packages},
    }


# --- all of them -----------------------------------------------------------------------------------------------------


def run(python: str, loader: str, folder: Path, augment: bool, device: bool, o: argparse.Namespace) -> dict:
    """`measure` in a process of its own, with the interpreter that has the loader."""
    command = [python, __file__, "--loader", loader, "--folder", str(folder)]
    command += [f"--augment={int(augment)}", f"--device={int(device)}", f"--workers={o.workers}"]
    command += [f"--batch-size={o.batch_size}", f"--seconds={o.seconds}", f"--warm-up={o.warm_up}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GLOG_v": "3"})
    if done.returncode:
        raise BenchmarkError(f"{loader}: {' '.join(command)}: exit code {done.returncode}", done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def refusal(o: argparse.Namespace) -> str:
    """What is wrong with the options or missing in an environment, found before anything is measured; "" if nothing."""
    known = {"--peers": (packages_of(o)[1:], PEERS), "--parts": (o.parts.split(","), PARTS)}
    for name, (given, choices) in known.items():
        for value in given:
            if value not in choices:
                return f"{name}: unknown '{value}'; choices: {', '.join(choices)}"
    for size in o.sizes.split(","):
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", size):
            return f"--sizes: '{size}' is no width x height, as in 500x375"
    if o.batch_size > FILES:
        return f"--batch-size: {o.batch_size} is more than the {FILES} images"
    wrong = wrong_number(o, ("workers", "batch_size", "rounds", "seconds")) or not_writable(o.out) or no_photos()
    return wrong or missing_from(pythons_of(o), packages_of(o))


def no_photos() -> str:
    """What the photographs need and this environment lacks, in one line; "" if nothing."""
    if importlib.util.find_spec("sklearn"):
        return ""
    return "the photographs are scikit-learn's, which is missing here; pip install 'mindcv-hrnet[digits]'"


def missing_from(pythons: dict[str, str], loaders: list[str]) -> str:
    """Which environment lacks the packages of its loader, in one line; "" if none."""
    for loader in loaders:
        python, packages = pythons[loader], PACKAGES[loader]
        look = f"import importlib.util as u; print('lacks', *(p for p in {packages} if u.find_spec(p) is None))"
        try:
            done = subprocess.run([python, "-c", look], capture_output=True, text=True)
        except OSError as error:
            return f"--{loader}-python: {python}: {error.strerror}"
        missing = done.stdout.split()[1:] if done.stdout.startswith("lacks") else packages
        if missing:
            option = "" if loader == "ours" else f"; --{loader}-python names an interpreter that has them"
            return f"{loader}: {python} has no {', '.join(missing)}{option}"
    return ""


def compare(o: argparse.Namespace, kept: Rounds) -> None:
    """Measure and keep {"machine", "settings", "versions", "table": medians and ratios, "rounds": every measurement};
    prints the table.
    """
    pythons, loaders = pythons_of(o), packages_of(o)
    sizes = [tuple(map(int, size.split("x"))) for size in o.sizes.split(",")]
    cases = [(f"{w}x{h}", augment, part) for w, h in sizes for augment in (True, False) for part in o.parts.split(",")]
    found: dict[tuple, list[dict]] = defaultdict(list)
    machine = {
        "cores": len(os.sched_getaffinity(0)),
        "processor": platform.machine(),
        "python": platform.python_version(),
    }
    with tempfile.TemporaryDirectory(prefix="benchmark-data-") as scratch:
        for width, height in sizes:
            write_photos(Path(scratch, f"{width}x{height}"), width, height)
        for number in range(1, o.rounds + 1):
            for size, augment, part in cases:
                for loader in loaders:
                    result = run(pythons[loader], loader, Path(scratch, size), augment, part == "device", o)
                    found[size, augment, part, loader].append(result)
                    what = f"{size} augment {augment} {part} {loader}: {result['images_per_s']:.0f} images/s"
                    print(f"round {number}: {what}", file=sys.stderr, flush=True)
            table = [row(case, loaders, found) for case in cases]
            kept.keep(
                {
                    "machine": machine,
                    "settings": {key: getattr(o, key) for key in ("workers", "batch_size", "seconds", "rounds")},
                    "versions": {loader: results[0]["versions"] for (*_, loader), results in found.items()},
                    "table": table,
                    "rounds": [{"case": list(case), **each} for case, results in found.items() for each in results],
                }
            )
    print("\n".join(markdown(table, loaders)))


def row(case: tuple, loaders: list[str], found: dict[tuple, list[dict]]) -> dict:
    """Medians of one case, and the median over the rounds of ours / peer."""
    by_loader = {loader: found[key] for loader in loaders for key in [(*case, loader)]}
    ours, out = by_loader["ours"], {"size": case[0], "augment": case[1], "part": case[2]}
    for loader, results in by_loader.items():
        cell = {key: round(statistics.median(result[key] for result in results), 2) for key in MEASURES}
        for key, name in (("images_per_s", "ratio"), ("cpu_s_per_1000", "cpu_ratio")):
            ratios = [mine[key] / theirs[key] for mine, theirs in zip(ours, results, strict=True)]
            median = statistics.median(ratios)
            cell[name] = round(median if name == "ratio" else 1 / median, 2)
        out[loader] = cell
    return out


def markdown(table: list[dict], loaders: list[str]) -> list[str]:
    lines = [
        "| source | augmentation | part | loader | images/s | ours / it | CPU s per 1,000 | it / ours | MB / worker |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for entry in table:
        place = f"| {entry['size']} | {'recipe' if entry['augment'] else 'crop, flip'} | {entry['part']} "
        for loader in loaders:
            c = entry[loader]
            speed = f"{c['images_per_s']:.0f} | {c['ratio']:.2f} | {c['cpu_s_per_1000']:.2f} | {c['cpu_ratio']:.2f}"
            lines.append(f"{place}| {loader} | {speed} | {c['memory_mb_per_worker']:.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="loaders to compare with: mindcv, timm or both, joined by a comma")
    parser.add_argument("--mindcv-python", default=sys.executable, help="interpreter of the environment with mindcv")
    parser.add_argument("--timm-python", default=sys.executable, help="interpreter of the environment with timm")
    parser.add_argument("--sizes", default="500x375,1200x900,96x96", help="sizes of the JPEGs")
    parser.add_argument("--parts", default="host,device", help="host, device or both")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement, after the warm-up")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds of each before they count")
    parser.add_argument("--out", type=Path, default=Path("benchmark_data.json"), help="JSON file to write")
    for name in ("loader", "folder", "augment", "device"):  # of a process that measures
        parser.add_argument(f"--{name}", type={"loader": str, "folder": Path}.get(name, int), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loader:
        print(json.dumps(measure(options)), flush=True)
        os._exit(0)  # workers of the peers would be waited for
    wrong = refusal(options)
    if wrong:
        sys.exit(f"error: {wrong}")
    kept = Rounds(options.out, options.rounds)
    with kept.one_line_end():
        compare(options, kept)
    print(f"\nwritten: {options.out}")


if __name__ == "__main__":
    main()
