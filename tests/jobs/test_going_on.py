"""A run that is broken off anywhere and goes on ends as if nothing had happened: every step of a short one is tried."""

import csv
import json
import logging
import shutil
import signal
import time

import numpy as np
import observables as see
import pytest
from event_files import shown
from PIL import Image

from mindcv_hrnet.engine.interruptions import Interruptions
from mindcv_hrnet.engine.run_folder import RunFolder
from mindcv_hrnet.errors import DataError, RunError
from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.runtime.signals import Stopped, stop_requests
from mindcv_hrnet.weights import read_entries
from mindcv_hrnet.weights.manifest import Manifest

pytestmark = pytest.mark.usefixtures("pynative")

STEPS = 10
# 5 steps an epoch and 3 for an update: one is half done at the end of the first epoch
SETTINGS = (
    *("--dataset", "folder", "--batch_size", "2", "--image_resize", "32", "--epoch_size", "2", "--warmup_epochs", "0"),
    *("--mode", "1", "--device_target", "CPU", "--color_jitter", "None", "--opt", "adamw", "--lr", "0.05"),
    *("--model", "hrnet_w18_small", "--val_while_train", "True", "--gradient_accumulation_steps", "3"),
    *("--ema", "True", "--ema_decay", "0.5", "--mixup", "0.2", "--drop_rate", "0.3", "--drop_path_rate", "0.3"),
    *("--amp_level", "O1", "--loss_scale_type", "dynamic", "--loss_scale", "1024", "--ckpt_save_steps", "2"),
    *("--log_interval", "1", "--clip_grad", "True"),
)


TIMES = ("seconds", "images_per_second", "data_wait")


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for split, count in (("train", 5), ("val", 3)):
        for name in ("ant", "bee"):
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (40, 40, 3), np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def reference(data, tmp_path_factory):
    """A run that nobody disturbs."""
    return run(data, tmp_path_factory.mktemp("reference") / "run")


@pytest.fixture(autouse=True)
def _nobody_asks():
    stop_requests.signum = 0
    yield
    stop_requests.signum = 0


def run(data, folder, *argv):
    with see.sketched():
        train(parse_config([*SETTINGS, "--data_dir", str(data), "--ckpt_save_dir", str(folder), *map(str, argv)]))
    return folder


@pytest.fixture
def after(monkeypatch):
    """A function (step, act) that has `act` done after a step of the run, all else done."""

    def arrange(step, act):
        original = Interruptions.on_train_step_end

        def then(self, context):
            original(self, context)
            if self.step == step:
                act()

        monkeypatch.setattr(Interruptions, "on_train_step_end", then)
        return lambda: monkeypatch.setattr(Interruptions, "on_train_step_end", original)

    return arrange


def result(folder):
    """What must not depend on how often a run was broken off."""
    manifest = Manifest.read(folder)
    rows = []
    for name in ("metrics.csv", "steps.csv"):
        with open(folder / name, newline="") as file:
            rows += [{key: row[key] for key in row if key not in TIMES} for row in csv.DictReader(file)]
    curves = {
        tag: points
        for tag, points in shown(folder / "events").items()
        if tag.startswith(("train/", "val/", "epoch/train", "first_images"))
    }
    arrays = {}
    for entry in (manifest.states[-1], *manifest.checkpoints, manifest.best):
        arrays[entry.file] = {name: array.tobytes() for name, array in read_entries(str(folder / entry.file)).items()}
    scores = [(entry.file, entry.epoch, entry.step, entry.top1) for entry in (*manifest.checkpoints, manifest.best)]
    return rows, scores, arrays, curves


def kill():
    raise Killed


# one of them in the quick loop
@pytest.mark.parametrize(
    "step", [3, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 2, *range(4, STEPS)))]
)
def test_a_run_that_is_killed_after_any_step(data, reference, tmp_path, after, step):
    undo = after(step, kill)
    with pytest.raises(Killed):
        run(data, tmp_path / "run")
    undo()
    run(data, tmp_path / "run", "--resume")
    assert result(tmp_path / "run") == result(reference)
    first, second = map(json.loads, (tmp_path / "run/history.jsonl").read_text().splitlines())
    # every second step is saved, and the end of an epoch
    assert (first["first_step"], second["first_step"]) == (1, (step if step == 5 else step - step % 2) + 1)
    assert [path.name for path in (tmp_path / "run").glob(".*")] == []


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3, 4, 7])
def test_a_run_that_is_asked_to_stop_loses_nothing(data, reference, tmp_path, after, step):

    undo = after(step, lambda: setattr(stop_requests, "signum", signal.SIGTERM))
    with pytest.raises(Stopped) as stopped:
        run(data, tmp_path / "run")
    undo()
    # asked after a step: the next one is finished, and saved
    assert stopped.value.message.startswith(f"SIGTERM: stopped after epoch {1 + step // 5}, step {step % 5 + 1}, which")
    stop_requests.signum = 0
    run(data, tmp_path / "run", "--resume")
    assert result(tmp_path / "run") == result(reference)
    assert json.loads((tmp_path / "run/history.jsonl").read_text().splitlines()[1])["first_step"] == step + 2


