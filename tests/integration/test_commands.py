"""train.py, validate.py, export.py and predict, one process each."""

import csv
import json
import re
import signal
import subprocess
import time

import mindspore as ms
import numpy as np
import pytest

from integration.conftest import RECIPE, SHORT

pytestmark = pytest.mark.slow


def counts(text):
    """(correct top-1, correct top-5, images, loss) of a validation line."""
    found = re.search(r"^top-1 [\d.]+ % \((\d+)/(\d+)\)  top-5 [\d.]+ % \((\d+)/\d+\)  loss ([\d.]+)", text, re.M)
    top1, images, top5, loss = found.groups()
    return int(top1), int(top5), int(images), float(loss)


def test_a_run_folder_explains_itself(trained):
    run, outcome, stood_in = trained
    manifest = json.loads((run / "manifest.json").read_text())
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert sorted(file.name for file in run.iterdir()) == [
        "config.yaml",
        "events",
        "history.jsonl",
        "hrnet_w18_small-1.ckpt",
        "hrnet_w18_small-2.ckpt",
        "hrnet_w18_small-best.ckpt",
        "hrnet_w18_small-state-1.ckpt",
        "hrnet_w18_small-state-2.ckpt",
        "manifest.json",
        "metrics.csv",
        "run.log",
        "steps.csv",
    ]
    assert [entry["epoch"] for entry in manifest["checkpoints"]] == [1, 2]
    assert manifest["class_names"] == [str(digit) for digit in range(10)]
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "3"), ("2", "6")]
    assert float(rows[1]["train_loss"]) < float(rows[0]["train_loss"]) < 3
    assert list(stood_in.iterdir()) == []
    assert "Exception ignored" not in outcome.err and "Traceback" not in outcome.err
    weights = ms.load_checkpoint(str(run / "hrnet_w18_small-2.ckpt"))
    assert not [name for name in weights if "adam" in name or "loss_scale" in name]


def test_validation_counts_every_image_at_any_batch_size(trained, workplace):
    """In batches of 7 and, when the run was trained, of 32."""
    run, _, _ = trained
    outcome = workplace.run(
        *("validate.py", "-c", run / "config.yaml", "--ckpt_path", run / "hrnet_w18_small-2.ckpt"),
        *("--batch_size", "7"),
    )
    assert outcome.code == 0, outcome.err
    top1, top5, images, loss = counts(outcome.out)
    logged = list(csv.DictReader((run / "metrics.csv").open()))[-1]
    assert (images, f"{top1 / 1.3:.8g}", f"{top5 / 1.3:.8g}") == (130, logged["top1"], logged["top5"])
    assert loss == pytest.approx(float(logged["val_loss"]), abs=2e-5)


def test_exported_file_alone_classifies(trained, digits, workplace):
    run, _, _ = trained
    exported = workplace.folder / "small"
    outcome = workplace.run(
        *("export.py", "-c", run / "config.yaml", "--ckpt_path", run / "hrnet_w18_small-best.ckpt"),
        *("--file_format", "MINDIR", "--file_name", exported, "--data_dir", "/nowhere"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.last_line == f"{exported}.mindir"
    difference = re.search(r"largest relative difference (\S+)", outcome.out)
    assert float(difference.group(1)) < 1e-5
    images = sorted((digits / "val" / "3").iterdir())[:2]
    moved = workplace.folder / "elsewhere.mindir"
    (workplace.folder / "small.mindir").rename(moved)
    answer = workplace.run("mindcv_hrnet/__main__.py", "predict", "--model", moved, "--top", "2", *images)
    assert answer.code == 0, answer.err
    lines = answer.out.strip().splitlines()
    assert [line.split(": ")[0] for line in lines] == [str(image) for image in images]
    for line in lines:
        first, second = re.findall(r"(\d) (0\.\d{4})", line.split(": ")[1])
        assert float(first[1]) >= float(second[1])
    assert [file.name for file in workplace.folder.iterdir()] == ["elsewhere.mindir"]


def test_an_interrupted_run_resumes_to_the_same_weights(trained, digits, workplace):
    reference, _, _ = trained
    run = workplace.folder.parent / "resumed"
    command = ("train.py", "-c", RECIPE, "--data_dir", digits, "--ckpt_save_dir", run, *SHORT)
    process = subprocess.Popen(
        workplace.line(*command), cwd=workplace.folder, env=workplace.environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 200
    while not (run / "manifest.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    told = err.strip().splitlines()
    assert (process.returncode, told[0]) == (130, "SIGINT: finishing this step and saving; once more to stop at once")
    assert re.fullmatch(r"SIGINT: stopped after epoch \d, step \d, which is saved; go on with: .* True", told[1])

    outcome = workplace.run(*command, "--resume")
    assert outcome.code == 0, outcome.err
    expected = ms.load_checkpoint(str(reference / "hrnet_w18_small-state-2.ckpt"))
    found = ms.load_checkpoint(str(run / "hrnet_w18_small-state-2.ckpt"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name].asnumpy(), value.asnumpy(), err_msg=name)
    logged = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (reference, run)]
    for key in ("epoch", "step", "learning_rate", "train_loss", "top1", "val_loss"):
        assert [row[key] for row in logged[0]] == [row[key] for row in logged[1]], key
    assert [row["step"] for row in logged[1]] == ["3", "6"]
    assert [float(row["learning_rate"]) for row in logged[1]] == pytest.approx([7.525e-4, 7.6317e-5], rel=1e-4)


def test_half_precision_trains_in_pynative_mode(few_digits, workplace):
    run = workplace.folder.parent / "half"
    outcome = workplace.run(
        *("train.py", "-c", RECIPE, "--data_dir", few_digits, "--ckpt_save_dir", run, *SHORT, "--epoch_size", "1"),
        *("--num_samples", "40", "--batch_size", "16", "--mode", "1"),
        *("--amp_level", "O2", "--loss_scale_type", "dynamic", "--loss_scale", "1024"),
        *("--mixup", "0.2", "--cutmix", "1.0", "--re_prob", "0.5", "--auto_augment", "randaug-m7-mstd0.5"),
    )
    assert outcome.code == 0, outcome.err
    (row,) = csv.DictReader((run / "metrics.csv").open())
    assert 1.0 < float(row["train_loss"]) < 5.0
    assert int(row["skipped_updates"]) <= 1
