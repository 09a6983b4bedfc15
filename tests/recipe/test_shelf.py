"""Recipes that come with the package go by name."""

import os

import pytest
import yaml
from repository import ROOT

from mindcv_hrnet.cli import main
from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import parse_config
from mindcv_hrnet.recipe.shelf import read_recipe, recipe_names, title_of

FILES = sorted((ROOT / "configs/hrnet").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """No checkout around, and the environment as before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_the_shelf_holds_the_recipes_of_the_repository():
    assert recipe_names() == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_name_stands_for_the_file(path):
    assert parse_config(["-c", path.stem]) == parse_config(["-c", str(path)])


def test_a_file_of_that_name_wins(tmp_path):
    (tmp_path / "hrnet_w32_ascend").write_text("epoch_size: 7")
    assert parse_config(["-c", "hrnet_w32_ascend"]).train.epoch_size == 7


def test_an_unknown_name_is_one_line():
    with pytest.raises(ConfigError, match="unknown recipe 'hrnet_w32_ascent' \\(nearest: 'hrnet_w32_ascend'\\)"):
        read_recipe("hrnet_w32_ascent")


def test_recipes_lists_titles(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        [path.stem, title_of(path.read_text(encoding="utf-8"))] for path in FILES
    ]
    assert main(["recipes", "hrnet_w48_ascend"]) == 0
    assert capsys.readouterr().out == read_recipe("hrnet_w48_ascend")


def test_new_begins_a_recipe(tmp_path, capsys):
    assert main(["new", "mine.yaml", "--from", "hrnet_w48_ascend"]) == 0
    assert f"{tmp_path}/mine.yaml: begun from hrnet_w48_ascend" in capsys.readouterr().out
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == yaml.safe_load(read_recipe("hrnet_w48_ascend"))
    assert [line.partition("# ")[2] for line in text.splitlines() if line.startswith("epoch_size")] == ["epochs"]
    assert parse_config(["-c", "mine.yaml"]) == parse_config(["-c", "hrnet_w48_ascend"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["mine.yaml", "--from", "resnet"], "unknown recipe 'resnet'"),
        (["mine.txt"], "a recipe's name ends in .yaml"),
        (["there.yaml"], "is there already; choose another name"),
    ],
)
def test_new_refuses(tmp_path, capsys, argv, message):
    (tmp_path / "there.yaml").write_text("")
    assert main(["new", *argv]) == 2
    assert message in capsys.readouterr().err
