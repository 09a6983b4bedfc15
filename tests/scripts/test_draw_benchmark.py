"""The figure of the page is that of its figures."""

import importlib
import json
import sys

import pytest
from repository import ROOT


def test_the_figure_shows_the_file(tmp_path, monkeypatch):
    draw = importlib.import_module("draw_benchmark")
    out = tmp_path / "benchmark.svg"
    monkeypatch.setattr(sys, "argv", ["draw_benchmark.py", str(ROOT / "docs/benchmark.json"), str(out)])
    draw.main()
    assert out.read_text() == (ROOT / "docs/benchmark.svg").read_text()
    assert out.read_text().count("<rect") == 1 + 3 + 3 * len(draw.ROWS)


@pytest.mark.parametrize("measure, most", [("first_start_s", 0.8), ("second_start_s", 0.25), ("step_s", 1.0)])
def test_the_page_keeps_its_promises(measure, most):
    """Beside MindCV, in the file that the page was written from."""

    cell = json.loads((ROOT / "docs/benchmark.json").read_text())["table"][measure]["mindcv"]
    assert cell["ratio"] <= most
    assert f"| {cell['ratio']:.2f} |" in (ROOT / "docs/performance.md").read_text()
