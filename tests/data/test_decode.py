import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mindcv_hrnet.data.decode import UnreadableImage, decode, jpeg_header


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int32)


@pytest.mark.parametrize(
    "mode, fmt, allowed",
    [
        ("RGB", "JPEG", 0),
        ("L", "JPEG", 0),
        ("CMYK", "JPEG", 1.0),
        ("RGB", "PNG", 0),
        ("L", "PNG", 0),
        ("P", "PNG", 0),
        ("1", "PNG", 0),
        ("LA", "PNG", 0),
        ("RGBA", "PNG", 0),
        ("P", "GIF", 0),
        ("RGB", "WEBP", 0),
        ("RGB", "TIFF", 0),
        ("RGB", "BMP", 0),
        ("L", "PPM", 0),
    ],
)
def test_every_kind_becomes_rgb_as_in_pillow(mode, fmt, allowed, photos, encoded):
    data = encoded(Image.fromarray(photos[0]).convert(mode), fmt)
    image = decode(data)
    assert image.dtype == np.uint8 and image.shape == (427, 640, 3)
    assert np.abs(image - pillow(data)).mean() <= allowed


def test_progressive_jpeg(photos, encoded):
    data = encoded(photos[0], progressive=True)
    assert (decode(data) == pillow(data)).all() and jpeg_header(data)[:2] == (427, 640)


@pytest.mark.parametrize("fmt", [".png", ".tiff"])
def test_of_sixteen_bits_the_upper_eight_stay(fmt, photos):
    _, data = cv2.imencode(fmt, (photos[0][..., ::-1].astype(np.uint16) << 8) | 200)
    rounding = decode(data.tobytes()).astype(int) - photos[0]
    assert rounding.min() == 0 and rounding.max() == (fmt == ".tiff")  # libtiff rounds to 8 bits, libpng cuts
    _, grey = cv2.imencode(fmt, (photos[0][..., 0].astype(np.uint16) << 8) | 200)
    assert (decode(grey.tobytes()) == photos[0][..., :1]).all()


def test_alpha_is_dropped_not_blended(encoded):
    pixels = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], np.uint8)
    assert decode(encoded(pixels, "PNG")).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_first_frame_of_an_animation(encoded):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


def test_one_pixel(encoded):
    assert decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, photos, encoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photos[0], exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert (decode(data) == upright).all()
    assert jpeg_header(data)[:2] == upright.shape[:2]
    assert decode(data, reduce=2).shape[:2] == tuple(-(-side // 2) for side in upright.shape[:2])


def test_header_is_none_for_what_is_no_jpeg(photos, encoded):
    assert jpeg_header(encoded(photos[0], "PNG")) is None
    assert jpeg_header(b"") is None and jpeg_header(b"\xff\xd8\xff") is None
    assert jpeg_header(encoded(photos[0])[:100]) is None


def truncated(fmt):
    return lambda photo, encoded: (lambda data: data[: len(data) // 2])(encoded(photo, fmt))


def with_thumbnail(photo, encoded):
    """A truncated JPEG whose EXIF block holds a whole one."""
    data, thumbnail = encoded(photo), encoded(photo[::8, ::8])
    segment = b"Exif\0\0" + thumbnail
    whole = data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]
    assert decode(whole).shape == photo.shape
    return whole[: len(whole) // 2 + len(segment)]


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda photo, encoded: b"", "empty"),
        (lambda photo, encoded: b"plain text", "not an image in a known format"),
        (lambda photo, encoded: bytes(1000), "not an image"),
        (truncated("JPEG"), "truncated: its end marker is missing"),
        (with_thumbnail, "truncated: its end marker is missing"),
        (lambda photo, encoded: encoded(photo)[:-1], "truncated"),
        (truncated("PNG"), "truncated"),
        (truncated("GIF"), "truncated"),
        (truncated("WEBP"), "cannot be decoded"),
        (truncated("BMP"), "truncated"),
        (truncated("TIFF"), "truncated"),
    ],
)
def test_damaged_files_are_refused(make, reason, photos, encoded):
    with pytest.raises(UnreadableImage, match=reason) as error:
        decode(make(photos[0], encoded))
    assert "\n" not in str(error.value)


def test_bytes_after_the_end_are_fine(photos, encoded):
    data = encoded(photos[0])
    assert (decode(data + b"appended" * 100) == decode(data)).all()


@pytest.mark.parametrize(
    "fmt, field", [("JPEG", b"\x08\x01\xab\x02\x80"), ("PNG", b"\x00\x00\x02\x80\x00\x00\x01\xab")]
)
def test_decompression_bombs_are_refused_by_their_header(fmt, field, photos, encoded):
    data = encoded(photos[0], fmt)
    assert field in data
    bomb = b"\x08\xff\xff\xff\xff" if fmt == "JPEG" else b"\x00\x01\x00\x00\x00\x01\x00\x00"
    with pytest.raises(UnreadableImage, match="pixels are more than the 178956970 that are accepted"):
        decode(data.replace(field, bomb))
