"""Encoded bytes -> (H, W, 3) uint8 RGB, and what can be known of an image before it is decoded.

What comes out is the same for every kind of file: EXIF orientation is applied; grey and palette images become RGB;
alpha is dropped, not blended; CMYK becomes RGB; of 16 bits the upper 8 stay; of an animation the first frame. JPEGs are
decoded by simplejpeg, which can leave out the lower part where it is not needed, the other kinds by OpenCV; what they
cannot read (CMYK, GIF, rare TIFFs, WebP with EXIF) goes to Pillow.

An image that is damaged, truncated, empty, of another kind, or larger than `MAX_PIXELS` or `MAX_SIDE` raises
UnreadableImage. Of a file's bytes nothing but these decoders sees anything: Pillow alone knows forty kinds more, and
starts Ghostscript for one of them.
"""

import io
import math
import re
import struct
import warnings
from binascii import crc32
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "PPM", "GIF")
MAX_PIXELS = 100_000_000  # as RGB 0.3 GB, and a BMP lies in memory twice
MAX_PIXELS_OF_PILLOW = 50_000_000  # it wants 18 bytes for each of a CMYK image
MAX_SIDE = 65_535  # JPEG's own; decoders keep tables with an entry per row
MAX_SCANS = 50  # of a JPEG; each may take as long as the whole image. Progressive ones have about ten
MAX_SCANNED = 12 * MAX_PIXELS  # pixels times scans

