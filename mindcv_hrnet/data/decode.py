"""Encoded bytes -> (H, W, 3) uint8 RGB, and what can be known of an image before it is decoded.

What comes out is the same for every kind of file: EXIF orientation is applied; grey and palette images become RGB;
alpha is dropped, not blended; CMYK becomes RGB; of 16 bits the upper 8 stay; of an animation the first frame. OpenCV
decodes; what it cannot read (GIF, rare TIFFs, WebP with EXIF) goes to Pillow. Where the lower part of a JPEG is not
needed, simplejpeg decodes the upper one, to the same pixels: both are libjpeg-turbo.

An image that is damaged, truncated, empty or larger than `MAX_PIXELS` raises UnreadableImage.
"""

import io
import math
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_956_970  # Pillow's limit for decompression bombs: half a gigabyte of RGB

_REDUCED_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNM_SIZE = re.compile(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s")  # one with comments goes to Pillow
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
# every start-of-frame marker; C4, C8 and CC in the same range mean something else
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL_MARKERS = frozenset((0xC0, 0xC1))
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))  # no length follows
_START_OF_SCAN, _EXIF_SEGMENT = 0xDA, 0xE1
_BLOCK_ROWS = 16


class UnreadableImage(Exception):
    """A file that is no usable image; the message says why, without the path."""


class JpegHeader(NamedTuple):
    """Size as displayed, after the EXIF orientation, and where the first scan begins in the file.

    height_at: where the file holds its height, if its rows can be decoded one after the other (sequential, grey or
    colour, displayed as stored); else 0.
    """

    height: int
    width: int
    scan: int
    height_at: int = 0


def decode(data: bytes, reduce: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 RGB. `reduce` 2, 4 or 8 decodes a JPEG at that fraction: sides ceil(H / reduce).

    Raises UnreadableImage.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    if not _complete(data):
        # OpenCV would fill the missing rows with grey and say nothing
        raise UnreadableImage("it is truncated: its end marker is missing")
    size = _stated_size(data)
    if size:
        _check_pixels(size)
    else:
        with _opened(data) as image:  # reads no more than the header; Pillow knows every format that OpenCV reads here
            if image.format == "WEBP" and "exif" in image.info:  # OpenCV would not turn it
                return _upright_rgb(image)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED_FLAGS[reduce] | cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        decoded = None
    if decoded is None:
        with _opened(data) as image:
            return _upright_rgb(image)
    return decoded


def decode_rows(data: bytes, header: JpegHeader, rows: int, reduce: int = 1) -> np.ndarray:
    """`decode` of a JPEG of which only the first `rows` rows of the result are needed; later rows may be absent.

    The decoder is told that the image ends there: it neither unpacks nor transforms the rest. Raises UnreadableImage.
    """
    _check_pixels(header[:2])
    if not header.height_at or not _complete(data, header):
        return decode(data, reduce)
    # Rounded up to a row of blocks, beyond the one that smooths the colours of the last row
    height = min(header.height, (rows * reduce + 2 * _BLOCK_ROWS - 1) // _BLOCK_ROWS * _BLOCK_ROWS)
    shortened = bytearray(data)
    struct.pack_into(">H", shortened, header.height_at, height)
    try:
        return simplejpeg.decode_jpeg(
            shortened,
            min_height=-(-height // reduce) if reduce > 1 else 0,
            min_width=-(-header.width // reduce) if reduce > 1 else 0,
            min_factor=reduce,
            strict=False,  # the rest is there, which counts as a fault
        )
    except ValueError:
        return decode(data, reduce)


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Size of a JPEG without decoding it; None for other formats and for damaged headers."""
    if not data.startswith(_JPEG_START):
        return None
    position, orientation, size, height_at = 2, 1, None, 0
    while 0 <= position <= len(data) - 4:
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0:  # libjpeg passes over stray bytes between segments
            position = data.find(b"\xff", position + 1)
            continue
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _BARE_MARKERS:
            position += 2
            continue
        length = (data[position + 2] << 8) | data[position + 3]
        if marker in _FRAME_MARKERS and position + 9 < len(data):
            size = struct.unpack_from(">HH", data, position + 5)
            if marker in _SEQUENTIAL_MARKERS and data[position + 9] in (1, 3):
                height_at = position + 5
        elif marker == _EXIF_SEGMENT and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        elif marker == _START_OF_SCAN:
            if size is None or 0 in size:
                return None
            height, width = size if orientation < 5 else size[::-1]
            return JpegHeader(height, width, position, height_at if orientation == 1 else 0)
        position += 2 + length
    return None


def _exif_orientation(exif: bytes) -> int:
    """The orientation tag (1 to 8; from 5 on, rows and columns are exchanged) of an EXIF block, or 1."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(order + "HHIH", exif, entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _stated_size(data: bytes) -> tuple[int, ...]:
    """The sides as a JPEG, PNG or PNM states them, in either order; () for other formats and damaged headers."""
    if data.startswith(_PNG_START) and len(data) >= 24:
        return struct.unpack_from(">II", data, 16)
    sides = _PNM_SIZE.match(data)
    if sides:
        return int(sides[1]), int(sides[2])
    header = jpeg_header(data)
    return header[:2] if header else ()


def _check_pixels(size: tuple[int, ...]) -> None:
    if size and math.prod(size) > MAX_PIXELS:
        raise UnreadableImage(f"its {size[0]} x {size[1]} pixels are more than the {MAX_PIXELS} that are accepted")


def _complete(data: bytes, header: JpegHeader | None = None) -> bool:
    """False for a JPEG or PNG without its end marker. Bytes after the marker are fine."""
    if data.startswith(_JPEG_START):
        if data.endswith(_JPEG_END):
            return True
        # entropy-coded data never holds the marker, but an embedded thumbnail before the scan does
        header = header or jpeg_header(data)
        return data.rfind(_JPEG_END, header.scan if header else 0) >= 0
    return not data.startswith(_PNG_START) or _PNG_END in data


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Pillow's image, not decoded yet and of an acceptable size. What goes wrong in the block is UnreadableImage."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_pixels((image.height, image.width))
            yield image
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"its pixels are more than the {MAX_PIXELS} that are accepted") from None
    except UnidentifiedImageError:
        raise UnreadableImage("it is not an image in a known format") from None
    except Exception as error:  # Pillow's plugins raise whatever their parsers stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"it cannot be decoded ({reason})") from None


def _upright_rgb(image: Image.Image) -> np.ndarray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(upright.convert("RGB"))
