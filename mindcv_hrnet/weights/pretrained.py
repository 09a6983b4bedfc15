"""Published weights: fetched once, checked, and kept in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.files import make_folder, reason_of

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "MINDCV_HRNET_CACHE"
TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
# Connections that bring nothing, one after the other, until it is given up; any byte that comes starts the count anew
ATTEMPTS = 5
PAUSE_S = 1.0
LOG_EVERY_S = 10.0


class _Cut(Exception):
    """The connection broke or could not be made; another one may succeed."""


def cache_folder() -> Path:
    """$MINDCV_HRNET_CACHE, else the user's cache folder."""
    given = os.environ.get(CACHE_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given or f"{base}/mindcv_hrnet").expanduser().resolve()


def fetch(url: str) -> Path:
    """The file at `url`, out of the cache or downloaded into it.

    The start of its SHA-256 is taken from `#sha256=...` at the end of the URL or from the file's name
    (`NAME-cc4fbd91.ckpt`); without either the file is taken as it is. A broken-off download goes on where it stopped.
    Of several processes on one cache folder one downloads and the others wait.

    Raises CheckpointError: one line with the URL and the reason.
    """
    if url.startswith("hf://"):
        from mindcv_hrnet.weights.hub import download

        return download(url)
    address, name, digest = _parse(url)
    folder = cache_folder()
    make_folder(folder)
    # Two files of the same name at two addresses are two files
    target = folder / (name if digest else f"{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}")
    with _alone(folder / f".{target.name}.lock"):
        if target.is_file():
            if not digest or _sha256(target).startswith(digest):
                return target
            logger.warning("%s: is not what it was when it was downloaded; fetching it again", target)
            target.unlink()
        part = folder / f"{target.name}.part"
        if not digest:
            part.unlink(missing_ok=True)  # nothing would tell whether it is the start of today's file
        try:
            _download(address, part)
            if digest and not _sha256(part).startswith(digest):
                # The rest of another file may have been there; from the beginning, once
                part.unlink()
                logger.warning("%s: the checksum differs, fetching it again from the beginning", url)
                _download(address, part)
                found = _sha256(part)
                if not found.startswith(digest):
                    part.unlink()
                    raise CheckpointError(
                        f"{url}: SHA-256 is {found[: len(digest)]}, expected {digest}; "
                        "the file is not the published one and was removed"
                    )
            os.replace(part, target)
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
        found = re.search(r"-([0-9a-f]{8,64})\.[A-Za-z.]+$", name)
        digest = found[1] if found else ""
    return parts._replace(fragment="").geturl(), name, digest


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock file; wait for whoever holds it."""
    try:
        lock.touch()
    except OSError as error:
        raise CheckpointError(f"{lock.parent}: cannot be written ({reason_of(error)}); set {CACHE_VARIABLE}") from None
    with open(lock) as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(url: str, part: Path) -> None:
    """Bring `part` to the length that the server states; each connection goes on where the last one stopped."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, before)
            return
        except _Cut as error:
            now = part.stat().st_size if part.exists() else 0
            failures = 0 if now > before else failures + 1
            if failures >= ATTEMPTS:
                raise CheckpointError(
                    f"{url}: cannot be fetched ({error}); download it elsewhere and pass --ckpt_path FILE, "
                    "or name a mirror with --pretrained_url"
                ) from None
            logger.warning("%s: %s after %.1f MB, going on", url, error, now / 1e6)
            time.sleep(PAUSE_S * failures)


def _receive(url: str, part: Path, start: int) -> None:
    headers = {"User-Agent": "mindcv-hrnet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as response:
            _check_page(url, response)
            if response.status != 206 or not _begins_at(response, start):
                start = 0  # the server sends everything
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            _copy(response, part, start, total)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the file has become shorter: the checksum will tell
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return
            part.unlink()
            raise _Cut("the part on disk is longer than the file") from None
        if error.code < 500 and error.code not in (408, 429):
            raise CheckpointError(
                f"{url}: the server answers {error.code} {error.reason}; check the address, or pass --ckpt_path FILE"
            ) from None
        raise _Cut(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise _Cut(reason_of(reason) if isinstance(reason, Exception) else str(reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Cut(reason_of(error)) from None


def _check_page(url: str, response: http.client.HTTPResponse) -> None:
    if response.headers.get_content_type() == "text/html":
        raise CheckpointError(f"{url}: the server sends a web page, not a file; check the address")


def _begins_at(response: http.client.HTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _copy(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    received, told = start, time.monotonic()
    with open(part, "r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while chunk := response.read1(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            if time.monotonic() - told > LOG_EVERY_S:
                told = time.monotonic()
                logger.info("fetched %.1f of %s MB", received / 1e6, f"{total / 1e6:.1f}" if total else "?")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received < total:
        raise _Cut("the connection was cut")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
