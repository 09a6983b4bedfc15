"""Time model files side by side: ONNX of any origin, and MINDIR; prints a table.

    python scripts/benchmark_models.py FILE ... [--batch 1 4 32] [--rounds 10] [--threads N]

Every round runs each file once, so that whatever else the machine does slows all alike; the smallest and the median
time count. With `--threads 1` the processor's own seconds tell most: they depend little on other programs.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from one_line_errors import one_line_errors

from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.files import first_line_of

Run = Callable[[np.ndarray], np.ndarray]


def opened(path: Path, threads: int) -> Run:
    """A function from images to logits, of a file that may be another program's. Raises CheckpointError, OSError."""
    with open(path, "rb"):
        pass
    try:
        return load_model(path, threads=threads or None)
    except CheckpointError:
        return foreign(path, threads)


def foreign(path: Path, threads: int) -> Run:
    """The same of an ONNX file that export.py did not write."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options)
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise CheckpointError(
            f"{path}: ONNX Runtime refuses it ({first_line_of(error)}); give ONNX or MINDIR"
        ) from None
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def compare(models: dict[str, Run], batches: list[int], rounds: int, size: int) -> None:
    """Print a line for each file and batch size."""
    width = max(map(len, models))
    print(f"batch  {'file':{width}}  smallest    median  processor  images/s  difference")
    for batch in batches:
        images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
        first = {name: run(images) for name, run in models.items()}  # compiles, too
        expected = next(iter(first.values()))
        walls: dict[str, list[float]] = {name: [] for name in models}
        work: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(rounds):
            for name, run in models.items():
                begun, busy = time.perf_counter(), time.process_time()
                run(images)
                walls[name].append(time.perf_counter() - begun)
                work[name].append(time.process_time() - busy)
        for name, times in walls.items():
            difference = np.abs(first[name] - expected).max() / np.abs(expected).max()
            print(
                f"{batch:5}  {name:{width}}  {min(times):6.3f} s  {np.median(times):6.3f} s  {min(work[name]):7.3f} s"
                f"  {batch / min(times):8.1f}  {difference:10.1e}"
            )


def main() -> None:
    """Time the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4, 32])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0, help="cores per call (0: all)")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    if min(*options.batch, options.rounds, options.size) < 1 or options.threads < 0:
        parser.error("--batch, --rounds and --size begin at 1, --threads at 0")
    with one_line_errors():
        models = {str(path): opened(path, options.threads) for path in options.files}
        compare(models, options.batch, options.rounds, options.size)


if __name__ == "__main__":
    main()
