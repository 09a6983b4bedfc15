"""What goes wrong for users ends in one line that names the place and the remedy, and in an exit code."""

import resource
import shutil

import pytest

from integration.conftest import RECIPE, SHORT, mpirun

pytestmark = pytest.mark.slow


def one_line(outcome):
    """The only line on stderr."""
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    return lines[0]


def test_missing_data_dir(workplace):
    outcome = workplace.run("train.py", "-c", RECIPE, "--data_dir", "nowhere")
    assert outcome.code == 3
    assert one_line(outcome).startswith(f"error: {workplace.folder}/nowhere: no such folder; ")


def test_distribute_without_a_launcher_runs_standalone_and_says_so_once(trained, workplace):
    run, _, _ = trained
    outcome = workplace.run(
        *("validate.py", "-c", run / "config.yaml", "--ckpt_path", run / "hrnet_w18_small-1.ckpt"),
        *("--distribute", "True", "--mode", "1", "--batch_size", "120"),
    )
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("distribute is True, but no launcher") == 1


@pytest.mark.ranks
def test_a_launcher_without_distribute_is_refused(digits, workplace):
    outcome = workplace.run(
        *("train.py", "-c", RECIPE, "--data_dir", digits, "--distribute", "False"), launcher=mpirun(2)
    )
    assert outcome.code == 2
    assert "error: mpirun started 2 processes, but distribute is False; " in outcome.err


@pytest.mark.parametrize(
    "device, missing", [("Ascend", "CANN's environment is not set"), ("GPU", "no GPU driver here")]
)
def test_a_device_that_does_not_work_says_what_is_missing(device, missing, digits, workplace):
    outcome = workplace.run("train.py", "-c", RECIPE, "--data_dir", digits, "--device_target", device)
    assert outcome.code == 2
    assert one_line(outcome).startswith(f"error: device_target {device} does not work here: ")
    assert missing in one_line(outcome)


def test_disk_full_leaves_earlier_checkpoints(trained, digits, workplace):
    finished, _, _ = trained
    run = workplace.folder.parent / "full"
    shutil.copytree(finished, run)
    before = {file.name: file.read_bytes() for file in run.glob("*.ckpt")}
    limit = 10_000_000  # bytes per file, where weights have 45 million
    outcome = workplace.run(
        *("train.py", "-c", run / "config.yaml", "--ckpt_save_dir", run, "--epoch_size", "3", "--mode", "1"),
        *("--resume_opt", "True", "--ckpt_path", run),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert outcome.code == 5
    assert one_line(outcome).startswith(f"error: {run}/hrnet_w18_small-3.ckpt: cannot be written (File too large); ")
    assert {file.name: file.read_bytes() for file in run.glob("*.ckpt")} == before
    assert not list(run.glob(".*"))
    assert "3.ckpt: cannot be written (File too large); " in outcome.out
    assert "Training goes on, and tries again in 30 s" in outcome.out


def test_a_used_run_folder_is_not_overwritten(trained, digits, workplace):
    run, _, _ = trained
    outcome = workplace.run("train.py", "-c", RECIPE, "--data_dir", digits, "--ckpt_save_dir", run, *SHORT)
    assert outcome.code == 5
    assert one_line(outcome).startswith(f"error: {run}: holds a run already (2 checkpoints); ")


def test_checkpoint_of_another_variant(trained, digits, workplace):
    run, _, _ = trained
    outcome = workplace.run(
        *("validate.py", "-c", run / "config.yaml", "--ckpt_path", run / "hrnet_w18_small-1.ckpt"),
        *("--model", "hrnet_w18_small_v2"),
    )
    assert outcome.code == 4
    assert one_line(outcome).endswith(
        ".ckpt: these are weights of hrnet_w18_small, not of hrnet_w18_small_v2: --model hrnet_w18_small"
    )


def test_resuming_with_another_global_batch_is_refused(trained, workplace):
    run, _, _ = trained
    outcome = workplace.run(
        *("train.py", "-c", run / "config.yaml", "--ckpt_save_dir", run, "--epoch_size", "3", "--batch_size", "16"),
        *("--resume_opt", "True", "--ckpt_path", run),
    )
    assert outcome.code == 5
    assert one_line(outcome) == (
        f"error: {run}/hrnet_w18_small-state-2.ckpt: was saved with a global batch of 32 and 3 steps an epoch, here "
        "they are 16 and 6; "
        "resume with the same data set and the same global batch size (batch_size x ranks)"
    )
