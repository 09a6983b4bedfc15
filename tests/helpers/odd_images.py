"""Small images of every kind that is read, and of two that are not."""

import io
import struct
from binascii import crc32

import numpy as np
from PIL import Image


def image_files():
    """Bytes of small images of every kind that is read."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    pixels = np.kron(pixels[::4, ::4], np.ones((4, 4, 1), np.uint8))
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(fmt, image=image, **options):
        buffer = io.BytesIO()
        image.save(buffer, fmt, **options)
        return buffer.getvalue()

    return [
        *(saved("JPEG"), saved("JPEG", progressive=True), saved("JPEG", exif=exif), saved("JPEG", image.convert("L"))),
        *(saved("JPEG", image.convert("CMYK")), saved("PNG"), saved("PNG", image.convert("P"), transparency=0)),
        *(saved("PNG", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)), saved("PNG", exif=exif)),
        *(saved("PNG", image.convert("1")), saved("WEBP"), saved("WEBP", lossless=True), saved("WEBP", exif=exif)),
        *(saved("TIFF"), saved("TIFF", compression="tiff_lzw"), saved("TIFF", compression="jpeg"), saved("BMP")),
        *(saved("BMP", image.convert("P")), saved("PPM"), saved("PPM", image.convert("1")), b"P3 1 1 255 1 2 3\n"),
        *(saved("GIF"), saved("GIF", save_all=True, append_images=[image.convert("L")]), saved("EPS"), saved("ICO")),
    ]


def with_checksums(data):
    """A PNG whose damaged chunks have right checksums, as an attacker's would."""
    out, position = data[:8], 8
    while position + 12 <= len(data):
        end = position + 12 + min(struct.unpack_from(">I", data, position)[0], len(data))
        body = data[position + 4 : end - 4]
        out += data[position : position + 4] + body + struct.pack(">I", crc32(body))
        position = end
    return out
