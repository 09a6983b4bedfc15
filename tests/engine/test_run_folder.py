"""What a run folder keeps, under which names, and that a run goes on from it exactly."""

import json
import os
import resource

import numpy as np
import pytest

from mindcv_hrnet.engine.manifest import Manifest
from mindcv_hrnet.engine.run_folder import RunFolder, find_state, restore_state, state_of
from mindcv_hrnet.errors import CheckpointError, RunError
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.weights import read_checkpoint

CLASSES = ["ant", "bée", "cat"]
ADAMW = {"opt": "adamw", "weight_decay": 0.1}


@pytest.fixture
def run(tmp_path, linear_step):
    """A function (scores, **train) -> (run folder, `save`) after one saved epoch per score; 10 steps an epoch."""

    def build(scores, **train):
        folder = RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig(**train))
        step = linear_step(optimizer=ADAMW)

        def save(epoch, score):
            return folder.save(step.weights(), step, epoch, 10 * epoch, score)

        for epoch, score in enumerate(scores, start=1):
            assert save(epoch, score) == tmp_path / "run" / f"tiny-{epoch}.ckpt"
        return folder, save

    return build


def files(folder):
    return sorted(path.name for path in folder.folder.iterdir())


def epochs(folder):
    return [checkpoint.epoch for checkpoint in folder.manifest.checkpoints]


@pytest.mark.parametrize(
    ("policy", "keep", "scores", "kept", "best"),
    [
        ("latest_k", 2, [50.0, 70.0, 60.0, 65.0], [3, 4], 2),
        ("latest_k", 10, [None, None], [1, 2], None),
        ("latest_k", 1, [10.0, 10.0], [2], 1),
        ("top_k", 2, [50.0, 70.0, 60.0, 65.0], [2, 4], 2),
        # the last epoch stays, to resume from
        ("top_k", 2, [50.0, 70.0, 60.0, 40.0], [2, 3, 4], 2),
        ("top_k", 1, [50.0, 70.0, 60.0, 80.0], [4], 4),
        # epochs without validation rank nowhere
        ("top_k", 2, [None, 30.0, None, 20.0, None], [2, 4, 5], 2),
        # of equal scores the later stays, the first is best
        ("top_k", 1, [30.0, 30.0], [2], 1),
        ("top_k", 1, [0.0, None], [1, 2], 1),
    ],
)
def test_policy(run, policy, keep, scores, kept, best):
    folder, _ = run(scores, ckpt_save_policy=policy, keep_checkpoint_max=keep)
    assert epochs(folder) == kept
    assert (folder.manifest.best and folder.manifest.best.epoch) == best
    expected = {"manifest.json", f"tiny-state-{len(scores)}.ckpt"} | {f"tiny-{epoch}.ckpt" for epoch in kept}
    assert files(folder) == sorted(expected | ({"tiny-best.ckpt"} if best else set()))


def test_manifest(run):
    folder, _ = run([50.0, None, 60.0], keep_checkpoint_max=2)
    content = json.loads((folder.folder / "manifest.json").read_text(encoding="utf-8"))
    assert content == {
        "model": "tiny",
        "class_names": CLASSES,
        "checkpoints": [
            {"file": "tiny-2.ckpt", "epoch": 2, "step": 20, "top1": None},
            {"file": "tiny-3.ckpt", "epoch": 3, "step": 30, "top1": 60.0},
        ],
        "best": {"file": "tiny-best.ckpt", "epoch": 3, "step": 30, "top1": 60.0},
        "state": "tiny-state-3.ckpt",
    }
    assert Manifest.read(folder.folder) == folder.manifest


def test_files_of_others_are_never_deleted(run):
    folder, save = run([50.0], keep_checkpoint_max=1)
    for name in ("tiny-0.ckpt", "notes.txt", "tiny-state-0.ckpt"):
        (folder.folder / name).write_text("mine")
    save(2, None)
    assert {"tiny-0.ckpt", "notes.txt", "tiny-state-0.ckpt"} < set(files(folder))
    assert "tiny-1.ckpt" not in files(folder)


def test_weights_file_holds_the_network_only_and_best_equals_its_epoch(run):
    import mindspore as ms

    folder, _ = run([50.0, 40.0])
    first = (folder.folder / "tiny-1.ckpt").read_bytes()
    assert set(ms.load_checkpoint(str(folder.folder / "tiny-1.ckpt"))) == {"weight", "bias", "class_names"}
    assert (folder.folder / "tiny-best.ckpt").read_bytes() == first
    state = set(ms.load_checkpoint(str(folder.folder / "tiny-state-2.ckpt")))
    assert {"weight", "bias", "adam_m.weight", "adam_v.bias", "beta1_power", "global_step", "loss_scale"} <= state
    assert "learning_rate" not in state


