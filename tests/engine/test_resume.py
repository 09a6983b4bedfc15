"""That a run goes on from its folder exactly, from the newest state that is whole, and only where the sizes agree."""

import logging

import numpy as np
import pytest
from saves import CLASSES, save_epoch, state_entry

from mindcv_hrnet.engine.resume import Images, check_sizes, find_run, find_state
from mindcv_hrnet.engine.run_folder import RunFolder, Save
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.engine.state import copy_state, rank_entry, restore_state, state_of
from mindcv_hrnet.errors import CheckpointError, RunError
from mindcv_hrnet.recipe.config import Config, parse_config
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.weights import read_checkpoint

ADAMW = {"opt": "adamw", "weight_decay": 0.1}


@pytest.fixture
def saved(tmp_path, linear_step):
    """A run folder with two saved epochs, closed."""
    folder = RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig())
    folder.begin(Config(), 0)
    step = linear_step(optimizer=ADAMW)
    for epoch in (1, 2):
        save_epoch(folder, step, epoch, 50.0)
    folder.close()
    return folder.folder


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("scale", ["fixed", "dynamic"])
@pytest.mark.parametrize(
    ("optimizer", "train"),
    [
        (ADAMW, {}),
        ({"opt": "momentum", "momentum": 0.9}, {"ema": True, "ema_decay": 0.5}),
        ({"opt": "adam"}, {"gradient_accumulation_steps": 3}),
        ({"opt": "lamb"}, {}),
        ({"opt": "nadam"}, {}),
    ],
    ids=repr,
)
def test_a_resumed_run_takes_the_same_steps(tmp_path, linear_step, linear_batch, optimizer, train, scale):
    settings = {"optimizer": optimizer, "train": train, "rates": np.linspace(0.1, 0.01, 12)}
    settings["loss"] = {"loss_scale": 64.0, "loss_scale_type": scale}
    first, second = linear_step(**settings), linear_step(**settings)
    for seed in (0, 1, 2, None) if scale == "dynamic" else (0, 1, 2, 3):
        first(*linear_batch(seed))
    folder = RunFolder(tmp_path, "tiny", CLASSES, TrainConfig())
    save_epoch(folder, first, 1, step=4)
    folder.close()
    resumed = find_state(str(tmp_path))
    if train.get("ema"):
        weights = read_checkpoint(str(tmp_path / "tiny-1.ckpt"))
        np.testing.assert_array_equal(weights["weight"], first.weights()["weight"].asnumpy())
        assert np.abs(weights["weight"] - first.trainable[0].asnumpy()).max() > 1e-7
    assert (resumed.path.name, resumed.entry.epoch, resumed.entry.step) == ("tiny-state-1.ckpt", 1, 4)
    restore_state(second, resumed, Cluster())
    assert float(second.scale.value.asnumpy()) == first.scale.value.asnumpy()
    assert float(second.totals.loss_sum.asnumpy()) == first.totals.loss_sum.asnumpy() > 0
    for seed in (4, 5, 6):
        first(*linear_batch(seed))
        second(*linear_batch(seed))
    theirs = state_of(second)
    for name, value in state_of(first).items():
        np.testing.assert_array_equal(value.asnumpy(), theirs[name].asnumpy(), err_msg=name)


def test_what_differs_between_ranks_goes_back_to_each_and_as_mean_to_others(tmp_path, linear_step):
    step = linear_step(optimizer=ADAMW, train={"gradient_accumulation_steps": 2})
    arrays = copy_state(step, Cluster(), epoch_ends=False, update_complete=False)
    name = "gathered.weight"
    own = {rank: np.full(arrays[name].shape, rank + 1, np.float32) for rank in (0, 1)}
    arrays |= {name: own[0], rank_entry(1, name): own[1]}
    folder = RunFolder(tmp_path, "tiny", CLASSES, TrainConfig())
    folder.write(Save(state_entry(1, 5, ranks=2), arrays, ""))
    folder.close()
    resumed = find_state(str(tmp_path))
    for cluster, expected in ((Cluster(0, 2), 1.0), (Cluster(1, 2), 2.0), (Cluster(), 1.5)):
        restore_state(step, resumed, cluster)
        assert (state_of(step)[name].asnumpy() == expected).all(), cluster


