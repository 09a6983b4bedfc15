"""Which file a run folder stands for, where weights are asked for."""

import logging
from dataclasses import asdict

import pytest

from mindcv_hrnet.engine.load import weights_of
from mindcv_hrnet.engine.manifest import Checkpoint, Manifest
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.keys import ModelConfig
from mindcv_hrnet.runtime.files import write_json

OLD, NEW = Checkpoint("hrnet_w32-1.ckpt", 1, 10, 50.0), Checkpoint("hrnet_w32-2.ckpt", 2, 20, None)
BEST = Checkpoint("hrnet_w32-best.ckpt", 1, 10, 50.0)


@pytest.mark.parametrize(
    ("best", "file", "told"),
    [
        (BEST, "hrnet_w32-best.ckpt", "epoch 1, top-1 50.00 %"),
        (None, "hrnet_w32-2.ckpt", "epoch 2, not validated"),
    ],
)
def test_a_run_folder_gives_its_best_weights(tmp_path, caplog, best, file, told):
    caplog.set_level(logging.INFO, "mindcv_hrnet")
    write_json(
        tmp_path / "manifest.json",
        asdict(Manifest("hrnet_w32", ["a", "b"], [OLD, NEW], best, "hrnet_w32-state-2.ckpt")),
    )
    assert weights_of(ModelConfig(ckpt_path=str(tmp_path))) == str(tmp_path / file)
    assert caplog.messages == [f"ckpt_path {tmp_path}: its {file}, {told}"]


@pytest.mark.parametrize("started", [False, True])
def test_a_folder_without_weights(tmp_path, started):
    if started:
        write_json(tmp_path / "manifest.json", asdict(Manifest("hrnet_w32", [])))
    with pytest.raises(CheckpointError) as error:
        weights_of(ModelConfig(ckpt_path=str(tmp_path)))
    assert str(error.value) == (
        f"{tmp_path}: has no manifest.json that names weights; pass a checkpoint file or a run folder"
    )
