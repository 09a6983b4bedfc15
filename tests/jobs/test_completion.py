"""What a shell completes: asked of bash itself, with the script that the command prints."""

import importlib.util
import subprocess

import pytest

from mindcv_hrnet.cli import main, parsers, summaries
from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.jobs import completion
from mindcv_hrnet.models.variants import VARIANTS
from mindcv_hrnet.recipe.shelf import recipe_names

ASK = """
ask() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_mindcv_hrnet 2>/dev/null; echo "${COMPREPLY[*]}"
}
"""
IN_BASH = {
    "ask mindcv-hrnet ''": list(summaries()),
    "ask mindcv-hrnet train -c ''": [*recipe_names(), "mine.yaml", "photos"],
    "ask mindcv-hrnet train -c mi": ["mine.yaml"],
    "ask mindcv-hrnet train --model ''": list(VARIANTS),
    "ask mindcv-hrnet train --ema ''": ["True", "False"],
    "ask mindcv-hrnet train --opt ada": ["adam", "adamw", "adagrad"],
    "ask mindcv-hrnet train --freeze stem b": ["backbone", "bn"],
    "ask mindcv-hrnet train --data_dir ph": ["photos"],
    "ask mindcv-hrnet train --data_dir photos --lr": ["--lr", "--lr_epoch_stair"],
    "ask mindcv-hrnet validate --lr": [],
    "ask mindcv-hrnet predict --model mi": ["mine.yaml"],
    "ask mindcv-hrnet predict --format c": ["csv"],
    "ask mindcv-hrnet new mine.yaml --from hrnet_w32_f": ["hrnet_w32_finetune"],
    "ask mindcv-hrnet completion ''": list(completion.SHELLS),
}


def test_bash_completes(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    (tmp_path / "photos").mkdir()
    (tmp_path / "mine.yaml").touch()
    done = subprocess.run(
        ["bash", "-c", "\n".join((capsys.readouterr().out, ASK, *IN_BASH))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert dict(zip(IN_BASH, map(str.split, done.stdout.splitlines()), strict=True)) == IN_BASH


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("zsh", ["#compdef mindcv-hrnet", f"  compadd -- {' '.join(recipe_names())}"]),
        ("fish", [f'-l config -xka "{" ".join(recipe_names())} (__fish_complete_suffix .yaml)"']),
    ],
)
def test_other_shells(capsys, shell, lines):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for line in [*lines, *summaries().values(), *VARIANTS]:
        assert line in script


def test_without_the_generator(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^completion needs the package 'shtab'; pip install 'mindcv-hrnet\[comple"):
        completion.script("bash", parsers(), summaries(), ())
