"""Figures about answers against numbers counted by hand."""

import numpy as np
import pytest

from mindcv_hrnet.engine.predictions import Predictions
from mindcv_hrnet.report.statistics import ClassRow, Pair, accuracy_among, class_rows, confused_pairs, spread_of

NAMES = ("ant", "bee", "cat", "dog")


@pytest.fixture
def answers():
    """Six images: ants taken for ant, bee, bee; bees for bee, cat; a cat for a cat. No dog."""
    labels = np.array([0, 0, 0, 1, 1, 2], np.int32)
    classes = np.array([[0, 1], [1, 0], [1, 2], [1, 0], [2, 1], [2, 3]], np.int32)
    probabilities = np.tile(np.array([[0.75, 0.25]], np.float32), (6, 1))
    return Predictions(labels, classes, probabilities, np.where(classes[:, 0] == labels, 0.75, 0.25))


def test_classes_lowest_first(answers):
    assert class_rows(answers, NAMES) == [
        ClassRow("ant", 3, 1, "bee", 2),
        ClassRow("bee", 2, 1, "cat", 1),
        ClassRow("cat", 1, 1, "", 0),
    ]
    assert [round(row.accuracy, 2) for row in class_rows(answers, NAMES)] == [33.33, 50.0, 100.0]


def test_pairs_most_frequent_first(answers):
    (first, second) = confused_pairs(answers, NAMES, 5)
    assert first[:3] == ("ant", "bee", 2) and first.share == pytest.approx(100 * 2 / 3)
    assert second == Pair("bee", "cat", 1, 50.0)
    assert confused_pairs(answers, NAMES, 1) == [first]


def test_nothing_confused():
    labels = np.arange(3, dtype=np.int32)
    right = Predictions(labels, labels[:, None], np.ones((3, 1), np.float32), np.ones(3, np.float32))
    assert confused_pairs(right, NAMES, 5) == []
    assert [row.mistakes for row in class_rows(right, NAMES)] == [0, 0, 0]


def test_accuracy_among_the_first(answers):
    # by hand: right at once are images 0, 3, 5; among two answers also 1 and 4
    assert accuracy_among(answers, 1) == pytest.approx(50.0)
    assert accuracy_among(answers, 2) == pytest.approx(100 * 5 / 6)
    assert accuracy_among(answers, 3) is None


def test_spread():
    assert spread_of(np.array([4, 0, 1, 9])) == (14, 3, 0, 2.5, 9)
