"""A short form of the proof at length: processes that are killed in earnest, on a network that compiles in a second."""

import os
import re
import subprocess
import sys

import pytest
from repository import ROOT


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_as_the_one_that_is_left_alone():
    job = (str(ROOT / "tests/helpers/sketch_job.py"), "train")
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "scripts/chaos.py"),
            "--kills",
            "2",
            "--epochs",
            "1",
            "--longest",
            "5",
            "--job",
            *job,
        ],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("^kill ", done.stdout, re.M)) == 2
    assert re.search(r"2 kills in (\d) runs on 1 rank\(s\): \1 of \1 runs equal the reference", done.stdout)
