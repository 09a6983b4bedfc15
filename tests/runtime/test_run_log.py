"""run.log: lines from before the folder was there, lines after it is gone, and the error at the end."""

import logging
import re
import shutil

import pytest

from mindcv_hrnet.errors import DataError
from mindcv_hrnet.runtime.run_log import RunLog

LOGGER = logging.getLogger("mindcv_hrnet.somewhere")


@pytest.fixture(autouse=True)
def _everything():
    logging.getLogger("mindcv_hrnet").setLevel(logging.INFO)


def lines(path):
    found = path.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in found)
    return [line[20:] for line in found]


def test_lines_and_the_error(tmp_path):
    before = logging.getLogger("mindcv_hrnet").handlers[:]
    with pytest.raises(DataError), RunLog() as log:
        LOGGER.info("before the folder")
        log.open(tmp_path / "run.log")
        LOGGER.warning("x.jpg: damaged")
        raise DataError("too many")
    assert lines(tmp_path / "run.log") == ["before the folder", "x.jpg: damaged", "error: too many"]
    assert logging.getLogger("mindcv_hrnet").handlers == before


def test_a_defect_leaves_its_traceback(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLog() as log:
        log.open(tmp_path / "run.log")
        1 / 0  # noqa: B018
    text = (tmp_path / "run.log").read_text()
    assert "ZeroDivisionError: division by zero" in text and "Traceback" in text


def test_ranks_append_to_one_file(tmp_path):
    for rank in (0, 1):
        with RunLog(rank) as log:
            log.open(tmp_path / "run.log")
            LOGGER.info("here")
    assert lines(tmp_path / "run.log") == ["here", "[rank 1] here"]


def test_a_folder_that_is_missing_or_removed_costs_lines_only(tmp_path, capfd):
    with RunLog() as log:
        log.open(tmp_path / "nowhere" / "run.log")
    (tmp_path / "run").mkdir()
    with RunLog() as log:
        log.open(tmp_path / "run/run.log")
        shutil.rmtree(tmp_path / "run")
        LOGGER.info("lost")
        (tmp_path / "run").mkdir()
        LOGGER.info("kept")
    assert lines(tmp_path / "run/run.log") == ["kept"]
    assert capfd.readouterr().err == ""
