"""A folder of class folders becomes two splits: the same share of each class, for good, equal files together."""

import os

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.cli import main
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.splitting import split_folder
from mindcv_hrnet.errors import DataError


@pytest.fixture
def photos(tmp_path):
    """Folder with class folders ant (10 images), bée (7, two of them in a sub-folder) and cat (1)."""
    generator = np.random.default_rng(0)
    for name, count in (("ant", 10), ("bée", 5), ("bée/deep er", 2), ("cat", 1)):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image = Image.fromarray(generator.integers(0, 256, (8, 8, 3), np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_shares_of_each_class(photos, tmp_path):
    done = split_folder(photos, tmp_path / "out", share=0.3)
    assert done.train == {"ant": 7, "bée": 5, "cat": 1}
    assert done.val == {"ant": 3, "bée": 2, "cat": 0}
    train, val = files(tmp_path / "out/train"), files(tmp_path / "out/val")
    assert not set(train) & set(val)
    assert train | val == files(photos)
    assert (len(open_split(str(tmp_path / "out"), "train")), len(files(photos))) == (13, 18)
    assert all(path.is_symlink() for path in (tmp_path / "out").rglob("*.png"))


def test_the_seed_decides(photos, tmp_path):
    names = []
    for number, seed in enumerate((1, 1, 2)):
        split_folder(photos, tmp_path / f"out{number}", share=0.3, seed=seed)
        names.append(set(files(tmp_path / f"out{number}/val")))
    assert names[0] == names[1] != names[2]


def test_a_new_image_moves_at_most_one_other(photos, tmp_path):
    split_folder(photos, tmp_path / "before", share=0.3)
    Image.new("RGB", (8, 8)).save(photos / "ant/new.png")
    split_folder(photos, tmp_path / "after", share=0.3)
    before, after = set(files(tmp_path / "before/val")), set(files(tmp_path / "after/val"))
    assert len(before - after) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_equal_files_stay_together(photos, tmp_path, seed):
    for number in range(3):
        (photos / "ant" / f"copy{number}.png").write_bytes((photos / "ant/3.png").read_bytes())
    (photos / "bée/wrong.png").write_bytes((photos / "ant/4.png").read_bytes())
    done = split_folder(photos, tmp_path / "out", share=0.3, seed=seed)
    assert done.copies == 4
    assert done.mislabelled == ((str(photos / "ant/4.png"), str(photos / "bée/wrong.png")),)
    train, val = files(tmp_path / "out/train"), files(tmp_path / "out/val")
    assert not set(train.values()) & set(val.values())
    assert len(train) + len(val) == 22


def test_copies_instead_of_links(photos, tmp_path):
    split_folder(photos, tmp_path / "out", share=0.3, copy=True)
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    assert files(tmp_path / "out/train") | files(tmp_path / "out/val") == files(photos)


def test_what_was_broken_off_is_made_anew(photos, tmp_path):
    (tmp_path / ".out.part/train/dog").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    split_folder(photos, tmp_path / "out", share=0.3)
    assert sorted(os.listdir(tmp_path / "out/train")) == ["ant", "bée", "cat"]
    assert not (tmp_path / ".out.part").exists()


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("nowhere", "out", "nowhere: no such folder; name the folder that holds one folder of images per class"),
        ("done", "out", "done: has a 'train' folder, so it is split already"),
        ("photos", "photos/out", "lies inside .*photos; choose a folder beside it"),
        ("photos", "photos", "lies inside"),
        ("photos", "done", "holds something already; choose a new folder"),
        ("empty", "out", "no class folders in it"),
    ],
)
def test_refused(photos, tmp_path, source, target, message):
    (tmp_path / "done/train").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        split_folder(tmp_path / source, tmp_path / target, share=0.3)
    assert not (tmp_path / "out").exists()


def test_the_command(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    assert main(["split", "photos", "out", "--val", "0.3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out[1:5]] == [
        ["ant", "7", "3"],
        ["bée", "5", "2"],
        ["cat", "1", "0"],
        ["all", "13", "5"],
    ]
    assert out[5] == "too few images to validate: cat"
    assert out[6] == f"next: mindcv-hrnet train -c hrnet_w32_finetune --data_dir {tmp_path}/out"
    assert main(["split", "photos", "out2", "--val", "1"]) == 2
    assert "val: 1 is not accepted; must be > 0 and < 1" in capsys.readouterr().err
