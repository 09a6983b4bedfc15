#!/usr/bin/env python
"""How long a training job takes to its first batch, and in how much memory, at the size of ImageNet.

    python scripts/measure_start.py --out /a/local/disk

Makes an image folder of hard links to a thousand small JPEGs, and opens it in processes of their own: for the first
time, then with the list that the first one has left, both without and with MindSpore imported. The clock starts after
the imports. Peak: the most memory that the process has held, all its imports included.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMAGENET, BATCH = 1_281_167, 128


def make_tree(root: Path, images: int, folders: int) -> None:
    """`root/train/<class>/<number>.jpg`: a file in each folder, the others are links to it."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3)).astype(np.uint8)
    photo = Image.fromarray(pixels).resize((500, 375))
    for label in range(folders):
        folder = root / "train" / f"n{label:08d}"
        folder.mkdir(parents=True)
        first = f"{folder}/n{label:08d}_00000.jpg"
        photo.save(first)
        for number in range(1, images // folders + (label < images % folders)):
            os.link(first, f"{folder}/n{label:08d}_{number:05d}.jpg")
    from mindcv_hrnet.data.sources.index_cache import SETTLED_S

    time.sleep(SETTLED_S + 0.1)  # the list of a folder that has only just changed is not kept


def peak_mb() -> float:
    """What this process has held at most; its parent does not count, as it would in `getrusage`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000


def start(root: str, with_mindspore: bool) -> dict:
    """Open the split and make one batch of the published recipe."""
    bare = peak_mb()
    if with_mindspore:
        import mindspore  # noqa: F401 - for its memory
    from mindcv_hrnet.data.loader import TrainLoader
    from mindcv_hrnet.data.sources.open_split import open_split
    from mindcv_hrnet.recipe.keys import AugmentationConfig, DataConfig

    listed: list[str] = []

    def watch(event: str, arguments: tuple) -> None:
        if event == "os.scandir" and os.fspath(arguments[0]).startswith(f"{root}/train"):
            listed.append(arguments[0])

    sys.addaudithook(watch)
    begun = time.perf_counter()
    source = open_split(root, "train")
    opened = time.perf_counter() - begun
    recipe = AugmentationConfig(auto_augment="randaug-m7-mstd0.5", re_prob=0.1, mixup=0.2, cutmix=1.0)
    loader = TrainLoader(source, DataConfig(batch_size=BATCH, num_parallel_workers=2), recipe, seed=1)
    next(loader.batches(0))
    first_batch = time.perf_counter() - begun
    loader.close()
    found = {"images": len(source), "opened_s": opened, "first_batch_s": first_batch, "folders_listed": len(listed)}
    return {**found, "bare_mb": bare, "peak_mb": peak_mb()}


def run(root: Path, cache: Path, mindspore: bool) -> dict:
    """`start` in a process of its own."""
    command = [sys.executable, __file__, "--root", str(root), f"--mindspore={int(mindspore)}"]
    environment = {**os.environ, "MINDCV_HRNET_CACHE": str(cache), "GLOG_v": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"error: {(done.stderr.strip() or 'the process was killed').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=IMAGENET)
    parser.add_argument("--folders", type=int, default=1000)
    parser.add_argument("--out", help="where to make the images for the time being; default: the temporary folder")
    parser.add_argument("--root", help=argparse.SUPPRESS)
    parser.add_argument("--mindspore", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.root:
        print(json.dumps(start(options.root, bool(options.mindspore))))
        return
    if not 2 <= options.folders <= options.images:
        parser.error("--folders: from 2 to as many as --images")
    with tempfile.TemporaryDirectory(prefix="measure-start-", dir=options.out) as scratch:
        make_tree(Path(scratch), options.images, options.folders)
        print(f"| {options.images} images in {options.folders} folders | list | first batch | folders listed | peak |")
        print("|---|--:|--:|--:|--:|", flush=True)
        for mindspore, number in itertools.product((False, True), ("first", "second")):
            found = run(Path(scratch), Path(scratch, f"cache{mindspore}"), mindspore)
            case = f"{number} start, {'with' if mindspore else 'without'} MindSpore"
            times = f"{found['opened_s']:.2f} s | {found['first_batch_s']:.2f} s"
            print(f"| {case} | {times} | {found['folders_listed']} | {found['peak_mb']:.0f} MB |", flush=True)
        print(f"\nPython alone: {found['bare_mb']:.0f} MB")


if __name__ == "__main__":
    main()
