"""Files that are no images are named at the start, all at once, and no image is taken for one of them."""

import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.data.outlines import check_files
from mindcv_hrnet.data.retry import PatientReader
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.files import NotAFile

FORMATS = {"JPEG": "jpg", "PNG": "png", "BMP": "bmp", "TIFF": "tiff", "WEBP": "webp", "GIF": "gif", "PPM": "ppm"}


def encoded(kind, side=40, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def source(tmp_path):
    """A function (files by name) -> an ImageFolder of one class with them, and another class."""

    def build(files):
        for name, content in {**files, "other/0.png": encoded("PNG")}.items():
            path = tmp_path / "val" / (name if "/" in name else f"one/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return ImageFolder(tmp_path / "val")

    return build


def test_whole_images_of_every_format(source):
    files = {f"{suffix}.{suffix}": encoded(kind) for kind, suffix in FORMATS.items()}
    large = {f"large.{suffix}": encoded(kind, side=400) for kind, suffix in FORMATS.items()}
    tail = {"tail.jpg": encoded("JPEG") + bytes(5000), "header.jpg": encoded("JPEG", icc_profile=bytes(40_000))}
    check_files(source({**files, **large, **tail}), workers=2)


def test_all_that_are_none_are_named_at_once(source, caplog):
    jpeg = encoded("JPEG")
    found = source(
        {"empty.jpg": b"", "half.jpg": jpeg[: len(jpeg) // 2], "text.png": b"not an image", "good.jpg": jpeg}
    )
    with pytest.raises(DataError) as error:
        check_files(found, workers=2)
    root = found.root
    assert str(error.value) == (
        f"{root}: 3 of 5 files cannot be used, and validation needs every image; replace or remove them: "
        f"{root}/one/empty.jpg: the file is empty; {root}/one/half.jpg: it is truncated: its end marker is missing; "
        f"{root}/one/text.png: it is not an image in a known format"
    )
    assert len(caplog.messages) == 3


def test_of_many_the_log_has_all(source, caplog):
    found = source({f"{number:02d}.jpg": b"" for number in range(25)})
    with pytest.raises(DataError, match="; and 5 more, which the log names"):
        check_files(found, workers=2)
    assert len(caplog.messages) == 25


def test_a_file_that_has_gone_since(source):
    found = source({"a.jpg": encoded("JPEG")})
    os.unlink(found.path(0))
    with pytest.raises(DataError, match=r"a.jpg: it cannot be read \(No such file or directory\)"):
        check_files(found, workers=1)


def test_what_is_no_file_is_told_and_never_waited_for(source):
    found = source({"a.jpg": encoded("JPEG"), "pipe.jpg": b""})
    pipe = found.path(1 if "pipe" in found.path(1) else 0)
    os.unlink(pipe)
    os.mkfifo(pipe)
    with pytest.raises(DataError, match=r"pipe.jpg: it cannot be read \(it is a pipe, a device or a socket\)"):
        check_files(found, workers=1)
    reader = PatientReader(found)
    begun = time.monotonic()
    with pytest.raises(NotAFile):
        reader([found.path(0), found.path(1)].index(pipe))
    assert time.monotonic() - begun < 1  # another attempt would not change it
