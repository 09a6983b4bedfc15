import os

import numpy as np
import pytest

from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.errors import DataError


def test_classes_and_images_in_sorted_order(folder):
    root = folder({"dog": 2, "cat": 3})
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "deep" / "x.PNG").write_bytes(b"?")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / ".cache").mkdir()
    (root / "LICENSE").write_text("no class")
    source = ImageFolder(root)
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 0, 0, 1, 1] and source.labels.dtype == np.int32
    relative = [os.path.relpath(source.path(i), root) for i in range(len(source))]
    assert relative == ["cat/000.jpg", "cat/001.jpg", "cat/002.jpg", "cat/deep/x.PNG", "dog/000.jpg", "dog/001.jpg"]
    assert source.read(3) == b"?"


def test_names_that_are_not_ascii(folder):
    root = folder({"a": 1, "ñandú": 1})
    (root / "a" / "épée 猫.png").write_bytes(b"1")
    (root / "a" / os.fsdecode(b"\xff.png")).write_bytes(b"2")  # not UTF-8 at all
    source = ImageFolder(root)
    assert source.class_names == ("a", "ñandú")
    assert {source.read(i) for i in range(3)} >= {b"1", b"2"}


def test_a_class_missing_in_validation_keeps_its_number(folder):
    train = ImageFolder(folder({"a": 1, "b": 1, "c": 1}))
    val = ImageFolder(folder({"c": 2, "a": 1}, name="val"), train.class_names)
    assert val.class_names == ("a", "b", "c") and val.labels.tolist() == [0, 2, 2]


def test_one_class_is_enough_for_validation(folder):
    assert len(ImageFolder(folder({"b": 2}), ["a", "b"])) == 2


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda root: None, r"no such folder; .* needs a 'train' folder"),
        (lambda root: root.mkdir(), r"no class folders in it; images belong in .*<class>"),
        (lambda root: [(root / name).mkdir(parents=True) for name in "ab"], "no image in any class folder"),
        (lambda root: root.write_text("x"), r"cannot be listed \(Not a directory\)"),
    ],
)
def test_unusable_folders(make, message, tmp_path):
    root = tmp_path / "train"
    make(root)
    with pytest.raises(DataError, match=message) as error:
        ImageFolder(root)
    assert str(root) in str(error.value) and "\n" not in str(error.value)


def test_one_class_only(folder):
    with pytest.raises(DataError, match=r"train: only one class folder \('a'\); classification needs two or more"):
        ImageFolder(folder({"a": 3}))


def test_an_empty_class(folder):
    with pytest.raises(DataError, match=r"train/b: class folder without an image \(and 1 more\)"):
        ImageFolder(folder({"a": 3, "b": 0, "c": 0}))


@pytest.mark.parametrize(
    ("name", "shown"), [(b"\xff\xfe", r"\udcff\udcfe"), (b"a\nb", r"a\nb"), (b"a\x1b[31m", r"a\x1b[31m")]
)
def test_class_names_that_nothing_can_be_written_with(folder, name, shown):
    root = folder({"a": 1, "b": 1})
    (root / "a").rename(root / os.fsdecode(name))
    with pytest.raises(DataError) as error:
        ImageFolder(root)
    assert str(error.value) == (
        f"{root}: the class name '{shown}' is not UTF-8 or has a control character in it; rename the class"
    )


def test_unknown_class_in_validation(folder):
    with pytest.raises(DataError, match=r"val: 'x' is not among the 2 classes of the training split"):
        ImageFolder(folder({"a": 1, "x": 1}, name="val"), ("a", "b"))


def test_open_split(folder, tmp_path):
    folder({"a": 1, "b": 1})
    assert len(open_split(str(tmp_path), "train")) == 2
    assert len(open_split(str(tmp_path / "train"), "")) == 2
    with pytest.raises(DataError, match="nowhere: no such folder; set data_dir"):
        open_split(str(tmp_path / "nowhere"), "train")
