"""What a run folder keeps, under which names, and what a save that fails or is killed leaves."""

import json
import logging
import os
import resource
import shutil
from dataclasses import replace

import mindspore as ms
import pytest
from saves import CLASSES, save_epoch, state_entry

from mindcv_hrnet.engine.run_folder import RunFolder, Save, remove_leftovers
from mindcv_hrnet.engine.state import copy_state
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.recipe.keys import TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster
from mindcv_hrnet.weights.manifest import Manifest

ALWAYS = ("config.yaml", "metrics.csv", ".lock")
ADAMW = {"opt": "adamw", "weight_decay": 0.1}


@pytest.fixture
def run(tmp_path, linear_step):
    """A function (scores, **train) -> (run folder, `save`) after one saved epoch per score; 10 steps an epoch."""
    opened = []

    def build(scores, **train):
        folder = RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig(**train))
        opened.append(folder)
        folder.begin(Config(), 0)
        step = linear_step(optimizer=ADAMW)

        def save(epoch, score):
            save_epoch(folder, step, epoch, score)

        for epoch, score in enumerate(scores, start=1):
            save(epoch, score)
        return folder, save

    yield build
    for folder in opened:
        folder.close()


def files(folder):
    return sorted(path.name for path in folder.folder.iterdir() if path.name not in ALWAYS)


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
    states = {f"tiny-state-{epoch}.ckpt" for epoch in (len(scores) - 1, len(scores)) if epoch}
    expected = {"manifest.json"} | states | {f"tiny-{epoch}.ckpt" for epoch in kept}
    assert files(folder) == sorted(expected | ({"tiny-best.ckpt"} if best else set()))


def test_manifest(run):
    folder, _ = run([50.0, None, 60.0], keep_checkpoint_max=2)
    content = json.loads((folder.folder / "manifest.json").read_text(encoding="utf-8"))
    digests = {entry["file"]: entry.pop("sha256") for entry in [*content["checkpoints"], content["best"]]}
    sizes = [entry.pop("size") for entry in [*content["checkpoints"], content["best"]]]
    assert sizes == [(folder.folder / name).stat().st_size for name in digests]
    assert digests["tiny-best.ckpt"] == digests["tiny-3.ckpt"]
    states = content.pop("states")
    assert content == {
        "model": "tiny",
        "class_names": CLASSES,
        "checkpoints": [
            {"file": "tiny-2.ckpt", "epoch": 2, "step": 20, "top1": None},
            {"file": "tiny-3.ckpt", "epoch": 3, "step": 30, "top1": 60.0},
        ],
        "best": {"file": "tiny-best.ckpt", "epoch": 3, "step": 30, "top1": 60.0},
    }
    assert [(state["file"], state["step"]) for state in states] == [
        ("tiny-state-2.ckpt", 20),
        ("tiny-state-3.ckpt", 30),
    ]
    assert Manifest.read(folder.folder) == folder.manifest


def test_files_of_others_are_never_deleted(run):
    folder, save = run([50.0], keep_checkpoint_max=1)
    names = {"tiny-0.ckpt", "notes.txt", "tiny-state-0.ckpt", ".notes.4194305.txt"}
    for name in names:
        (folder.folder / name).write_text("mine")
    save(2, None)
    remove_leftovers(folder.folder, folder.manifest)
    assert names < set(files(folder))
    assert "tiny-1.ckpt" not in files(folder)


def test_weights_file_holds_the_network_only_and_best_equals_its_epoch(run):
    folder, _ = run([50.0, 40.0])
    first = (folder.folder / "tiny-1.ckpt").read_bytes()
    assert set(ms.load_checkpoint(str(folder.folder / "tiny-1.ckpt"))) == {"weight", "bias", "class_names"}
    assert (folder.folder / "tiny-best.ckpt").read_bytes() == first
    state = set(ms.load_checkpoint(str(folder.folder / "tiny-state-2.ckpt")))
    assert {"weight", "bias", "adam_m.weight", "adam_v.bias", "beta1_power", "global_step", "loss_scale"} <= state
    assert "learning_rate" not in state


def test_a_used_folder_is_refused_unless_the_run_goes_on(run, tmp_path):
    folder, _ = run([50.0, 60.0])
    folder.close()
    with pytest.raises(RunError) as error:
        RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig())
    assert str(error.value) == (
        f"{tmp_path}/run: holds a run already (2 checkpoints); choose another --ckpt_save_dir, "
        "or continue it with --resume_opt True"
    )
    again = RunFolder(tmp_path / "run", "tiny", CLASSES, TrainConfig(resume_opt=True))
    assert epochs(again) == [1, 2] and again.manifest.best.epoch == 2
    again.close()
    with pytest.raises(RunError) as error:
        RunFolder(tmp_path / "run", "other", CLASSES, TrainConfig(resume_opt=True))
    assert str(error.value) == f"{tmp_path}/run: holds a run of tiny, not of other; choose another folder"
    assert not (tmp_path / "run/.lock").exists()


