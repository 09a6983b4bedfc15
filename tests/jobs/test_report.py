"""The report evaluates what `validate` evaluates, on a small network with random weights."""

import csv
import hashlib
import json
import re

import mindspore as ms
import numpy as np
import pytest
from made_up_runs import MODEL, write_run
from observables import Sketch, sketched
from PIL import Image

from mindcv_hrnet.cli import main
from mindcv_hrnet.jobs import report
from mindcv_hrnet.jobs.validate import validate
from mindcv_hrnet.recipe.config import parse_config

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def run(tmp_path, pynative):
    """A run folder with weights, and beside it its data set of seven noisy images a class."""
    for split in ("train", "val"):
        for label, name in enumerate(CLASSES):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(7):
                pixels = np.random.default_rng([label, number]).integers(0, 256, (40, 44, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / split / name / f"{number}.png")
    settings = ("--image_resize", "32", "--batch_size", "5", "--mode", "1")
    folder = write_run(tmp_path / "run", CLASSES, data_dir=tmp_path / "data", settings=settings)
    weights = folder / f"{MODEL}-best.ckpt"
    ms.save_checkpoint(Sketch(len(CLASSES), 3), str(weights))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["best"] |= {"size": weights.stat().st_size, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write(*words):
    with sketched():
        report.run(report.parse([str(word) for word in words]))


def test_it_evaluates_as_validate_does(run, tmp_path, capsys):
    write(run)
    path = run / "report.html"
    assert re.fullmatch(r"(.*)/report\.html: 0\.\d MB; open it in a browser\n", capsys.readouterr().out)[1] == str(run)
    text = path.read_text(encoding="utf-8")
    argv = ["-c", run / "config.yaml", "--ckpt_path", run, "--predictions", tmp_path / "answers.csv"]
    with sketched():
        result = validate(parse_config([str(word) for word in argv]))
    assert f'<td class="n">0.7</td><td class="n">0.5333</td><td class="n">{result.loss:.4g}</td>' in text
    assert f'<td class="n">{result.top1:.2f} %</td></tr>' in text
    # the same page, but for the loss, from what validate has written
    write(run, "--predictions", tmp_path / "answers.csv", "--out", tmp_path / "b.html")
    again = (tmp_path / "b.html").read_text(encoding="utf-8")
    parts = [
        re.findall(r'<section id="run1-(?:classes|confusion|calibration)".*?</section>', each, re.S)
        for each in (text, again)
    ]
    assert parts[0] == parts[1] and len(parts[0]) == 3
    with open(tmp_path / "answers.csv", newline="", encoding="utf-8") as file:
        wrong = [each for each in csv.DictReader(file) if each["class1"] != each["label"]]
    assert text.count("data:image/jpeg") == again.count("data:image/jpeg") == len(wrong) > 0


def test_a_data_set_that_has_moved(run, tmp_path):
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    write(run, "--data_dir", tmp_path / "elsewhere", "--out", tmp_path / "a.html")
    assert f"21 images in {tmp_path}/elsewhere/val" in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("breaks", "code", "message"),
    [
        (lambda run: run.rename(run.parent / "gone"), 4, "{run}: no such folder; pass the folder of a run"),
        (lambda run: (run / "manifest.json").write_text("{"), 4, "{run}/manifest.json: not a manifest of a run"),
        (lambda run: (run / "metrics.csv").write_text("x"), 5, "{run}/metrics.csv: not the metrics of a run"),
        (lambda run: (run / "metrics.csv").unlink(), 5, "{run}: the run has not finished an epoch yet"),
        (lambda run: (run / f"{MODEL}-best.ckpt").write_bytes(b"x"), 4, "{run}/hrnet_w18_small-best.ckpt: is damaged"),
        (lambda run: (run / "report.html").mkdir(), 5, "{run}/report.html: is a folder"),
    ],
)
def test_bad_input_is_one_line(run, capsys, breaks, code, message):
    breaks(run)
    with sketched():
        assert main(["report", str(run)]) == code
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message.format(run=run)}") and err.count("\n") == 1 and out.count("\n") <= 1
