"""The figure of the page is that of its figures."""

import importlib
import json
import sys

import pytest
from repository import ROOT, SCRIPTS

SOURCE = ROOT / "docs/benchmark.json"


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A function that draws such a file and returns the SVG."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script, target = importlib.import_module("draw_benchmark"), tmp_path / "benchmark.svg"

    def draw(source):
        monkeypatch.setattr(sys, "argv", ["draw_benchmark.py", str(source), str(target)])
        script.main()
        return target.read_text()

    return draw


def test_the_figure_shows_the_file(drawn):
    assert drawn(SOURCE) == (ROOT / "docs/benchmark.svg").read_text()
    assert drawn(SOURCE).count("<rect") == 1 + 3 + 3 * len(sys.modules["draw_benchmark"].ROWS)


def without(peers, measures):
    """The page's file as if it had been measured without these peers and measures."""
    found = json.loads(SOURCE.read_text())
    rows = {name: row for name, row in found["table"].items() if not name.startswith(measures)}
    return found | {"table": {name: {who: row[who] for who in row if who not in peers} for name, row in rows.items()}}


@pytest.mark.parametrize(
    "peers, measures, bars", [(("mindcv",), ("-",), 2 * 6), ((), ("forward",), 3 * 4), (("mindcv", "timm"), ("-",), 6)]
)
def test_what_was_not_measured_is_left_out(drawn, tmp_path, peers, measures, bars):
    source = tmp_path / "benchmark.json"
    source.write_text(json.dumps(without(peers, measures)))
    svg = drawn(source)
    assert svg.count("<rect") == 1 + (3 - len(peers)) + bars
    height = 40 + bars // (3 - len(peers)) * ((3 - len(peers)) * 12 + 16)
    assert f'viewBox="0 0 720 {height}"' in svg


@pytest.mark.parametrize(
    "content, problem",
    [
        (b"", "not what benchmark.py writes, or damaged"),
        (SOURCE.read_bytes()[:700], "not what benchmark.py writes, or damaged"),
        (b"\xff\xfe{", "not what benchmark.py writes, or damaged"),
        (b"[" * 100_000, "not what benchmark.py writes, or damaged"),
        (b"[1]", "not what benchmark.py writes, or damaged"),
        (b'{"table": {"step_s": {"ours": {"median": null}}}}', "not what benchmark.py writes, or damaged"),
        (b'{"table": {"step_s": {"ours": {"median": 0}}}}', "not what benchmark.py writes, or damaged"),
        (b'{"table": {}, "settings": {"model": "x"}}', "has none of the measures that are drawn: first_start_s, "),
    ],
)
def test_a_file_that_cannot_be_drawn_costs_one_line(drawn, tmp_path, content, problem):
    source = tmp_path / "benchmark.json"
    source.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        drawn(source)
    assert ended.value.code.startswith(f"error: {source}: {problem}") and "\n" not in ended.value.code
    assert list(tmp_path.iterdir()) == [source]


def test_the_file_is_not_drawn_over(drawn, tmp_path, capsys):
    source = tmp_path / "benchmark.svg"
    source.write_bytes(SOURCE.read_bytes())
    with pytest.raises(SystemExit):
        drawn(source)
    assert "is the file to read; name another one to write" in capsys.readouterr().err
    assert source.read_bytes() == SOURCE.read_bytes()


def test_a_file_that_is_not_there(drawn, tmp_path):
    with pytest.raises(SystemExit, match=f"error: {tmp_path}/x.json: No such file or directory"):
        drawn(tmp_path / "x.json")


@pytest.mark.parametrize("measure, most", [("first_start_s", 0.8), ("second_start_s", 0.25), ("step_s", 1.0)])
def test_the_page_keeps_its_promises(measure, most):
    """Beside MindCV, in the file that the page was written from."""

    cell = json.loads((ROOT / "docs/benchmark.json").read_text())["table"][measure]["mindcv"]
    assert cell["ratio"] <= most
    assert f"| {cell['ratio']:.2f} |" in (ROOT / "docs/performance.md").read_text()
