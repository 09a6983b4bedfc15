"""What validate says beside its scores, on a small network with random weights."""

import csv
import json
import os
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from observables import Sketch, sketched
from PIL import Image

from mindcv_hrnet.engine.predictions import Collector, Predictions, read_predictions
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.jobs.validate import validate
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.runtime.distributed import Cluster

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
COUNTS = (4, 3, 2, 2, 1, 3, 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with train and val splits, the same images in `other` under numbers, and `weights.ckpt`."""
    place, generator, number = tmp_path_factory.mktemp("validate"), np.random.default_rng(3), 0
    for label, (name, count) in enumerate(zip(CLASSES, COUNTS, strict=True)):
        for _ in range(count):
            number += 1
            shade = generator.integers(0, 256, 3)
            pixels = np.clip(generator.normal(shade, 40, (40, 44, 3)), 0, 255).astype(np.uint8)
            for folder in (f"train/{name}", f"val/{name}", f"other/n{label}"):
                (place / folder).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place / folder / f"ILSVRC2012_val_{number:08d}.png")
    ms.set_seed(0)
    entries = [{"name": name, "data": value} for name, value in Sketch(len(CLASSES), 3).parameters_dict().items()]
    # far apart, so that no answer is a matter of rounding
    for entry in entries:
        if entry["name"] == "classifier.weight":
            entry["data"] = ms.Tensor(entry["data"].asnumpy() * 4)
    ms.save_checkpoint(entries, str(place / "weights.ckpt"))
    return place


@pytest.fixture
def run(place, pynative, capsys):
    """A function (key=value, ...) -> (result of the job, what it printed)."""

    def measure(**settings):
        recipe = {
            "data_dir": place,
            "ckpt_path": place / "weights.ckpt",
            "image_resize": 32,
            "batch_size": 5,
            "mode": 1,
        }
        argv = [word for key, value in {**recipe, **settings}.items() for word in (f"--{key}", str(value))]
        with sketched():
            result = validate(parse_config(argv))
        return result, capsys.readouterr().out.splitlines()

    return measure


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predictions_of_every_image(run, place, tmp_path):
    result, _ = run(predictions=tmp_path / "answers.csv")
    rows = rows_of(tmp_path / "answers.csv")
    assert len(rows) == result.count == sum(COUNTS)
    assert [row["label"] for row in rows] == [
        name for name, count in zip(CLASSES, COUNTS, strict=True) for _ in range(count)
    ]
    assert sum(row["class1"] == row["label"] for row in rows) == result.correct1
    five = [[row[f"class{k}"] for k in range(1, 6)] for row in rows]
    assert sum(row["label"] in answers for row, answers in zip(rows, five, strict=True)) == result.correct5
    assert -np.mean(np.log([float(row["label_probability"]) for row in rows])) == pytest.approx(result.loss, abs=2e-3)
    assert all(float(row["probability1"]) >= float(row["probability2"]) for row in rows)
    assert rows[0]["image"] == str(place / "val/ant/ILSVRC2012_val_00000001.png")


def test_accuracy_of_each_class(run, tmp_path):
    result, out = run(per_class=True, predictions=tmp_path / "answers.csv")
    lines = out[1:]
    assert sorted(line.split()[0] for line in lines) == list(CLASSES)
    right = {name: 0 for name in CLASSES}
    for row in rows_of(tmp_path / "answers.csv"):
        right[row["label"]] += row["class1"] == row["label"]
    counts = dict(zip(CLASSES, COUNTS, strict=True))
    assert all(line.endswith(f"({right[line.split()[0]]}/{counts[line.split()[0]]})") for line in lines)
    shares = [float(line.split()[1]) for line in lines]
    assert shares == sorted(shares) and sum(right.values()) == result.correct1


def test_a_class_map_names_other_folders(run, tmp_path):
    expected, _ = run()
    (tmp_path / "map.json").write_text(json.dumps({f"n{k}": k for k in range(len(CLASSES))}))
    found, _ = run(val_split="other", class_map=tmp_path / "map.json")
    assert (found.correct1, found.correct5, found.count) == (expected.correct1, expected.correct5, expected.count)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"n0": 7}, "folder 'n0': the checkpoint has no class 7"),
        ({"n0": "ant"}, "folder 'n0': the checkpoint has no class 'ant'"),
        ({"n0": 1, "n1": 1}, "folders 'n0' and 'n1' stand for the same class 1"),
        ({"n0": True}, "the checkpoint has no class True"),
        ([1], "a class map is a JSON object"),
        ({f"n{k}": k for k in range(6)}, "'n6' is not among"),
    ],
)
def test_a_class_map_that_fits_nothing(run, tmp_path, content, message):
    (tmp_path / "map.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        run(val_split="other", class_map=tmp_path / "map.json")


def test_among_the_classes_that_are_there(run, place, tmp_path):
    (tmp_path / "map.json").write_text(json.dumps({"n2": 2, "n5": 5}))
    for folder in ("n2", "n5"):
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / folder).symlink_to(place / "other" / folder)
    settings = {"data_dir": tmp_path, "class_map": tmp_path / "map.json", "predictions": tmp_path / "answers.csv"}
    run(**settings, present_classes=True)
    assert {row["class1"] for row in rows_of(tmp_path / "answers.csv")} <= {"n2", "n5"}
    assert {row["class2"] for row in rows_of(tmp_path / "answers.csv")} <= {"n2", "n5"}
    assert all(float(row["probability3"]) == 0 for row in rows_of(tmp_path / "answers.csv"))
    run(**settings)
    assert not {row["class2"] for row in rows_of(tmp_path / "answers.csv")} <= {"n2", "n5"}


def test_several_right_answers(run, place, tmp_path):
    run(predictions=tmp_path / "answers.csv")
    answers = [CLASSES.index(row["class1"]) for row in rows_of(tmp_path / "answers.csv")]
    # the first three images have no right class, the next four the answer beside another one, the rest a wrong one
    real = [[]] * 3 + [[answer, 6 - answer] for answer in answers[3:7]] + [[(answer + 1) % 7] for answer in answers[7:]]
    (tmp_path / "real.json").write_text(json.dumps(real))
    _, out = run(real_labels=tmp_path / "real.json")
    assert out[1] == f"ReaL top-1 {100 * 4 / 14:.2f} % of 14 images"
    (tmp_path / "real.json").write_text(json.dumps(real[:5]))
    with pytest.raises(DataError, match="has no number from 1 to 5 in its name"):
        run(real_labels=tmp_path / "real.json")
    with pytest.raises(DataError, match=r"none\.json: cannot be read \(No such file"):
        run(real_labels=tmp_path / "none.json")


def test_ranks_put_their_answers_together(monkeypatch):
    logits = np.random.default_rng(0).standard_normal((6, 7))
    labels = np.arange(6)
    parts = [Collector(labels, 7), Collector(labels, 7)]
    parts[0].add(np.array([0, 2, 4]), logits[[0, 2, 4]])
    parts[1].add(np.array([1, 3, 5]), logits[[1, 3, 5]])
    alone = Collector(labels, 7)
    alone.add(np.arange(6), logits)
    other = np.concatenate([parts[1].classes, parts[1].probabilities, parts[1].label_probability[:, None]], 1).ravel()
    monkeypatch.setattr("mindcv_hrnet.engine.predictions.sum_over_ranks", lambda values, cluster: values + other)
    together, expected = parts[0].gather(Cluster(size=2)), None
    monkeypatch.undo()
    expected = alone.gather(Cluster())
    np.testing.assert_array_equal(together.classes, expected.classes)
    np.testing.assert_array_equal(together.probabilities, expected.probabilities)
    np.testing.assert_array_equal(together.label_probability, expected.label_probability)


def test_a_file_whose_name_is_not_utf_8(tmp_path):
    one = np.ones((1, 1), np.float32)
    answers = Predictions(np.zeros(1, np.int32), np.zeros((1, 1), np.int32), one, one[0])
    answers.write(tmp_path / "p.csv", SimpleNamespace(class_names=("a",), path=lambda index: os.fsdecode(b"\xff.png")))
    assert rows_of(tmp_path / "p.csv")[0]["image"] == "\\udcff.png"
    found = read_predictions(tmp_path / "p.csv", ("a",))
    assert found.files == ["\\udcff.png"] and found.predictions.correct.tolist() == [True]


def test_confusion_and_calibration():
    labels = np.array([0, 0, 1, 1], np.int32)
    classes = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], np.int32)
    probabilities = np.array([[0.9, 0.1], [0.75, 0.25], [0.55, 0.45], [1.0, 0.0]], np.float32)
    found = Predictions(labels, classes, probabilities, np.array([0.9, 0.25, 0.55, 1.0], np.float32))
    assert found.confusion(3).tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert [part.tolist() for part in found.accuracy_of_classes(3)] == [[2, 2, 0], [1, 2, 0]]
    assert found.worst(5).tolist() == [1]
    calibration = found.calibration()
    assert calibration.counts.tolist() == [0] * 8 + [1, 0, 0, 1, 0, 1, 1]
    # by hand: |0.9 - 1|, |0.75 - 0|, |0.55 - 1| and |1 - 1|, a quarter each
    assert calibration.error == pytest.approx((0.1 + 0.75 + 0.45 + 0.0) / 4, abs=1e-6)


def test_for_machines_the_scores_are_an_event(run, caplog):
    with caplog.at_level("INFO", "mindcv_hrnet"):
        result, printed = run(log_format="json", per_class=True)
    assert printed == []
    (told,) = [record.event for record in caplog.records if getattr(record, "event", None)]
    assert (told["kind"], told["top1"], told["images"]) == ("validation", result.top1, sum(COUNTS))
    assert any("gnu" in line for line in caplog.messages)