# Both tell of damaged files on the terminal, and a damaged file is told of once, by whoever asked for it
cv2.setLogLevel(0)
warnings.filterwarnings("ignore", module=r"PIL\.")

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNM_SIZE = re.compile(rb"P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s")  # one with comments goes to Pillow
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_ANCILLARY = 0x20  # bit of a chunk's first letter: pixels do without it
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
    colour, displayed as stored); else 0. repeats: whether a decoder goes over the image once more for each scan.
    orientation: EXIF's, from 1 to 8.
    """

    height: int
    width: int
    scan: int
    height_at: int = 0
    repeats: bool = False
    orientation: int = 1
    components: int = 3


def decode(data: bytes, reduce: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 RGB. `reduce` 2, 4 or 8 decodes a JPEG at that fraction: sides ceil(H / reduce).

    Raises UnreadableImage.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    if not _complete(data):
        # OpenCV would fill the missing rows with grey and say nothing
        raise UnreadableImage("it is truncated: its end marker is missing")
    header = jpeg_header(data)
    if header:
        return _whole_jpeg(data, header, reduce)
    size = _stated_size(data)
    if size:
        _check_size(size)
        if data.startswith(_PNG_START):
            data = _plain_png(data)
    else:
        with _opened(data) as image:  # reads no more than the header
            # OpenCV would not turn the one; of a JPEG with an odd header it makes what nobody can foresee
            if (image.format == "WEBP" and "exif" in image.info) or data.startswith(_JPEG_START):
                return _upright_rgb(image)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        decoded = None
    if decoded is None:
        with _opened(data) as image:
            return _upright_rgb(image)
    return decoded


def check_outline(start: bytes, end: bytes) -> None:
    """Raise UnreadableImage where the first and the last bytes of a file show that it cannot be decoded."""
    if not start:
        raise UnreadableImage("the file is empty")
    marker = _JPEG_END if start.startswith(_JPEG_START) else _PNG_END if start.startswith(_PNG_START) else b""
    if marker not in end:
        raise UnreadableImage("it is truncated: its end marker is missing")
    size = _stated_size(start)
    if size:
        _check_size(size)
    else:
        with _opened(start):
            pass


def _whole_jpeg(data: bytes, header: JpegHeader, reduce: int) -> np.ndarray:
    _check_size(header[:2])
    _check_scans(data, header)
    if header.components in (1, 3):
        height, width = header[:2] if header.orientation not in _TRANSPOSED else (header.width, header.height)
        try:
            return _upright(_decode_jpeg(data, height, width, reduce), header.orientation)
        except ValueError:
            pass  # Pillow says what is wrong with it
    with _opened(data) as image:
        pixels = _upright_rgb(image)
    size = (-(-header.width // reduce), -(-header.height // reduce))
    return pixels if reduce == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def decode_rows(data: bytes, header: JpegHeader, rows: int, reduce: int = 1) -> np.ndarray:
    """`decode` of a JPEG of which only the first `rows` rows of the result are needed; later rows may be absent.

    The decoder is told that the image ends there: it neither unpacks nor transforms the rest. Raises UnreadableImage.
    """
    _check_size(header[:2])
    _check_scans(data, header)
    if not header.height_at or not _complete(data, header):
        return decode(data, reduce)
    # Rounded up to a row of blocks, beyond the one that smooths the colours of the last row
    height = min(header.height, (rows * reduce + 2 * _BLOCK_ROWS - 1) // _BLOCK_ROWS * _BLOCK_ROWS)
    shortened = bytearray(data)
    struct.pack_into(">H", shortened, header.height_at, height)
    try:
        return _decode_jpeg(shortened, height, header.width, reduce)
    except ValueError:
        return decode(data, reduce)


def jpeg_header(data: bytes) -> JpegHeader | None:
    """Size of a JPEG without decoding it; None for other formats and for damaged headers."""
    if not data.startswith(_JPEG_START):
        return None
    position, orientation, size, height_at, components, progressive = 2, 1, None, 0, 0, False
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
            size, components = struct.unpack_from(">HH", data, position + 5), data[position + 9]
            progressive = marker not in _SEQUENTIAL_MARKERS
            if marker in _SEQUENTIAL_MARKERS and components in (1, 3):
                height_at = position + 5
        elif marker == _EXIF_SEGMENT and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data[position + 10 : position + 2 + length])
        elif marker == _START_OF_SCAN:
            if size is None or 0 in size:
                return None
            height, width = size if orientation < 5 else size[::-1]
            repeats = progressive or (position + 4 < len(data) and data[position + 4] < components)
            height_at = height_at if orientation == 1 else 0
            return JpegHeader(height, width, position, height_at, repeats, orientation, components)
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
    """The sides as a PNG or PNM states them, in either order; () for other formats and damaged headers."""
    if data.startswith(_PNG_START) and len(data) >= 24:
        return struct.unpack_from(">II", data, 16)
    sides = _PNM_SIZE.match(data)
    if sides:
        return int(sides[1]), int(sides[2])
    return ()


def _check_size(size: tuple[int, ...]) -> None:
    if math.prod(size) > MAX_PIXELS:
        raise UnreadableImage(f"its {size[0]} x {size[1]} pixels are more than the {MAX_PIXELS} that are accepted")
    if max(size) > MAX_SIDE:
        raise UnreadableImage(f"a side of its {size[0]} x {size[1]} pixels is longer than {MAX_SIDE}")


def _check_scans(data: bytes, header: JpegHeader) -> None:
    scans = data.count(b"\xff\xda", header.scan) if header.repeats else 1
    if scans > MAX_SCANS or scans * header.height * header.width > MAX_SCANNED:
        raise UnreadableImage(f"it is a JPEG of {scans} scans, more than are accepted")


def _decode_jpeg(data: bytes | bytearray, height: int, width: int, reduce: int) -> np.ndarray:
    """The pixels as stored, of a JPEG of one or three components, of (height, width) before it is reduced.

    Missing and contradictory data are filled in; without a word, where OpenCV's libjpeg writes to the terminal. Raises
    ValueError.
    """
    return simplejpeg.decode_jpeg(
        data,
        min_height=-(-height // reduce) if reduce > 1 else 0,
        min_width=-(-width // reduce) if reduce > 1 else 0,
        min_factor=reduce,
        strict=False,
    )


def _plain_png(data: bytes) -> bytes:
    """A PNG with what its pixels need and nothing else, all of it whole.

    libpng writes to the terminal about damage, and about colour profiles, which play no part here. Raises
    UnreadableImage.
    """
    view, position = memoryview(data), len(_PNG_START)
    parts: list[bytes | memoryview] = [_PNG_START]
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        kind = data[position + 4 : position + 8]
        if kind in _PNG_CHUNKS:
            if end > len(data):
                break
            if crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
                raise UnreadableImage("it is damaged: a checksum differs")
            parts.append(view[position:end])
            if kind == b"IEND":
                return b"".join(parts)
        elif not kind[0] & _ANCILLARY:
            raise UnreadableImage(f"it has a part that no PNG has ({kind!r})")
        position = end
    raise UnreadableImage("it is truncated or damaged: its parts do not end where they should")


# What brings stored rows and columns upright, by orientation: transposed first, then turned upside down, then mirrored
_TRANSPOSED, _FLIPPED, _MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    if orientation in _TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in _FLIPPED else 1)
    columns = slice(None, None, -1 if orientation in _MIRRORED else 1)
    return np.ascontiguousarray(pixels[rows, columns])


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
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size((image.height, image.width))
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
    if image.height * image.width > MAX_PIXELS_OF_PILLOW:
        raise UnreadableImage(
            f"its {image.width} x {image.height} pixels are more than the {MAX_PIXELS_OF_PILLOW} that are accepted of "
            "its kind"
        )
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        return np.repeat((np.asarray(upright) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(upright.convert("RGB"))
