"""Exit codes, and one line on stderr for whatever the user can mend."""

import gc
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from original_files import write_mnist
from PIL import Image
from repository import ROOT

from mindcv_hrnet import __version__
from mindcv_hrnet.cli import main, no_garbage, run_job, scratch_folder, summaries, with_absolute_paths
from mindcv_hrnet.errors import CheckpointError, ConfigError, DataError, RunError, UserError
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.runtime.files import absolute
from mindcv_hrnet.runtime.signals import Stopped

RECIPE = str(ROOT / "configs/hrnet/hrnet_w18_small_digits_cpu.yaml")


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch, pynative):
    """The command line sets environment variables for a whole process; here that ends with the test."""
    monkeypatch.setattr(os, "environ", os.environ.copy())


@pytest.fixture
def command(capsys):
    """A function argv -> (exit code, stdout, stderr)."""

    def run(*argv):
        code = main(argv)
        return (code, *capsys.readouterr())

    return run


def test_exit_codes_leave_1_to_defects():
    codes = {
        error.__name__: error.exit_code for error in (UserError, ConfigError, DataError, CheckpointError, RunError)
    }
    assert codes == {"UserError": 2, "ConfigError": 2, "DataError": 3, "CheckpointError": 4, "RunError": 5}


@pytest.mark.parametrize(("argv", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_overview(command, argv, code):
    found, out, err = command(*argv)
    assert (found, err) == (code, "")
    first, _, *lines = out.splitlines()
    assert first == "usage: mindcv-hrnet COMMAND ...; each command has its own --help"
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in lines} == summaries()


def test_version(command):
    assert command("--version") == (0, f"mindcv-hrnet {__version__}\n", "")


def test_unknown_command(command):
    message = "error: unknown command 'trian' (nearest: 'train'); see mindcv-hrnet --help\n"
    assert command("trian") == (2, "", message)


@pytest.mark.parametrize("job", summaries())
def test_help_of_each_command(job, capsys):
    with pytest.raises(SystemExit) as leave:
        main([job, "--help"])
    assert leave.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: mindcv-hrnet {job} ") and err == ""


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (
            ["train", "--epoch_sise", "3"],
            2,
            "command line: unknown argument '--epoch_sise' (nearest: 'epoch_size')",
        ),
        (
            ["train", "-c", "no.yaml"],
            2,
            "no.yaml: recipe not found; ",
        ),
        (
            ["train", "--drop_path_rate", "1"],
            2,
            "command line: drop_path_rate: '1' is not accepted; ",
        ),
        (["train", "-c", RECIPE, "--data_dir", "no"], 3, "{cwd}/no: no such folder; "),
        (["validate", "-c", RECIPE], 4, "ckpt_path is empty; "),
        (["validate", "--ckpt_path", "no.ckpt"], 4, "{cwd}/no.ckpt: checkpoint not found; "),
        (["export", "--ckpt_path", "no.ckpt"], 4, "{cwd}/no.ckpt: checkpoint not found; "),
        (["predict"], 2, "command line: the following arguments are required: MODEL, IMAGE; see --help"),
        (["predict", "a.png", "--model", "m", "--tip"], 2, "command line: unrecognized arguments: --tip; see --help"),
        (["predict", "a.png", "--model", "m", "--top", "0"], 2, "command line: top: 0 is not accepted; must be >= 1"),
        (
            ["predict", "a.png", "--model", "m", "--top", "all"],
            2,
            "command line: argument --top: invalid int value: 'all'; see --help",
        ),
        (
            ["predict", "a.png", "--model", "no.mindir"],
            4,
            "{cwd}/no.mindir: no such file; ",
        ),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else None,
)
def test_user_errors_are_one_line(command, tmp_path, monkeypatch, argv, code, message):
    monkeypatch.chdir(tmp_path)
    *found, err = command(*argv)
    assert found == [code, ""] and err.startswith(f"error: {message.format(cwd=tmp_path)}")
    assert err.count("\n") == 1 and err.endswith("\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--auto_augment", "randaugg"], "auto_augment: unknown policy 'randaugg'"),
        (["--data_dir", "nowhere"], "nowhere: no such folder"),
        (["--modell", "x"], "unknown argument '--modell' (nearest: 'model')"),
    ],
)
def test_a_typing_error_ends_before_mindspore_is_imported(tmp_path, argv, message):
    program = "import sys; from mindcv_hrnet import cli; cli.run_job('train'); print('mindspore' in sys.modules)"
    line = [sys.executable, "-c", program, "-c", str(RECIPE), *argv]
    done = subprocess.run(
        line, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.stdout, done.stderr.count("\n")) == ("False\n", 1) and message in done.stderr