def test_state_of_another_recipe_is_refused(saved, linear_step):
    step = linear_step()
    before = {parameter.name: parameter.asnumpy().copy() for parameter in step.trainable}
    with pytest.raises(CheckpointError) as error:
        restore_state(step, find_state(str(saved)), Cluster())
    assert str(error.value).startswith(f"{saved}/tiny-state-2.ckpt: was written by another recipe, ")
    assert str(error.value).endswith("; resume with the config.yaml of its folder")
    assert "adam_m.bias" in str(error.value)
    assert all((parameter.asnumpy() == before[parameter.name]).all() for parameter in step.trainable)


def test_find_state(saved, tmp_path):
    for given, step in (("", 20), ("tiny-2.ckpt", 20), ("tiny-state-2.ckpt", 20), ("tiny-state-1.ckpt", 10)):
        assert find_state(str(saved / given)).entry.step == step
    with pytest.raises(CheckpointError) as error:
        find_state(str(saved / "tiny-1.ckpt"))
    assert str(error.value) == (
        f"{saved}/tiny-1.ckpt: has no training state beside it; those of {saved} are tiny-state-1.ckpt and "
        "tiny-state-2.ckpt; to start anew from these weights drop --resume_opt"
    )
    with pytest.raises(CheckpointError) as error:
        find_state(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: no manifest.json with a training state there; pass the run folder of a started run"
    )


def test_a_damaged_state_falls_back_to_the_one_before(saved, caplog):
    spoil(saved / "tiny-state-2.ckpt")
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        assert find_state(str(saved)).entry.step == 10
    damaged = f"{saved}/tiny-state-2.ckpt: is damaged, its SHA-256 is not that of what was written"
    assert caplog.messages == [f"{damaged}; the state before it is taken"]
    (saved / "tiny-state-1.ckpt").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="every training state is damaged; start anew from the weights"):
        find_state(str(saved))


def test_which_run_goes_on(saved, tmp_path):
    def resumed(*arguments):
        return find_run(parse_config(["--resume_opt", "True", *map(str, arguments)]))

    elsewhere = tmp_path / "elsewhere"
    assert resumed("--ckpt_save_dir", saved).folder == saved
    assert resumed("--ckpt_save_dir", saved, "--ckpt_path", tmp_path / "start.ckpt").folder == saved
    assert resumed("--ckpt_save_dir", saved, "--ckpt_path", saved / "tiny-state-1.ckpt").entry.step == 10
    assert resumed("--ckpt_save_dir", elsewhere, "--ckpt_path", saved).folder == saved
    with pytest.raises(CheckpointError, match=f"{elsewhere}: has no run to resume; check --ckpt_save_dir, or drop"):
        resumed("--ckpt_save_dir", elsewhere)
    elsewhere.mkdir()
    (elsewhere / "history.jsonl").write_text("{}\n")
    assert resumed("--ckpt_save_dir", elsewhere, "--ckpt_path", tmp_path / "start.ckpt") is None


def test_sizes(saved, caplog):
    resumed = find_state(str(saved))
    shape = RunShape(epochs=3, steps_per_epoch=10, global_batch_size=8, first_step=20)
    check_sizes(resumed, shape, Images(80, 20), Cluster())
    assert caplog.messages == []
    for other in (RunShape(3, 10, 16), RunShape(3, 5, 8)):
        with pytest.raises(RunError, match="was saved with a global batch of 8 and 10 steps an epoch, here they are"):
            check_sizes(resumed, other, Images(80, 20), Cluster())
    with pytest.raises(RunError, match="of 80 training images, here there are 81; resume with the same data set"):
        check_sizes(resumed, shape, Images(81, 20), Cluster())
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        check_sizes(resumed, shape, Images(80, 19), Cluster(size=2))
        check_sizes(resumed, RunShape(2, 10, 8, 20), Images(80, 0), Cluster())
    shrunk, ranks, done = caplog.messages
    assert shrunk == "the validation split has 19 images, it had 20; scores cannot be compared with the earlier ones"
    assert ranks.startswith("ranks: 2 now, 1 before: the same images make a step")
    assert done == f"{saved}: all 2 epochs are done; raise --epoch_size to go on"
