"""What is read of a run folder, and how damage is told."""

import numpy as np
import pytest
from made_up_runs import write_run

from mindcv_hrnet.errors import CheckpointError, ConfigError, RunError
from mindcv_hrnet.report.run_files import read_columns, read_run, read_runs

NAMES = ("ant", "bee")


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", NAMES)


def test_best_row_and_cells(folder):
    run = read_run(folder, "run")
    assert run.best_row == 3 and run.cell("top1", 3) == 90.0 and run.cell("no_such", 3) is None
    assert run.weights.file == "hrnet_w18_small-best.ckpt" and run.remarks == []
    assert run.starts[0]["versions"] == {"mindspore": "2.10.0"}


def test_a_run_that_was_not_validated(folder):
    rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    (folder / "metrics.csv").write_text(
        "\n".join(",".join([*row[:7], "", "", "", *row[10:]]) for row in rows[1:]) + "\n"
    )
    (folder / "metrics.csv").write_text(",".join(rows[0]) + "\n" + (folder / "metrics.csv").read_text())
    run = read_run(folder, "run")
    assert run.best_row is None and run.cell("top1", run.best_row) is None


def test_columns_of_any_name_sorted_by_epoch(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,new\n2,5\n1,\n")
    columns = read_columns(tmp_path / "metrics.csv", "epoch")
    assert columns["epoch"].tolist() == [1, 2] and np.isnan(columns["new"][0]) and columns["new"][1] == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not the metrics of a run"),
        ("epoch,a\n", "no row"),
        ("a,b\n1,2\n", "no column 'epoch'"),
        ("epoch,a\n1,2\n2\n", "line 3 has 1 cells, not 2"),
        ("epoch,a\n1,two\n", "line 2, a: 'two' is no number"),
        ("epoch,a\n1,2\n1,3\n", "epochs are missing or stand twice"),
        ("\x00\xff", "not the metrics of a run"),
    ],
)
def test_damaged_metrics(tmp_path, text, message):
    (tmp_path / "metrics.csv").write_text(text, encoding="latin-1")
    with pytest.raises(RunError, match=message) as error:
        read_columns(tmp_path / "metrics.csv", "epoch")
    assert str(error.value).startswith(f"{tmp_path / 'metrics.csv'}: ")


def test_damaged_history_is_a_remark(folder):
    (folder / "history.jsonl").write_text("[1]\n" + (folder / "history.jsonl").read_text() + '{"when"')
    run = read_run(folder, "run")
    assert len(run.starts) == 1
    assert run.remarks == [f"Line {line} of history.jsonl is damaged, and left out." for line in (1, 3)]
    (folder / "history.jsonl").unlink()
    assert "history.jsonl cannot be read (No such file or directory)" in read_run(folder, "run").remarks[0]


def test_what_is_no_run(tmp_path, folder):
    with pytest.raises(CheckpointError, match="no such folder; pass the folder of a run"):
        read_run(tmp_path / "none", "none")
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        read_run(tmp_path, "tmp")
    (folder / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"has no config\.yaml"):
        read_run(folder, "run")
    (folder / "metrics.csv").unlink()
    with pytest.raises(RunError, match="has not finished an epoch yet"):
        read_run(folder, "run")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a manifest of a run"):
        read_run(folder, "run")


def test_several_runs(tmp_path, folder):
    other = write_run(tmp_path / "more" / "run", NAMES)
    assert [run.name for run in read_runs([str(folder), str(other)])] == [f"{tmp_path.name}/run", "more/run"]
    with pytest.raises(ConfigError, match="a run folder is named twice"):
        read_runs([str(folder), f"{folder}/../run"])
    foreign = write_run(tmp_path / "foreign", NAMES, model="hrnet_w18")
    with pytest.raises(
        ConfigError, match=r"is a run of hrnet_w18, .* one of hrnet_w18_small; compare runs of one model"
    ):
        read_runs([str(folder), str(foreign)])