def test_a_used_run_folder_is_an_error_of_the_run(command, tmp_path):
    from mindcv_hrnet.runtime.files import write_json

    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(tmp_path / "data" / split / name / "0.png")
    whose = {"epoch": 1, "step": 1, "size": 1, "sha256": "0" * 64}
    state = {"file": "hrnet_w18_small-state-1.ckpt", "seconds": 1.0, "validation_due": False, "ranks": 1, **whose}
    state |= {"global_batch_size": 1, "steps_per_epoch": 1, "training_images": 2, "validation_images": 2}
    manifest = {
        "model": "hrnet_w18_small",
        "class_names": ["a", "b"],
        "checkpoints": [{"file": "hrnet_w18_small-1.ckpt", "top1": None, **whose}],
        "best": None,
        "states": [state],
    }
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run/manifest.json", manifest)
    argv = ["--data_dir", f"{tmp_path}/data", "--ckpt_save_dir", f"{tmp_path}/run", "--num_classes", "2", "--mode", "1"]
    code, _, err = command("train", "-c", RECIPE, *argv)
    assert code == 5 and err.startswith(f"error: {tmp_path}/run: holds a run already (1 checkpoint); ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_data_set_in_its_original_files_is_trained_and_validated(command, tmp_path):
    write_mnist(tmp_path / "data", counts=(40, 20), suffix=".gz")
    run = tmp_path / "run"
    argv = ["-c", RECIPE, "--dataset", "mnist", "--data_dir", f"{tmp_path}/data", "--mode", "1", "--image_resize", "32"]
    short = ["--epoch_size", "1", "--warmup_epochs", "0", "--batch_size", "8", "--num_samples", "16"]
    short += ["--num_parallel_workers", "1"]
    grey = ["--in_channels", "1", "--num_classes", "None", "--dataset_download", "True", "--val_split", "test"]
    code, out, err = command("train", *argv, *short, *grey, "--ckpt_save_dir", str(run))
    assert (code, err) == (0, "")
    assert (
        f"data: 40 training images (16 used per epoch) in {tmp_path}/data, 20 validation images, 1 decoding thread"
        in out
    )
    assert json.loads((run / "manifest.json").read_text())["class_names"] == list("0123456789")
    again = ["--ckpt_path", f"{run}/hrnet_w18_small-1.ckpt", "--batch_size", "20"]
    code, again_out, err = command("validate", "-c", f"{run}/config.yaml", *again, "--val_split", "val")
    assert (code, err) == (0, "")
    top1 = re.search(r"top-1 +[\d.]+ % \(\d+/20\)", again_out)
    assert top1 and top1[0] in out


def test_a_split_that_a_data_set_does_not_have(command, tmp_path):
    write_mnist(tmp_path)
    argv = ["-c", RECIPE, "--dataset", "mnist", "--data_dir", str(tmp_path), "--train_split", "training"]
    code, out, err = command("train", *argv)
    assert (code, out) == (3, "") and err.startswith(f"error: {tmp_path}: mnist has no split 'training' ")


@pytest.mark.parametrize(
    ("raised", "code", "last_line"),
    [
        (ZeroDivisionError("a defect"), 1, "ZeroDivisionError: a defect"),
        (ValueError("not the user's"), 1, "ValueError: not the user's"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Stopped(15, "SIGTERM: stopped; go on"), 143, "SIGTERM: stopped; go on"),
        (DataError("x: gone"), 3, "error: x: gone"),
    ],
    ids=repr,
)
def test_only_defects_show_a_traceback(monkeypatch, capsys, raised, code, last_line):
    def job(config):
        raise raised

    monkeypatch.setattr("mindcv_hrnet.jobs.validate.validate", job)
    assert run_job("validate", []) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == last_line
    assert ("Traceback (most recent call last):" in lines) == (code == 1)
    assert len(lines) == 1 or code == 1


def test_a_job_gets_absolute_paths_and_stands_elsewhere(monkeypatch, tmp_path):
    seen = {}

    def job(config):
        seen.update(config=config, cwd=Path.cwd())
        Path("kernel_meta").mkdir()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mindcv_hrnet.jobs.validate.validate", job)
    assert run_job("validate", ["--data_dir", "d", "--ckpt_path", "c.ckpt", "--ckpt_save_dir", "../r"]) == 0
    config = seen["config"]
    assert config.data.data_dir == f"{tmp_path}/d" and config.model.ckpt_path == f"{tmp_path}/c.ckpt"
    assert config.train.ckpt_save_dir == f"{tmp_path.parent}/r" and config.export.file_name == ""
    assert seen["cwd"] != tmp_path and not seen["cwd"].exists()
    assert Path.cwd() == tmp_path and list(tmp_path.iterdir()) == []


def test_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/somewhere")
    expected = {"": "", "a": f"{tmp_path}/a", "~/a": "/somewhere/a", "/a/../b": "/b"}
    assert {path: absolute(path) for path in expected} == expected
    config = parse_config(["--lr", "0.3"])
    assert with_absolute_paths(config).scheduler == config.scheduler


def test_a_home_of_nobody_is_a_user_error(capsys):
    assert run_job("validate", ["--data_dir", "~nosuchuser/x"]) == 2
    assert capsys.readouterr().err.startswith("error: ~nosuchuser/x: ")


def test_what_is_imported_is_never_searched_for_garbage():
    before = gc.get_freeze_count()
    with no_garbage():
        assert not gc.isenabled()
        imported = [[number] for number in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() >= before + len(imported)


def test_scratch_folder_goes_away_after_an_error():
    before = Path.cwd()
    with pytest.raises(ZeroDivisionError), scratch_folder():
        inside = Path.cwd()
        raise ZeroDivisionError
    assert Path.cwd() == before and not inside.exists()


# --- predict -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_predict_prints_ranked_classes(command, tiny_mindir, tmp_path, monkeypatch):
    import mindspore as ms

    path, network, metadata = tiny_mindir
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).resize((36, 36)).save("image.png")
    code, out, err = command("predict", "image.png", "--model", str(path), "--top", "2")
    assert (code, err) == (0, "")

    # floor(32 / 0.875) = 36: nothing to resize, the centre is cropped
    centre = np.array(Image.open("image.png"))[2:34, 2:34].astype(np.float32)
    batch = ((centre - metadata.mean) / metadata.std).transpose(2, 0, 1)[None]
    logits = network(ms.Tensor(batch, ms.float32)).asnumpy()[0].astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    first, second = np.argsort(-probabilities)[:2]
    ranked = "  ".join(f"{metadata.class_names[k]} {probabilities[k]:.4f}" for k in (first, second))
    assert out == f"image.png: {ranked}\n"


def test_predict_names_the_image_that_cannot_be_read(command, tiny_mindir, tmp_path):
    model = str(tiny_mindir[0])
    end = "error: 1 of 1 images could not be classified; the answers say why\n"
    row = f"{tmp_path}/no.png: error: it cannot be read (No such file or directory)\n"
    assert command("predict", model, f"{tmp_path}/no.png") == (3, row, end)
    (tmp_path / "bad.png").write_bytes(b"not an image")
    row = f"{tmp_path}/bad.png: error: it is not an image in a known format\n"
    assert command("predict", model, f"{tmp_path}/bad.png") == (3, row, end)


# --- as processes: nothing that MindSpore or the interpreter says at the end may reach the user ----------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "name", "code", "start"),
    [
        (["train.py", "--mode", "2"], "", 2, "error: command line: mode: '2' is not accepted; choices: 0, 1\n"),
        (["validate.py", "--ckpt_path"], "a.ckpt", 4, "error: {path}: cannot be read as a MindSpore checkpoint ("),
        (
            ["-m", "mindcv_hrnet", "predict", "x.png", "--model"],
            "a.mindir",
            4,
            "error: {path}: is no model file that export.py wrote (",
        ),
    ],
    ids=["recipe", "checkpoint", "MINDIR"],
)
def test_process_says_one_line(tmp_path, argv, name, code, start):
    path = tmp_path / name
    if name:
        path.write_bytes(b"garbage" * 100)
        argv = [*argv, str(path)]
    environment = {key: value for key, value in os.environ.items() if key != "GLOG_v"} | {"PYTHONPATH": str(ROOT)}
    program = argv if argv[0] == "-m" else [str(ROOT / argv[0]), *argv[1:]]
    result = subprocess.run(
        [sys.executable, *program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith(start.format(path=path)) and result.stderr.count("\n") == 1
    assert [child.name for child in tmp_path.iterdir()] == ([name] if name else [])


def test_log_lines_and_output_hold_any_file_name(capsys):
    import logging

    from mindcv_hrnet.cli import guarded

    def work():
        logging.getLogger("mindcv_hrnet").info("read %s", "a\nb\udc80")
        print("c\udc80")
        raise DataError("d\ne\udc80: no such file")

    assert guarded(work) == DataError.exit_code
    assert capsys.readouterr() == ("read a\\nb\\udc80\nc\\udc80\n", "error: d\\ne\\udc80: no such file\n")