def test_a_used_folder_is_refused_unless_the_run_goes_on(run, tmp_path):
    run([50.0, 60.0])
    with pytest.raises(RunError) as error:
        RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig())
    assert str(error.value) == (
        f"{tmp_path}/run: holds a run already (2 checkpoints); choose another --ckpt_save_dir, "
        f"or continue it with --resume_opt True --ckpt_path {tmp_path}/run"
    )
    again = RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig(resume_opt=True))
    assert epochs(again) == [1, 2] and again.manifest.best.epoch == 2
    with pytest.raises(RunError) as error:
        RunFolder(tmp_path / "run", "other", CLASSES, TrainConfig(resume_opt=True))
    assert str(error.value) == f"{tmp_path}/run: holds a run of tiny, not of other; choose another folder"


def test_an_epoch_saved_again_replaces_itself(run):
    folder, save = run([50.0, 60.0])
    save(2, 55.0)
    assert [(each.epoch, each.top1) for each in folder.manifest.checkpoints] == [(1, 50.0), (2, 55.0)]
    assert "tiny-state-2.ckpt" in files(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"model": "tiny"}', "no 'class_names'"),
    ],
)
def test_damaged_manifest(tmp_path, text, reason):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError) as error:
        Manifest.read(tmp_path)
    assert (
        str(error.value) == f"{tmp_path}/manifest.json: not a manifest of a run ({reason}); restore or remove the file"
    )


def test_a_full_disk_leaves_the_epochs_before(run, capfd):
    folder, save = run([50.0])
    before = {name: (folder.folder / name).read_bytes() for name in files(folder)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    try:
        with pytest.raises(RunError) as error:
            save(2, 60.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(error.value) == (
        f"{folder.folder}/tiny-2.ckpt: cannot be written (File too large); "
        "free some space and start again; earlier files are untouched"
    )
    assert {name: (folder.folder / name).read_bytes() for name in files(folder)} == before
    assert epochs(folder) == [1]
    assert capfd.readouterr() == ("", "")


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
    first.totals.take()
    RunFolder(tmp_path, "tiny", CLASSES, TrainConfig()).save(first.weights(), first, 1, 4, None)
    resumed = find_state(str(tmp_path))
    if train.get("ema"):
        saved = read_checkpoint(str(tmp_path / "tiny-1.ckpt"))
        np.testing.assert_array_equal(saved["weight"], first.weights()["weight"].asnumpy())
        assert np.abs(saved["weight"] - first.trainable[0].asnumpy()).max() > 1e-7
    assert (resumed.state.name, resumed.epoch, resumed.step) == ("tiny-state-1.ckpt", 1, 4)
    restore_state(second, resumed.state)
    assert float(second.scale.value.asnumpy()) == first.scale.value.asnumpy()
    for seed in (4, 5, 6):
        first(*linear_batch(seed))
        second(*linear_batch(seed))
    theirs = state_of(second)
    for name, value in state_of(first).items():
        np.testing.assert_array_equal(value.asnumpy(), theirs[name].asnumpy(), err_msg=name)


def test_state_of_another_recipe_is_refused(run, linear_step):
    folder, _ = run([50.0])
    state = folder.folder / "tiny-state-1.ckpt"
    step = linear_step()
    before = {parameter.name: parameter.asnumpy().copy() for parameter in step.trainable}
    with pytest.raises(CheckpointError) as error:
        restore_state(step, state)
    assert str(error.value).startswith(f"{state}: was written by another recipe, ")
    assert str(error.value).endswith("; resume with the config.yaml of its folder")
    assert "adam_m.bias" in str(error.value)
    assert all((parameter.asnumpy() == before[parameter.name]).all() for parameter in step.trainable)


def test_find_state(run, tmp_path):
    run([50.0, 60.0])
    for given in ("run", "run/tiny-2.ckpt", "run/tiny-state-2.ckpt"):
        assert find_state(str(tmp_path / given)) == (tmp_path / "run/tiny-state-2.ckpt", 2, 20, tuple(CLASSES))
    with pytest.raises(CheckpointError) as error:
        find_state(str(tmp_path / "run/tiny-1.ckpt"))
    assert str(error.value) == (
        f"{tmp_path}/run/tiny-1.ckpt: only the newest epoch can be resumed, {tmp_path}/run/tiny-2.ckpt; "
        "to start anew from these weights drop --resume_opt"
    )
    with pytest.raises(CheckpointError) as error:
        find_state(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}: no manifest.json with a training state there; pass the run folder of a started run"
    )


def test_best_needs_no_hard_links(run, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder, _ = run([50.0])
    assert (folder.folder / "tiny-best.ckpt").read_bytes() == (folder.folder / "tiny-1.ckpt").read_bytes()
