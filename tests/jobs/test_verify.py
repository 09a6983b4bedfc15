"""`verify` reads every file of a run again."""

import json
from hashlib import sha256

import pytest

from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.jobs import verify


@pytest.fixture
def run_folder(tmp_path):
    """Files of a run with two epochs; the contents do not matter."""

    def entry(name, content, **others):
        (tmp_path / name).write_bytes(content)
        return {"file": name, "size": len(content), "sha256": sha256(content).hexdigest(), **others}

    state = {"epoch": 2, "seconds": 1.0, "validation_due": False, "ranks": 1, "global_batch_size": 8}
    state |= {"steps_per_epoch": 10, "training_images": 80, "validation_images": 20}
    manifest = {
        "model": "tiny",
        "class_names": ["a", "b"],
        "checkpoints": [entry(f"tiny-{n}.ckpt", b"%d" % n, epoch=n, step=10 * n, top1=None) for n in (1, 2)],
        "best": entry("tiny-best.ckpt", b"1", epoch=1, step=10, top1=50.0),
        "states": [entry(f"tiny-state-{n}.ckpt", b"state%d" % n, step=10 * n, **state) for n in (1, 2)],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def verify_folder(folder):
    verify.run(verify.parse([str(folder)]))


def test_whole(run_folder, capsys):
    verify_folder(run_folder)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny-1.ckpt        epoch 1  step 10  whole"
    assert lines[-1] == f"{run_folder}: all 5 files are whole"


def test_damaged(run_folder, capsys):
    (run_folder / "tiny-state-2.ckpt").write_bytes(b"state3")
    (run_folder / "tiny-1.ckpt").write_bytes(b"longer")
    (run_folder / "tiny-2.ckpt").unlink()
    with pytest.raises(CheckpointError) as error:
        verify_folder(run_folder)
    assert str(error.value) == (
        f"{run_folder}: 3 of 5 files are damaged; --resume_opt True goes on from tiny-state-1.ckpt"
    )
    out = capsys.readouterr().out
    assert "tiny-state-2.ckpt  epoch 2  step 20  damaged, its SHA-256 is not that of what was written\n" in out
    assert "damaged, it has 6 bytes, 1 were written\n" in out and "damaged, it is missing\n" in out


def test_the_best_may_be_ahead_of_the_manifest(run_folder, capsys):
    (run_folder / "tiny-best.ckpt").write_bytes(b"2")
    verify_folder(run_folder)
    assert "whole, of a later epoch: the run was killed while it was written" in capsys.readouterr().out


def test_no_run(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no manifest.json; pass the folder of a run"):
        verify_folder(tmp_path)
