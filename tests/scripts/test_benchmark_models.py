"""scripts/benchmark_models.py: a line for each file, and one line for what is none."""

import importlib
import sys

import pytest
from repository import ROOT, SCRIPTS
from tiny_onnx import write_tiny_onnx


@pytest.fixture
def timed(monkeypatch):
    """A function that runs the script's `main` with these words."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = importlib.import_module("benchmark_models")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["benchmark_models.py", *map(str, words)])
        script.main()

    return run


def test_files_of_one_name_are_two(timed, tmp_path, capsys):
    files = [tmp_path / folder / "model.onnx" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        write_tiny_onnx(file)
    timed(*files, "--batch", 1, 2, "--rounds", 2, "--size", 32)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [line[:2] for line in lines] == [[size, str(file)] for size in ("1", "2") for file in files]
    assert all(float(line[-1]) == 0 and float(line[-2]) > 0 for line in lines)


@pytest.mark.parametrize(
    "file, message", [("no.onnx", "No such file or directory"), ("README.md", "ONNX Runtime refuses it")]
)
def test_what_is_no_model_costs_one_line(timed, file, message):
    with pytest.raises(SystemExit) as ended:
        timed(ROOT / file)
    assert ended.value.code.startswith(f"error: {ROOT / file}: {message}") and "\n" not in ended.value.code


def test_no_rounds_are_refused(timed, capsys):
    with pytest.raises(SystemExit):
        timed("x.onnx", "--rounds", 0)
    assert "--rounds and --size begin at 1" in capsys.readouterr().err
