import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from mindcv_hrnet.data.pipeline import EvalLoader, TrainLoader
from mindcv_hrnet.data.shards import Shards
from mindcv_hrnet.data.source import ImageFolder, class_names_of, open_split
from mindcv_hrnet.data.tars import TAR
from mindcv_hrnet.errors import DataError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_imagenet.py"


@pytest.fixture(scope="module")
def prepare():
    spec = importlib.util.spec_from_file_location("prepare_imagenet", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pack(path, members):
    """A tar of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def images_of(root):
    return [(path.name, path.read_bytes()) for path in sorted(root.glob("*.jpg"))]


def stream(source, sections, size=1, **extra):
    batches = []
    for rank in range(size):
        settings = sections(batch_size=4 // size, auto_augment="randaug-m7-mstd0.5", **extra)
        loader = TrainLoader(source, *settings, seed=5, rank=rank, size=size)
        for epoch in range(2):
            for step, batch in enumerate(loader.batches(epoch)):
                for image, label in zip(batch.images, batch.labels, strict=True):
                    batches.append((epoch, step, hashlib.sha256(image.tobytes()).hexdigest(), int(label)))
        loader.close()
    return sorted(batches)


@pytest.mark.parametrize("layout", ["tar per class", "folders in tars", "webdataset"])
def test_shards_give_the_images_of_the_folder(layout, folder, sections, tmp_path):
    root, shards = folder({"a": 9, "b": 8}), tmp_path / "shards" / "train"
    if layout == "tar per class":
        for name in "ab":
            pack(shards / f"{name}.tar", images_of(root / name))
    elif layout == "folders in tars":
        everything = [(f"{name}/{file}", data) for name in "ab" for file, data in images_of(root / name)]
        pack(shards / "000.tar", everything[:5])
        pack(shards / "001.tar", everything[5:])
    else:
        pairs = [
            (f"{name}{file[:-4]}{suffix}", content)
            for number, name in enumerate("ab")
            for file, data in images_of(root / name)
            for suffix, content in ((".cls", str(number).encode()), (".jpg", data), (".json", b"{}"))
        ]
        pack(shards / "000.tar", pairs)
        (shards / "classes.txt").write_text("a\nb\n")
    plain, packed = ImageFolder(root), open_split(str(tmp_path / "shards"), "train")
    assert isinstance(packed, Shards) and class_names_of(str(tmp_path / "shards"), "train") == ("a", "b")
    assert packed.class_names == plain.class_names and packed.labels.tolist() == plain.labels.tolist()
    assert [packed.read(i) for i in range(17)] == [plain.read(i) for i in range(17)]
    one = stream(plain, sections)
    assert stream(packed, sections) == one and stream(packed, sections, size=2) == one
    loader = EvalLoader(packed, *sections(batch_size=4))
    assert sum(batch.valid.sum() for batch in loader) == 17
    loader.close()


@pytest.mark.parametrize(
    "members, message",
    [
        ([("a.txt", b"1")], "no image in any of its 1 tar files"),
        (
            [("x.jpg", b"1"), ("x.cls", b"3")],
            r"x.jpg has class number 3, which needs a line in .*classes.txt; write one",
        ),
        ([("x.jpg", b"1"), ("x.cls", b"three")], r"000.tar: cannot be read \(invalid literal"),
        ([("x.jpg", b"1")], r"only one class \('000'\)"),
        ([("a/x.jpg", b"1"), ("a/x.png", b"1")], "holds a/x.jpg and a/x.png; one image per key"),
    ],
)
def test_unusable_shards(members, message, tmp_path):
    pack(tmp_path / "000.tar", members)
    with pytest.raises(DataError, match=message):
        Shards(tmp_path, TAR)


def test_a_damaged_tar_is_named(tmp_path):
    (tmp_path / "000.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataError, match=r"000.tar: cannot be read \(.*\); is it a complete tar file\?"):
        Shards(tmp_path, TAR)


def test_a_tar_cut_short_after_the_start(tmp_path):
    pack(tmp_path / "000.tar", [("a/x.jpg", b"1" * 5000), ("b/x.jpg", b"2" * 5000)])
    source = Shards(tmp_path, TAR)
    (tmp_path / "000.tar").write_bytes((tmp_path / "000.tar").read_bytes()[:7000])
    assert source.read(0) == b"1" * 5000
    with pytest.raises(OSError, match="the tar file ends 4"):
        source.read(1)


def official(folder, tmp_path):
    """Two official tars in small: (train, val, labels)."""
    root = folder({"n02": 3, "n01": 4})
    inner = [
        (f"{name}.tar", pack(tmp_path / f"{name}.tar", images_of(root / name)).read_bytes()) for name in ("n02", "n01")
    ]
    val = [("v1.JPEG", b"of n02"), ("v2.JPEG", b"of n01"), ("v3.JPEG", b"of n01")]
    return pack(tmp_path / "t.tar", inner), pack(tmp_path / "v.tar", val), {"v1.JPEG": 1, "v2.JPEG": 0, "v3.JPEG": 0}


@pytest.mark.parametrize("as_folder", [False, True])
def test_official_tars_are_laid_out(as_folder, prepare, folder, tmp_path):
    train, val, labels = official(folder, tmp_path)
    out = tmp_path / "out"
    prepare.prepare_train(train, out, as_folder)
    prepare.prepare_validation(val, out, as_folder, labels)
    source = open_split(str(out), "train")
    assert isinstance(source, ImageFolder if as_folder else Shards)
    assert source.class_names == ("n01", "n02") and source.labels.tolist() == [0] * 4 + [1] * 3
    validation = open_split(str(out), "val", source.class_names)
    assert [(validation.read(i), int(validation.labels[i])) for i in range(3)] == [
        (b"of n01", 0),
        (b"of n01", 0),
        (b"of n02", 1),
    ]
    assert prepare.Ledger(out / "train").wrong() == prepare.Ledger(out / "val").wrong() == []


def test_a_broken_off_preparation_goes_on(prepare, folder, tmp_path, monkeypatch):
    train, _, _ = official(folder, tmp_path)
    out, copied = tmp_path / "out", []
    real = prepare.copy_tar

    def breaking(source):
        def write(path):
            copied.append(path.name)
            if len(copied) == 2:
                path.write_bytes(source.read(100))
                raise KeyboardInterrupt
            real(source)(path)

        return write

    monkeypatch.setattr(prepare, "copy_tar", breaking)
    with pytest.raises(KeyboardInterrupt):
        prepare.prepare_train(train, out, False)
    assert sorted(path.name for path in out.glob("train/*.tar")) == ["n02.tar"]
    prepare.prepare_train(train, out, False)
    assert copied == [".n02.tar.unfinished", ".n01.tar.unfinished", ".n01.tar.unfinished"]
    assert np.bincount(open_split(str(out), "train").labels).tolist() == [4, 3]
    damaged = out / "train" / "n01.tar"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert prepare.Ledger(out / "train").wrong() == ["n01.tar"]


def test_a_validation_image_without_label(prepare, folder, tmp_path):
    train, val, labels = official(folder, tmp_path)
    prepare.prepare_train(train, tmp_path / "out", False)
    del labels["v3.JPEG"]
    with pytest.raises(SystemExit, match=r"v\.tar: v3\.JPEG has no label"):
        prepare.prepare_validation(val, tmp_path / "out", False, labels)
