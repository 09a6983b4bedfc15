"""Answers as text: every format holds the same, and a damaged image is a row."""

import csv
import json

import pytest

from mindcv_hrnet.deploy.classifier import Prediction
from mindcv_hrnet.deploy.rows import FORMATS

ANSWERS = [
    Prediction("a.png", ("cat", 'sea "lion"'), (0.75, 0.125), (2, 0)),
    Prediction("long/name, b.png", error="it is truncated"),
    Prediction("c.png", ("sea lion", "bée"), (0.5, 0.25), (0, 1)),
]


def text(name, answers=ANSWERS):
    return "\n".join(FORMATS[name](iter(answers), [each.image for each in answers], 2))


def test_table():
    assert text("table").splitlines() == [
        'a.png:            cat 0.7500  sea "lion" 0.1250',
        "long/name, b.png: error: it is truncated",
        "c.png:            sea lion 0.5000  bée        0.2500",
    ]


def test_csv():
    header, first, second, third = csv.reader(text("csv").splitlines())
    assert header == ["image", "label1", "probability1", "label2", "probability2", "error"]
    assert first == ["a.png", "cat", "0.750000", 'sea "lion"', "0.125000", ""]
    assert second == ["long/name, b.png", "", "", "", "", "it is truncated"]
    assert third[3] == "bée"


def test_json():
    whole = json.loads(text("json"))
    assert whole == [json.loads(line) for line in text("jsonl").splitlines()]
    assert whole[0]["predictions"][1] == {"class": 0, "label": 'sea "lion"', "probability": 0.125}
    assert whole[1] == {"image": "long/name, b.png", "error": "it is truncated"}
    assert json.loads(text("json", [])) == []


@pytest.mark.parametrize("name", ["table", "csv", "jsonl"])
def test_no_row_waits_for_the_next_image(name):
    def answers():
        yield ANSWERS[0]
        raise ZeroDivisionError

    rows = FORMATS[name](answers(), ["a.png"], 2)
    if name == "csv":
        assert next(rows).startswith("image,")
    assert "cat" in next(rows)
    with pytest.raises(ZeroDivisionError):
        next(rows)
