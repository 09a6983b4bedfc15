"""What is refused, and with which status; every refusal is one line of JSON."""

from __future__ import annotations

import hmac
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from mindcv_hrnet.data.decode import FORMATS, UnreadableImage

LARGEST_HEADERS = 16 * 1024
"""Bytes."""


@dataclass
class Refused(Exception):
    """A request that is not answered with a result. `reason`: what is wrong and what to do, in one line."""

    status: int
    reason: str
    headers: dict[str, str] = field(default_factory=dict)


def check_key(expected: str, headers: Mapping[str, str]) -> None:
    """Refuse (401) a request without the key, in `Authorization: Bearer KEY` or `X-API-Key: KEY`; "" needs none."""
    if not expected:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    # Takes as long for a nearly right key as for a wrong one. Headers are bytes, which were read as Latin-1
    if not hmac.compare_digest(given.encode("latin-1"), expected.encode()):
        raise Refused(
            401,
            "this server needs its key; send it as 'Authorization: Bearer KEY'",
            {"www-authenticate": "Bearer"},
        )


def check_headers(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Refuse (431) headers that are too long together."""
    size = sum(len(name) + len(value) for name, value in headers)
    if size > LARGEST_HEADERS:
        raise Refused(431, f"the headers are {size} bytes, more than the {LARGEST_HEADERS} that are accepted")


def declared_length(headers: Mapping[str, str], max_body: int) -> int | None:
    """The body's bytes as the headers tell, None where they do not. Refuses what is too long (413) or packed (415)."""
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise Refused(415, f"a body in content-encoding {encoding[:20]!r} is not accepted; send it as it is")
    # uvicorn has refused what is no number
    length = int(headers["content-length"]) if "content-length" in headers else None
    if length is not None and length > max_body:
        raise too_long(max_body)
    return length


def too_long(max_body: int) -> Refused:
    """The refusal (413) of a body, whether its length was told or found out."""
    return Refused(413, f"the body is longer than the {max_body} bytes that are accepted; see --max-body-mb")


def check_pixels(data: bytes, max_pixels: int) -> None:
    """Raise UnreadableImage for an image of too many pixels; only headers are read, of the kinds that are decoded."""
    try:
        with warnings.catch_warnings():
            # Pillow warns where its own, larger limit is half reached
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"it has too many pixels ({error})") from None
    except Exception:  # no image, which the decoder says better
        return
    if width * height > max_pixels:
        raise UnreadableImage(f"its {width} x {height} pixels are more than the {max_pixels} that are accepted")


@dataclass
class Places:
    """Room for so many images (or bytes) at a time."""

    total: int
    what: str
    taken: int = 0

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold `count` places meanwhile; refused (429) when they are not there."""
        if self.taken + count > self.total:
            reason = f"{self.taken} of {self.total} {self.what} are in hand already; try again in a moment"
            raise Refused(429, reason, {"retry-after": "1"})
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count
