"""One file from a web server, whole and checked: broken connections go on where they stopped."""

import hashlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from mindcv_hrnet.runtime.files import reason_of

logger = logging.getLogger(__name__)

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 20
# Connections that bring nothing, one after the other, until it is given up; any byte that comes starts the count anew
CONNECTION_ATTEMPTS = 5
PAUSE_S = 1.0
LOG_EVERY_S = 10.0


class NotFetched(Exception):
    """The file did not come; the message says why, as one clause. What to do instead, the caller knows."""


class Unreachable(NotFetched):
    """No connection brought it; another time may."""


class RefusedByServer(NotFetched):
    """The server answers that it does not send it."""


class WebPage(NotFetched):
    """The server sends a page for people."""


class WrongContent(NotFetched):
    """It came twice with another checksum, and was removed."""


class Checksum(NamedTuple):
    """`digits`: the beginning of the hexadecimal digest, or all of it."""

    algorithm: str  # of hashlib
    digits: str

    def of(self, path: Path) -> str:
        """As many digits of the file's digest."""
        digest = hashlib.new(self.algorithm, usedforsecurity=False)
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()[: len(self.digits)]

    def fits(self, path: Path) -> bool:
        """Whether the file's digest begins with these digits. Raises OSError."""
        return self.of(path) == self.digits


class _Cut(Exception):
    """The connection broke or could not be made; another one may succeed."""


def obtain(url: str, target: Path, checksum: Checksum | None) -> None:
    """Let `target` be the file at `url`, unless it is already. Without a checksum the file is taken as it is.

    A broken-off download stays beside the target and goes on at the next call. One process at a time
    (`exclusive_lock`).
    Raises NotFetched, OSError.
    """
    if target.is_file():
        if checksum is None or checksum.fits(target):
            return
        logger.warning("%s: its checksum is not the one expected; fetching it again", target)
    part = target.with_name(f"{target.name}.part")
    if checksum is None:
        part.unlink(missing_ok=True)  # nothing would tell whether it is the start of today's file
    _download(url, part)
    if checksum and not checksum.fits(part):
        # The rest of another file may have been there; from the beginning, once
        part.unlink()
        logger.warning("%s: the checksum differs, fetching it again from the beginning", url)
        _download(url, part)
        found = checksum.of(part)
        if found != checksum.digits:
            part.unlink()
            name = {"sha256": "SHA-256", "md5": "MD5"}[checksum.algorithm]
            raise WrongContent(f"{name} is {found}, expected {checksum.digits}")
    os.replace(part, target)


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
            if failures >= CONNECTION_ATTEMPTS:
                raise Unreachable(f"cannot be fetched ({error})") from None
            logger.warning("%s: %s after %.1f MB, going on", url, error, now / 1e6)
            time.sleep(PAUSE_S * failures)


def _receive(url: str, part: Path, start: int) -> None:
    headers = {"User-Agent": "mindcv-hrnet", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as response:
            if response.headers.get_content_type() == "text/html":
                raise WebPage("the server sends a web page, not a file")
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
            raise RefusedByServer(f"the server answers {error.code} {error.reason}") from None
        raise _Cut(f"the server answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        raise _Cut(reason_of(reason) if isinstance(reason, Exception) else str(reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _Cut(reason_of(error)) from None


def _begins_at(response: http.client.HTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _copy(response: http.client.HTTPResponse, part: Path, start: int, total: int | None) -> None:
    received, logged = start, time.monotonic()
    with open(part, "r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while chunk := response.read1(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
            if time.monotonic() - logged > LOG_EVERY_S:
                logged = time.monotonic()
                logger.info("fetched %.1f of %s MB", received / 1e6, f"{total / 1e6:.1f}" if total else "?")
        file.flush()
        os.fsync(file.fileno())
    if total is not None and received < total:
        raise _Cut("the connection was cut")
