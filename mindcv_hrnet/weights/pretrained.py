"""Published weights: fetched once, checked, and kept in a cache folder."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.runtime.cache import CACHE_VARIABLE, cache_folder
from mindcv_hrnet.runtime.download import (
    Checksum,
    NotFetched,
    RefusedByServer,
    Unreachable,
    WebPage,
    WrongContent,
    obtain,
)
from mindcv_hrnet.runtime.files import make_folder, reason_of
from mindcv_hrnet.runtime.locks import exclusive_lock

logger = logging.getLogger(__name__)

COMMAND_LINE = "pass --ckpt_path FILE, or name a mirror with --pretrained_url"
_REMEDIES = {
    Unreachable: "download it elsewhere and {instead}",
    RefusedByServer: "check the address, or {instead}",
    WebPage: "check the address",
    WrongContent: "the file is not the published one and was removed",
}


def fetch(url: str, *, instead: str = COMMAND_LINE) -> Path:
    """The file at `url`, out of the cache or downloaded into it; `instead` is what a message advises where it fails.

    The start of its SHA-256 is taken from `#sha256=...` at the end of the URL or from the file's name
    (`NAME-cc4fbd91.ckpt`, `NAME-e616cdcb-910v2.ckpt`); without either the file is taken as it is. A broken-off download
    goes on where it stopped.
    Of several processes on one cache folder one downloads and the others wait.

    Raises CheckpointError: one line with the URL and the reason.
    """
    if url.startswith("hf://"):
        from mindcv_hrnet.weights.hub import fetch_from_hub

        return fetch_from_hub(url)
    address, name, digest = _parse(url)
    folder = cache_folder()
    make_folder(folder)
    # Two files of the same name at two addresses are two files
    target = folder / (name if digest else f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}")
    try:
        with exclusive_lock(folder / f".{target.name}.lock"):
            obtain(address, target, Checksum("sha256", digest) if digest else None)
    except NotFetched as problem:
        remedy = _REMEDIES[type(problem)].format(instead=instead)
        raise CheckpointError(f"{url}: {problem}; {remedy}") from None
    except OSError as error:
        raise CheckpointError(f"{target}: cannot be written ({reason_of(error)}); set {CACHE_VARIABLE}") from None
    logger.info("pretrained weights: %s (%.1f MB)", target, target.stat().st_size / 1e6)
    return target


def _parse(url: str) -> tuple[str, str, str]:
    """(address, file name, start of the SHA-256 or "")."""
    parts = urlsplit(url)
    name = unquote(parts.path.rpartition("/")[2])
    if parts.scheme not in ("http", "https") or not parts.netloc or not name or name in (".", "..") or "/" in name:
        raise CheckpointError(f"{url}: not the address of a file; it starts with http://, https:// or hf://")
    digest = parts.fragment.removeprefix("sha256=").lower()
    if parts.fragment and not re.fullmatch("[0-9a-f]{8,64}", digest):
        raise CheckpointError(f"{url}: what follows # must be sha256= and 8 to 64 hexadecimal digits")
    if not digest:
        found = re.search(r"-([0-9a-f]{8,64})(?:-910v2)?\.[A-Za-z.]+$", name)
        digest = found[1] if found else ""
    return parts._replace(fragment="").geturl(), name, digest
