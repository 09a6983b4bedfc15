"""Which file a run folder stands for, where weights are asked for."""

import logging
from dataclasses import asdict, replace
from hashlib import sha256

import pytest

from mindcv_hrnet.engine.load import weights_of
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.runtime.files import write_json
from mindcv_hrnet.weights.manifest import Checkpoint, Manifest, State

DIGEST = sha256(b"w").hexdigest()
OLD, NEW = (Checkpoint(f"hrnet_w32-{n}.ckpt", n, 10 * n, top1, 1, DIGEST) for n, top1 in ((1, 50.0), (2, None)))
BEST = replace(OLD, file="hrnet_w32-best.ckpt")
STATE = State("hrnet_w32-state-2.ckpt", 2, 20, 1.0, False, 1, 8, 10, 80, 0, 1, DIGEST)


def write_run(folder, best):
    write_json(folder / "manifest.json", asdict(Manifest("hrnet_w32", ["a", "b"], [OLD, NEW], best, [STATE])))
    for entry in (OLD, NEW, BEST):
        (folder / entry.file).write_bytes(b"w")


@pytest.mark.parametrize(
    ("best", "file", "told"),
    [
        (BEST, "hrnet_w32-best.ckpt", "epoch 1, top-1 50.00 %"),
        (None, "hrnet_w32-2.ckpt", "epoch 2, not validated"),
    ],
)
def test_a_run_folder_gives_its_best_weights(tmp_path, caplog, best, file, told):
    caplog.set_level(logging.INFO, "mindcv_hrnet")
    write_run(tmp_path, best)
    assert weights_of(ModelConfig(ckpt_path=str(tmp_path))) == str(tmp_path / file)
    assert caplog.messages == [f"{tmp_path}: its {file}, {told}"]


@pytest.mark.parametrize("started", [False, True])
def test_a_folder_without_weights(tmp_path, started):
    if started:
        write_json(tmp_path / "manifest.json", asdict(Manifest("hrnet_w32", [])))
    with pytest.raises(CheckpointError) as error:
        weights_of(ModelConfig(ckpt_path=str(tmp_path)))
    assert str(error.value) == (
        f"{tmp_path}: has no manifest.json that names weights; pass a checkpoint file or a run folder"
    )


def test_weights_that_are_not_what_was_written(tmp_path):
    write_run(tmp_path, BEST)
    (tmp_path / NEW.file).write_bytes(b"v")
    for given in ("hrnet_w32-1.ckpt", ""):
        weights_of(ModelConfig(ckpt_path=str(tmp_path / given)))
    with pytest.raises(CheckpointError) as error:
        weights_of(ModelConfig(ckpt_path=str(tmp_path / NEW.file)))
    assert str(error.value) == (
        f"{tmp_path}/hrnet_w32-2.ckpt: is damaged, its SHA-256 is not that of what was written; "
        f"use another one, such as {tmp_path}/hrnet_w32-1.ckpt"
    )
    (tmp_path / NEW.file).rename(tmp_path / "mine.ckpt")
    assert weights_of(ModelConfig(ckpt_path=str(tmp_path / "mine.ckpt"))) == str(tmp_path / "mine.ckpt")
