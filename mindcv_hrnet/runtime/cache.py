"""Where this package keeps what it can make or fetch again."""

import os
from pathlib import Path

CACHE_VARIABLE = "MINDCV_HRNET_CACHE"


def cache_folder() -> Path:
    """$MINDCV_HRNET_CACHE, else `mindcv_hrnet` in the user's cache folder: weights, lists of images, compiled graphs.

    Files lie side by side, named after what they are. Deleting any of them costs time and nothing else.
    """
    given = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given or f"{base}/mindcv_hrnet").expanduser().resolve()