@pytest.mark.slow
@pytest.mark.parametrize("saves", ["1", "2"])
def test_a_validation_that_is_broken_off_is_done_after_the_resume(data, tmp_path, monkeypatch, saves):
    whole = run(data, tmp_path / "whole", "--ckpt_save_interval", saves)
    original = Interruptions.between_batches

    def ask(self):
        stop_requests.signum = signal.SIGINT
        original(self)

    monkeypatch.setattr(Interruptions, "between_batches", ask)
    with pytest.raises(Stopped, match="SIGINT: stopped after epoch 1, step 5, which is saved"):
        run(data, tmp_path / "run", "--ckpt_save_interval", saves)
    monkeypatch.setattr(Interruptions, "between_batches", original)
    stop_requests.signum = 0
    run(data, tmp_path / "run", "--ckpt_save_interval", saves, "--resume")
    assert result(tmp_path / "run") == result(whole)


@pytest.mark.slow
def test_an_image_that_spoils_validation_does_not_spoil_the_epoch(data, reference, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    image = tmp_path / "data/val/bee/1.png"
    whole = image.read_bytes()
    half = bytearray(whole)
    half[len(half) // 2 :] = bytes(len(half) - len(half) // 2 - 12) + whole[-12:]
    image.write_bytes(half)
    with pytest.raises(DataError, match="validation needs every image"):
        run(tmp_path / "data", tmp_path / "run")
    assert Manifest.read(tmp_path / "run").states[-1].step == 5
    assert f"error: {image}" in (tmp_path / "run/run.log").read_text()
    image.write_bytes(whole)
    run(tmp_path / "data", tmp_path / "run", "--resume")
    assert result(tmp_path / "run") == result(reference)


def test_a_finished_run_says_so(data, reference, tmp_path, caplog):
    shutil.copytree(reference, tmp_path / "run")
    before = result(tmp_path / "run")
    with caplog.at_level(logging.INFO, "mindcv_hrnet"):
        run(data, tmp_path / "run", "--resume")
    assert f"{tmp_path}/run: all 2 epochs are done; raise --epoch_size to go on" in caplog.messages
    assert result(tmp_path / "run") == before


def refuse(self, save, weights_file):
    raise RunError(f"{self.folder}: cannot be written (No space left on device)")


@pytest.mark.slow
def test_a_disk_that_is_full_for_one_save(data, reference, tmp_path, monkeypatch, caplog):
    original, saves = RunFolder._write_files, []

    def sometimes(self, save, weights_file):
        saves.append(save)
        (refuse if len(saves) == 2 else original)(self, save, weights_file)

    monkeypatch.setattr(RunFolder, "_write_files", sometimes)
    run(data, tmp_path / "run")
    assert len([line for line in caplog.messages if "Training goes on, and tries again in 30 s" in line]) == 1
    assert result(tmp_path / "run") == result(reference)


@pytest.mark.slow
def test_a_disk_that_stays_full_ends_the_run_and_keeps_the_last_state(data, reference, tmp_path, monkeypatch, after):
    original = RunFolder._write_files
    after(5, lambda: monkeypatch.setattr(RunFolder, "_write_files", refuse))
    with pytest.raises(RunError, match="No space left on device"):
        run(data, tmp_path / "run")
    monkeypatch.setattr(RunFolder, "_write_files", original)
    assert Manifest.read(tmp_path / "run").states[-1].step == 5
    run(data, tmp_path / "run", "--resume")
    assert result(tmp_path / "run") == result(reference)


@pytest.mark.slow
def test_a_clock_that_is_set_back(data, reference, tmp_path, monkeypatch, after):
    now = time.time
    after(3, lambda: monkeypatch.setattr(time, "time", lambda: now() - 86400))
    run(data, tmp_path / "run")
    assert result(tmp_path / "run") == result(reference)
    assert all(float(row["seconds"]) > 0 for row in csv.DictReader((tmp_path / "run/metrics.csv").open()))


@pytest.mark.slow
def test_a_validation_split_that_shrinks(data, tmp_path, caplog, after):
    shutil.copytree(data, tmp_path / "data")
    undo = after(7, kill)
    with pytest.raises(Killed):
        run(tmp_path / "data", tmp_path / "run")
    undo()
    (tmp_path / "data/val/bee/2.png").unlink()
    run(tmp_path / "data", tmp_path / "run", "--resume")
    assert (
        "the validation split has 5 images, it had 6; scores cannot be compared with the earlier ones"
        in caplog.messages
    )


def test_going_on_with_another_size_of_the_training_split(data, reference, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    shutil.copytree(reference, tmp_path / "run")
    shutil.copy(tmp_path / "data/train/bee/1.png", tmp_path / "data/train/bee/9.png")
    with pytest.raises(RunError, match="of 10 training images, here there are 11; resume with the same data set"):
        run(tmp_path / "data", tmp_path / "run", "--resume", "--epoch_size", "3")
