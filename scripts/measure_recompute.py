#!/usr/bin/env python
"""Peak memory and time of a training step without and with `recompute`, on this machine's CPU.

    python scripts/measure_recompute.py --model hrnet_w18_small --batch_size 32 --image_resize 224

Each case runs three steps in a process of its own. Peak: the most memory that the process has held. What the network,
its optimizer and the compiler take stands in the lines of one image; the rest are the activations.
"""

import argparse
import itertools
import resource
import subprocess
import sys
import time

import numpy as np

STEPS = 3


def measure(model: str, batch_size: int, side: int, recompute: bool) -> None:
    """Print `MB seconds loss`: the peak, the median of the steps after the first, the last loss."""
    from mindspore import Tensor

    from mindcv_hrnet.engine.build import build_step
    from mindcv_hrnet.engine.start import start
    from mindcv_hrnet.recipe.config import parse_config

    settings = {"model": model, "num_classes": 10, "image_resize": side, "device_target": "CPU", "recompute": recompute}
    config = parse_config([word for key, value in settings.items() for word in (f"--{key}", str(value))])
    _, step = build_step(config, np.full(STEPS, 1e-3, np.float32), start(config.system))
    images = np.random.default_rng(0).integers(0, 256, (batch_size, 3, side, side), dtype=np.uint8)
    labels = np.arange(batch_size, dtype=np.int32) % 10
    boxes = np.zeros((batch_size, 4), np.int32), np.zeros((batch_size, 5), np.float32)
    inputs = [Tensor(each) for each in (images, labels, *boxes)]
    seconds = []
    for _ in range(STEPS):
        begun = time.perf_counter()
        loss = float(step(*inputs).asnumpy())
        seconds.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{peak:.0f} {np.median(seconds[1:]):.2f} {loss:.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="hrnet_w18_small")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--image_resize", type=int, default=224)
    parser.add_argument("--only", choices=("off", "on"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.model, options.batch_size, options.image_resize, options.only == "on")
        return
    for batch, only in itertools.product((1, options.batch_size), ("off", "on")):
        command = [sys.executable, __file__, "--model", options.model, "--batch_size", str(batch), "--only", only]
        command += ["--image_resize", str(options.image_resize)]
        case = f"{options.model}, batch of {batch}, recompute {only}"
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"error: {case}: {(done.stderr.strip() or 'the process was killed').splitlines()[-1]}")
        peak, seconds, loss = done.stdout.split()[-3:]
        print(f"{case}: peak {peak} MB, {seconds} s per step, loss {loss}")


if __name__ == "__main__":
    main()
