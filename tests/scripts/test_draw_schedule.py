"""The drawn learning rate is that of the published recipe."""

import re
import subprocess
import sys

import pytest
from repository import ROOT

DRAWING = ROOT / "docs/learning_rate.svg"


def test_the_committed_drawing_is_the_scripts(tmp_path):
    recipe, out = ROOT / "configs/hrnet/hrnet_w32_ascend.yaml", tmp_path / "a.svg"
    command = [sys.executable, str(ROOT / "scripts/draw_schedule.py"), str(recipe), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    assert out.read_text() == DRAWING.read_text()


def test_its_curve_starts_at_zero_peaks_after_the_warmup_and_ends_at_min_lr():
    text = DRAWING.read_text()
    assert "300 epochs of 1251 steps, global batch 1024" in text
    points = [tuple(map(float, point.split(","))) for point in re.search(r'points="([^"]+)"', text)[1].split()]
    # the axes: epochs 0 to 300 at x 84 to 734, rates 0 to 0.001 at y 262 to 56
    curve = [((x - 84) / 650 * 300, (262 - y) / 206 * 1e-3) for x, y in points]
    assert curve[0] == (0, 0) and curve[-1] == pytest.approx((300, 1e-5), abs=1e-2)
    peak = max(curve, key=lambda point: point[1])
    assert peak[0] == pytest.approx(20, abs=0.05) and peak[1] == pytest.approx(1e-3, abs=1e-9)
    middle = min(curve, key=lambda point: abs(point[0] - 160))
    assert middle[1] == pytest.approx(5.05e-4, abs=5e-6)
