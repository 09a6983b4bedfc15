import contextlib
import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mindcv_hrnet.data.decode import UnreadableImage, decode, decode_rows, jpeg_header


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


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_orientation_is_applied_to_other_formats(fmt, orientation, photos, encoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photos[0], fmt, exif=exif)
    assert (decode(data) == np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))).all()


STRAY = {
    "stray bytes": lambda data: data[:20] + b"\x00\x01\xff\x00\x02" + data[20:],
    "marker without length": lambda data: data[:2] + b"\xff\x01" + data[2:],
    "fill bytes": lambda data: data[:2] + b"\xff\xff" + data[2:],
}


@pytest.mark.parametrize("insert", STRAY.values(), ids=STRAY)
def test_stray_bytes_between_segments_change_nothing(insert, photos, encoded):
    data = encoded(photos[0])
    stray = insert(data)
    assert jpeg_header(stray)[:2] == (427, 640) and (decode(stray) == decode(data)).all()
    assert (decode_rows(stray, jpeg_header(stray), 50)[:50] == decode(data)[:50]).all()


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


@pytest.mark.parametrize("fmt", ["EPS", "JPEG2000", "ICO", "TGA", "PCX", "SGI", "PDF", "ICNS"])
def test_only_the_kinds_that_the_page_names_are_read(fmt, photos, encoded, monkeypatch):
    """Pillow would start Ghostscript for the first of them, whatever the file is called."""
    import subprocess

    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a program was started"))
    data = encoded(photos[0][:64, :64], fmt)
    with pytest.raises(UnreadableImage, match="not an image in a known format"):
        decode(data)


def png_header(height, width):
    """A PNG of nothing but a header and an end, which says so of itself."""
    import struct
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("height", "width"), [(1, 100_000_000), (100_000_000, 1), (65_536, 1)])
def test_sides_are_limited(height, width):
    with pytest.raises(UnreadableImage, match=f"^a side of its {width} x {height} pixels is longer than 65535$"):
        decode(png_header(height, width))


@pytest.mark.parametrize(("mode", "fmt"), [("CMYK", "JPEG"), ("P", "GIF")])
def test_what_pillow_decodes_has_a_limit_of_its_own(mode, fmt, encoded, monkeypatch):
    """A CMYK image of 100 million pixels would take 1.8 GB."""
    monkeypatch.setattr("mindcv_hrnet.data.decode.MAX_PIXELS_OF_PILLOW", 63)
    with pytest.raises(UnreadableImage, match=r"^its 8 x 8 pixels are more than the 63 that are accepted of its kind$"):
        decode(encoded(Image.new(mode, (8, 8)), fmt))


@pytest.mark.parametrize("side", [(1, 65_535), (65_535, 1)])
def test_the_longest_sides(side, encoded):
    assert decode(encoded(Image.new("RGB", side), "PNG")).shape == (*side[::-1], 3)


def test_scans_are_limited(photos, encoded):
    data = encoded(photos[0], progressive=True)
    last = data.rfind(b"\xff\xda")
    again = data[last:-2]
    repeated = data[:-2] + again * 200 + data[-2:]
    for read in (decode, lambda data: decode_rows(data, jpeg_header(data), 64)):
        with pytest.raises(UnreadableImage, match=r"^it is a JPEG of 2\d\d scans, more than are accepted$"):
            read(repeated)
        assert read(data[:-2] + again * 30 + data[-2:]).shape[1] == 640
    # one scan holds everything: what looks like another in it is data
    sequential = encoded(photos[0])
    assert decode(sequential + b"\xff\xda" * 200).shape == photos[0].shape


def test_damaged_images_leave_no_word_on_the_terminal(photos, encoded, capfd):
    generator = np.random.default_rng(0)
    for fmt in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF"):
        whole = encoded(photos[0][:64, :64], fmt)
        for _ in range(30):
            data = bytearray(whole)
            for place in generator.integers(0, len(data), 4):
                data[place] = generator.integers(0, 256)
            with contextlib.suppress(UnreadableImage):
                decode(bytes(data))
    assert capfd.readouterr() == ("", "")


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
    with pytest.raises(UnreadableImage, match="pixels are more than the 100000000 that are accepted"):
        decode(data.replace(field, bomb))


