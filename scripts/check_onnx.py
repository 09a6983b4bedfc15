"""Write all nine variants as ONNX and compare each file with its network; prints a table.

    python scripts/check_onnx.py [VARIANT ...]

Random weights, one and three channels, at 64 and at 75 pixels. difference: the largest, relative to the largest logit.
"""

import sys
import tempfile
import time
from pathlib import Path

import mindspore as ms
import numpy as np

from mindcv_hrnet.deploy.metadata import Metadata
from mindcv_hrnet.deploy.onnx_file import write_onnx
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.models import VARIANTS, create_model
from mindcv_hrnet.recipe.config import parse_config

LIMIT = 1e-4
SIDES, CHANNELS = (64, 75), (1, 3)


def check(name: str, channels: int, folder: Path) -> float:
    """Print the rows of one network; returns the largest difference."""
    network = create_model(name, in_channels=channels).set_train(False)
    worst = 0.0
    for side in SIDES:
        config = parse_config(["--model", name, "--image_resize", str(side), "--in_channels", str(channels)])
        begun, path = time.perf_counter(), folder / "network.onnx"
        write_onnx(network, Metadata.of(config, []), path)
        seconds = time.perf_counter() - begun
        images = np.random.default_rng(0).standard_normal((2, channels, side, side), dtype=np.float32)
        theirs, ours = load_model(path)(images), network(ms.Tensor(images)).asnumpy()
        difference = float(np.abs(ours - theirs).max() / np.abs(ours).max())
        size = path.stat().st_size / 1e6
        print(f"{name:20} {channels}  {side}  {difference:10.1e}  {size:6.1f} MB  {seconds:5.1f} s", flush=True)
        worst = max(worst, difference)
    return worst


def main() -> int:
    """Check the variants that the command line names, or all."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    with tempfile.TemporaryDirectory() as folder:
        names = sys.argv[1:] or list(VARIANTS)
        worst = max(check(name, channels, Path(folder)) for name in names for channels in CHANNELS)
    print(f"largest difference {worst:.1e}, limit {LIMIT:.0e}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