def test_an_epoch_saved_again_replaces_itself(run):
    folder, save = run([50.0, 60.0])
    save(2, 55.0)
    assert [(each.epoch, each.top1) for each in folder.manifest.checkpoints] == [(1, 50.0), (2, 55.0)]
    assert "tiny-state-2.ckpt" in files(folder)


def test_a_run_that_goes_on_from_an_earlier_state_forgets_what_came_after(run):
    folder, save = run([50.0, 60.0, 70.0])
    folder.begin(Config(), 20)
    assert epochs(folder) == [1, 2] and [state.step for state in folder.manifest.states] == [20]
    assert "tiny-3.ckpt" in files(folder)
    save(3, 65.0)
    assert epochs(folder) == [1, 2, 3] and folder.manifest.best.top1 == 70.0


def test_a_state_within_an_epoch_comes_and_goes(run, linear_step):
    folder, save = run([50.0])
    step = linear_step(optimizer=ADAMW)
    arrays = copy_state(step, Cluster(), epoch_ends=False, update_complete=True)
    for number in (13, 16):
        entry = replace(state_entry(2, number), file=f"tiny-state-2-{number - 10}.ckpt")
        folder.write(Save(entry, arrays, "rows\n"))
    assert [name for name in files(folder) if "state" in name] == ["tiny-state-2-3.ckpt", "tiny-state-2-6.ckpt"]
    assert epochs(folder) == [1]
    save(2, 60.0)
    assert [name for name in files(folder) if "state" in name] == ["tiny-state-2-6.ckpt", "tiny-state-2.ckpt"]


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
    assert str(error.value).startswith(f"{folder.folder}/.unfinished.json: cannot be written (File too large); ")
    assert {name: (folder.folder / name).read_bytes() for name in files(folder)} == before
    assert epochs(folder) == [1]
    assert capfd.readouterr() == ("", "")
    save(2, 60.0)
    assert epochs(folder) == [1, 2]


def test_a_full_disk_in_the_middle_of_a_save_frees_what_it_took(run, monkeypatch):
    folder, save = run([50.0])
    before = files(folder)
    writes = []

    def refuse(arrays, path, class_names=()):
        writes.append(path)
        path.write_bytes(b"part")
        if len(writes) == 2:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr("mindcv_hrnet.engine.run_folder.write_ckpt", refuse)
    with pytest.raises(RunError, match=r"tiny-state-2.ckpt: cannot be written \(No space left on device\)"):
        save(2, 60.0)
    assert files(folder) == before and Manifest.read(folder.folder) == folder.manifest


def test_leftovers_of_a_killed_save_are_removed_and_no_other(run):
    folder, _ = run([50.0])
    left = {".tiny-state-2.4194305.ckpt", ".manifest.4194305.json"}
    others = {".tiny-state-2.1.ckpt", ".tiny-mine.4194305.ckpt", ".other-2.4194305.ckpt"}  # 1 is alive
    for name in left | others:
        (folder.folder / name).write_text("half")
    (folder.folder / ".unfinished.json").write_text('["tiny-2.ckpt", "tiny-state-2.ckpt", "tiny-1.ckpt", "../x", 5]')
    (folder.folder / "tiny-2.ckpt").write_text("whole, but in no manifest")
    remove_leftovers(folder.folder, folder.manifest)
    assert set(files(folder)) == {"manifest.json", "tiny-1.ckpt", "tiny-best.ckpt", "tiny-state-1.ckpt"} | others


def test_a_folder_that_is_removed_is_made_anew(run, caplog):
    folder, save = run([50.0])
    shutil.rmtree(folder.folder)
    with caplog.at_level(logging.WARNING, "mindcv_hrnet"):
        save(2, 60.0)
    assert caplog.messages == [f"{folder.folder}: was removed meanwhile; made anew, its earlier files are lost"]
    assert epochs(folder) == [2] and folder.manifest.best.epoch == 2
    assert (folder.folder / "config.yaml").is_file() and (folder.folder / ".lock").is_file()


def test_best_needs_no_hard_links(run, monkeypatch):
    def refuse(source, target):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    folder, _ = run([50.0])
    assert (folder.folder / "tiny-best.ckpt").read_bytes() == (folder.folder / "tiny-1.ckpt").read_bytes()