@pytest.mark.parametrize("insert", STRAY.values(), ids=STRAY)
def test_a_bomb_cannot_hide_behind_stray_bytes(insert, photos, encoded):
    bomb = insert(encoded(photos[0])).replace(b"\x08\x01\xab\x02\x80", b"\x08\xff\xff\xff\xff")
    with pytest.raises(UnreadableImage, match="65535 x 65535 pixels are more than"):
        decode(bomb)


BOMBS = {
    "BMP": (Image.new("1", (8, 8)), b"\x08\0\0\0\x08\0\0\0", b"\0\x40\0\0\0\x40\0\0"),
    "PPM": (Image.new("1", (8, 8)), b"8 8\n", b"16384 16384\n"),
    "PGM": (Image.new("L", (8, 8)), b"8 8\n", b"# a comment\n16384 16384\n"),
    "GIF": (Image.new("L", (8, 8)), b"GIF87a\x08\0\x08\0", b"GIF87a\0\x40\0\x40"),
    # tags 256 and 257, width and height
    "TIFF": (Image.new("L", (8, 8)), b"\1\4\0\1\0\0\0\x08\0", b"\1\4\0\1\0\0\0\0\x40"),
    "WEBP": (Image.new("L", (8, 8)), b"\x9d\x01\x2a\x08\0\x08\0", b"\x9d\x01\x2a\xff\x3f\xff\x3f"),
}


@pytest.mark.parametrize("fmt", BOMBS)
@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
def test_bombs_in_other_formats_never_reach_a_decoder(limit, fmt, encoded, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # Pillow's own check, which others may switch off
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("decoded"))
    image, field, huge = BOMBS[fmt]
    data = encoded(image, fmt.replace("PGM", "PPM"))
    assert field in data
    with pytest.raises(UnreadableImage, match="pixels are more than the 100000000 that are accepted"):
        decode(data.replace(field, huge))


@pytest.mark.parametrize("reduce", [1, 2, 4, 8])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_upper_rows_are_those_of_the_whole_image(mode, subsampling, reduce, photos, encoded):
    options = {"subsampling": subsampling} if mode == "RGB" else {}
    data = encoded(Image.fromarray(photos[0]).convert(mode), **options)
    whole, header = decode(data, reduce), jpeg_header(data)
    for rows in (1, 7, 16, len(whole) // 2, len(whole) - 1, len(whole)):
        part = decode_rows(data, header, rows, reduce)
        assert rows <= len(part) <= min(len(whole), rows + 32) and part.shape[1:] == whole.shape[1:]
        assert (part[:rows] == whole[:rows]).all()


def test_rows_of_files_with_restart_markers(photos, encoded):
    data = encoded(photos[0], restart_marker_rows=1)
    assert b"\xff\xd0" in data
    assert (decode_rows(data, jpeg_header(data), 50)[:50] == decode(data)[:50]).all()


def test_what_cannot_be_cut_is_decoded_whole(photos, encoded):
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (
        encoded(photos[0], progressive=True),
        encoded(photos[0], exif=exif),
        encoded(Image.fromarray(photos[0]).convert("CMYK")),
    ):
        header = jpeg_header(data)
        assert header.height_at == 0
        assert (decode_rows(data, header, 10) == decode(data)).all()


def test_truncation_and_bombs_are_noticed_before_the_rows_are_read(photos, encoded):
    data = encoded(photos[0])
    with pytest.raises(UnreadableImage, match="truncated: its end marker is missing"):
        decode_rows(data[:-1000], jpeg_header(data), 10)
    bomb = data.replace(b"\x08\x01\xab\x02\x80", b"\x08\xff\xff\xff\xff")
    with pytest.raises(UnreadableImage, match="65535 x 65535 pixels are more than"):
        decode_rows(bomb, jpeg_header(bomb), 10)


def test_rows_are_read_without_a_word(photos, encoded, capfd):
    data = encoded(photos[0])
    decode_rows(data, jpeg_header(data), 10)
    assert capfd.readouterr() == ("", "")
