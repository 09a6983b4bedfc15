"""scripts/measure_start.py, with fewer images."""

import importlib

import pytest
from repository import SCRIPTS


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("measure_start")


@pytest.mark.slow
def test_the_second_start_reads_the_list_of_the_first(script, tmp_path):
    images, folders = 24_000, 100
    script.make_tree(tmp_path, images, folders)
    first, second = (script.run(tmp_path, tmp_path / "cache", mindspore=False) for _ in range(2))
    assert first["images"] == second["images"] == images
    # the split is listed for its classes, the folders of the classes only in the first start
    assert first["folders_listed"] == second["folders_listed"] + folders and second["folders_listed"] < 5
    assert second["opened_s"] <= second["first_batch_s"] < 3
    assert second["peak_mb"] - second["bare_mb"] < 300


def test_impossible_numbers_are_refused(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["measure_start.py", "--images", "10", "--folders", "20"])
    with pytest.raises(SystemExit):
        script.main()
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: --folders: from 2 to as many as --images")
