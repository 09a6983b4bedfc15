"""Progress: a bar where a person watches, nothing where the output goes to a file."""

import sys
import time
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from mindcv_hrnet.runtime.distributed import Cluster


def progress_bar(total: int, label: str, cluster: Cluster, done: int = 0, unit: str = "step") -> Any:
    """A tqdm bar on the main rank's terminal, which begins at `done`; a silent one elsewhere."""
    hidden = not (cluster.is_main and sys.stderr.isatty())
    return tqdm(total=total, initial=done, desc=label, disable=hidden, leave=False, dynamic_ncols=True, unit=unit)


class Speed:
    """Images per second, without the first batch, which pays for the compilation, where others follow it."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.batches = self.images = 0

    def count(self, images: int) -> None:
        """Note that a batch of so many images is done."""
        self.last = time.perf_counter()
        self.batches += 1
        self.images += images
        if self.batches == 1:
            self.first, self.first_images = self.last, images

    @property
    def per_second(self) -> float:
        """0 before the first batch."""
        if self.batches < 2:
            return self.images / (time.perf_counter() - self.begun)
        return (self.images - self.first_images) / (self.last - self.first)


def clock(seconds: float) -> str:
    """1:02:03 for 3723 s."""
    return str(timedelta(seconds=round(seconds)))
