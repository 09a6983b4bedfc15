"""Tracking services, with stand-ins for their packages: what they are told, and that a run goes on as the same run."""

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mindcv_hrnet.engine.rows import EpochRow, StepRow
from mindcv_hrnet.engine.trackers import choose
from mindcv_hrnet.engine.trackers.tracker import Start
from mindcv_hrnet.errors import ConfigError, RunError
from mindcv_hrnet.jobs.train import train
from mindcv_hrnet.recipe.config import parse_config

ROW = StepRow(epoch=1, step=2, loss=0.5, top1=25.0, learning_rate=0.1, loss_scale=8.0)
EPOCH = EpochRow(epoch=1, step=4, learning_rate=0.1, train_loss=0.5, top1=50.0)
RECIPE = {"lr": 0.1, "scale": [0.1, 1.0], "ckpt_path": ""}
NAMES = {"WANDB_PROJECT", "WANDB_NAME", "WANDB_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"} | {
    *("MLFLOW_RUN_NAME", "SWANLAB_PROJ_NAME", "SWANLAB_EXP_NAME", "SWANLAB_RUN_ID", "SWANLAB_LOGDIR", "WANDB_DIR"),
}


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """(function, arguments) of all that is called in the stand-ins of the three packages."""
    calls = []
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def function(name, result=lambda *args, **keywords: None):
        def call(*args, **keywords):
            calls.append((name, args, keywords))
            return result(*args, **keywords)

        return call

    wandb_run = SimpleNamespace(log=function("log"), finish=function("close"))
    wandb = SimpleNamespace(
        init=function("init", lambda **settings: SimpleNamespace(id=settings["id"], **vars(wandb_run))),
        Settings=lambda **settings: settings,
        Image=lambda sheet: sheet.shape,
    )
    mlflow = SimpleNamespace(
        set_tracking_uri=function("uri"),
        get_experiment_by_name=lambda name: None,
        create_experiment=function("experiment"),
        set_experiment=function("set"),
        start_run=function(
            "init", lambda run_id, **_: SimpleNamespace(info=SimpleNamespace(run_id=run_id or "theirs"))
        ),
        log_params=function("params"),
        log_metrics=function("log"),
        log_image=function("image"),
        end_run=function("close"),
    )
    swanlab = SimpleNamespace(
        init=function("init"),
        Settings=lambda **settings: settings,
        Image=lambda sheet: sheet.shape,
        log=function("log"),
        finish=function("close"),
    )
    for name, module in (("wandb", wandb), ("mlflow", mlflow), ("swanlab", swanlab)):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def service(name, folder, first_step=0, told=0):
    module = import_module(f"mindcv_hrnet.engine.trackers.{name}_run")
    return getattr(module, choose.SERVICES[name])(Start("my_run", RECIPE, first_step, told), folder)


def points(said):
    return [(args[0], keywords["step"]) for name, args, keywords in said if name == "log" and "train/loss" in args[0]]


@pytest.mark.parametrize("name", choose.SERVICES)
def test_a_service_is_told_every_number_once(name, said, tmp_path):
    tracker = service(name, tmp_path)
    tracker.images(np.zeros((4, 5, 3), np.uint8))
    tracker.step(ROW)
    tracker.epoch(EPOCH)
    tracker.close()
    ((values, step),) = points(said)
    assert (values["train/loss"], values["train/learning_rate"], step) == (0.5, 0.1, 2)
    assert {"val/top1": 50.0}.items() <= said[-2][1][0].items() and said[-2][2] == {"step": 4}
    assert said[-1][0] == "close" and "first_images" in str(said)
    number = json.loads((tmp_path / "tracker.json").read_text())["id"]
    assert number

    said.clear()
    # killed after step 6, goes on after step 3: steps 4 to 6 and the end of the epoch are known there
    tracker = service(name, tmp_path, first_step=3, told=6)
    for step in range(4, 8):
        tracker.step(replace(ROW, step=step))
        if step == 4:
            tracker.epoch(EPOCH)
    tracker.epoch(replace(EPOCH, step=8))
    assert tracker.id == number and [step for _, step in points(said)] == [7]
    assert [keywords["step"] for name, _, keywords in said if name == "log"] == [7, 8]
    ((settings,),) = [[keywords] for name, _, keywords in said if name == "init"]
    assert number in settings.values() and ("resume" not in settings or settings["resume"] == "allow")

    assert service(name, tmp_path).told == 0  # a run that begins anew is another one there
    if name != "mlflow":  # whose numbers are the server's
        assert json.loads((tmp_path / "tracker.json").read_text())["id"] != number


@pytest.mark.parametrize(
    ("name", "argument", "default", "variable"),
    [
        ("wandb", "project", "mindcv-hrnet", "WANDB_PROJECT"),
        ("wandb", "name", "my_run", "WANDB_NAME"),
        ("wandb", "dir", "", "WANDB_DIR"),
        ("mlflow", "run_name", "my_run", "MLFLOW_RUN_NAME"),
        ("swanlab", "project", "mindcv-hrnet", "SWANLAB_PROJ_NAME"),
        ("swanlab", "name", "my_run", "SWANLAB_EXP_NAME"),
        ("swanlab", "log_dir", "swanlog", "SWANLAB_LOGDIR"),
    ],
)
def test_the_services_own_variables_hold(name, argument, default, variable, said, tmp_path, monkeypatch):
    service(name, tmp_path)
    monkeypatch.setenv(variable, "mine")
    service(name, tmp_path)
    first, second = (keywords[argument] for called, _, keywords in said if called == "init")
    assert (first if argument not in ("dir", "log_dir") else Path(first)) == (
        default if argument not in ("dir", "log_dir") else tmp_path / default
    )
    assert second == "mine"


def test_without_a_server_mlflow_keeps_its_data_in_the_run_folder(said, tmp_path, monkeypatch):
    service("mlflow", tmp_path)
    told = {name: (args, keywords) for name, args, keywords in said}
    assert told["uri"][0] == (f"sqlite:///{tmp_path}/mlflow.db",)
    assert told["experiment"] == (("mindcv-hrnet",), {"artifact_location": (tmp_path / "mlflow").as_uri()})
    assert told["params"][0] == ({"lr": "0.1", "scale": "[0.1, 1.0]", "ckpt_path": ""},)
    said.clear()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    service("mlflow", tmp_path)
    told = {name: (args, keywords) for name, args, keywords in said}
    assert "uri" not in told and told["experiment"] == (("mindcv-hrnet",), {})


def test_a_service_that_cannot_be_had_ends_the_run_in_one_line(tmp_path, monkeypatch):
    def refuse(**settings):
        raise ValueError("No API key configured. Use `wandb login` to log in.\nmore")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(RunError, match=r"^tracker wandb: No API key configured. Use `wandb login` to log in; see docs"):
        service("wandb", tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_note_that_is_none(tmp_path, text):
    (tmp_path / "tracker.json").write_text(text)
    with pytest.raises(RunError, match=r"tracker.json: not the note of a tracker \(.*\); remove the file"):
        service("wandb", tmp_path, first_step=3)


def test_another_service_begins_its_own_run(tmp_path):
    service("wandb", tmp_path)
    assert service("swanlab", tmp_path, first_step=3, told=6).told == 0


@pytest.mark.parametrize("name", choose.SERVICES)
def test_a_missing_package_is_told_before_anything_else(name, monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda package: None)
    expected = rf"tracker {name}: its package is missing here; pip install 'mindcv-hrnet\[{name}\]'"
    with pytest.raises(ConfigError, match=expected):
        train(parse_config(["--tracker", name, "--data_dir", "/nowhere"]))
