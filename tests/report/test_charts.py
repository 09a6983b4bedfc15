"""Charts: round numbers on the axes, points where they belong, names that are text."""

import re

import numpy as np
import pytest

from mindcv_hrnet.engine.predictions import Predictions
from mindcv_hrnet.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Series,
    histogram,
    line_chart,
    number,
    reliability_chart,
    ticks_between,
)


@pytest.mark.parametrize(
    ("low", "high", "most", "whole", "expected"),
    [
        (0, 100, 5, False, (0, 20, 40, 60, 80, 100)),
        (0.83, 2.6, 5, False, (1, 1.5, 2, 2.5)),
        (1, 6, 7, True, (1, 2, 3, 4, 5, 6)),
        (1, 300, 7, True, (50, 100, 150, 200, 250, 300)),
        (1, 2, 7, True, (1, 2)),
        (1e-6, 1e-3, 5, False, (0.0002, 0.0004, 0.0006, 0.0008, 0.001)),
    ],
)
def test_round_numbers(low, high, most, whole, expected):
    assert ticks_between(low, high, most, whole=whole) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (98.333333, "98.33"), (12345.6, "12,346"), (0.0008, "8e-4"), (1.23456e-5, "1.235e-5"), (0.05, "0.05")],
)
def test_numbers_are_short(value, expected):
    assert number(value) == expected


def points_of(svg):
    (text,) = re.findall(r'points="([^"]*)"', svg)
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def test_points_stand_where_their_numbers_are():
    chart = line_chart([Series("a", np.array([1.0, 2, 3]), np.array([0.0, 50, 100]))], "A", "epoch", limits=(0, 100))
    left, right, low, high = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP
    assert points_of(chart) == [(left, low), ((left + right) / 2, (low + high) / 2), (right, high)]
    assert "epoch 2\na: 50" in chart and 'aria-label="A. A by epoch: a from 0 to 100."' in chart


def test_what_was_not_measured_is_no_point():
    chart = line_chart([Series("a", np.arange(1.0, 5), np.array([5, np.nan, np.nan, 8]))], "A", "epoch")
    assert len(points_of(chart)) == 2 and chart.count("<title>") == 2


def test_one_point_alone():
    chart = line_chart([Series("a", np.array([1.0]), np.array([0.0]))], "A", "epoch")
    assert len(points_of(chart)) == 1 and "nan" not in chart


def test_many_points_become_means():
    x = np.arange(1, 10 * MOST_POINTS + 1, dtype=float)
    chart = line_chart([Series("a", x, np.where(x % 2, 4.0, 2.0))], "A", "step")
    assert len(points_of(chart)) == MOST_POINTS
    assert {y for _, y in points_of(chart)} == {points_of(chart)[0][1]}


def test_names_are_text():
    chart = line_chart([Series("<script>", np.array([1.0, 2]), np.array([1.0, 2]))], '"><b>', "epoch")
    assert "<script" not in chart and "<b>" not in chart and "&lt;script&gt;" in chart


def test_reliability_has_a_bar_for_each_bin_with_answers():
    labels = np.array([0, 0, 1, 1], np.int32)
    classes = np.array([[0], [1], [0], [0]], np.int32)
    probabilities = np.array([[0.9], [0.75], [0.55], [1.0]], np.float32)
    chart = reliability_chart(Predictions(labels, classes, probabilities, probabilities[:, 0]).calibration(), "R")
    assert chart.count('class="bin"') == 4
    assert "confidence 0.87 to 0.93\n1 answers (25.0 %)\nmean confidence 0.900\naccuracy 1.000" in chart


def test_histogram_counts():
    chart = histogram(np.array([1, 1, 9]), np.array([0.0, 5, 10]), "H", "images", "classes")
    assert re.findall(r"<title>(.*?)</title>", chart) == ["0 to 5: 2 classes", "5 to 10: 1 classes"]
