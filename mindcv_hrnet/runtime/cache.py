"""Where this package keeps what it can make or fetch again."""

import os
from collections.abc import MutableMapping
from pathlib import Path

CACHE_VARIABLE = "MINDCV_HRNET_CACHE"
_BASE_VARIABLE = "XDG_CACHE_HOME"


def cache_folder() -> Path:
    """$MINDCV_HRNET_CACHE, else `mindcv_hrnet` in the user's cache folder: weights, lists of images, compiled graphs.

    Files lie side by side, named after what they are. Deleting any of them costs time and nothing else.
    """
    given = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get(_BASE_VARIABLE) or "~/.cache"
    folder = os.path.expanduser(given or f"{base}/mindcv_hrnet")
    if folder.startswith("~"):  # stands for no home folder here: a place where nothing can be written, and that says so
        folder = f"{os.devnull}/{folder}"
    return Path(os.path.abspath(folder))


def keep_meaning(environ: MutableMapping[str, str]) -> None:
    """Make a relative cache folder absolute, for a process that is about to stand in another folder."""
    for name in (CACHE_VARIABLE, _BASE_VARIABLE):
        if environ.get(name) and not environ[name].startswith("~"):
            environ[name] = os.path.abspath(environ[name])
