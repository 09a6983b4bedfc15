"""Progress: a bar where a person watches, nothing where the output goes to a file."""

import sys
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from mindcv_hrnet.cluster import Cluster


def progress_bar(total: int, label: str, cluster: Cluster) -> Any:
    """A tqdm bar on the main rank's terminal; a silent one elsewhere."""
    hidden = not (cluster.is_main and sys.stderr.isatty())
    return tqdm(total=total, desc=label, disable=hidden, leave=False, dynamic_ncols=True, unit="step")


def clock(seconds: float) -> str:
    """1:02:03 for 3723 s."""
    return str(timedelta(seconds=round(seconds)))
