"""config.yaml stays the recipe of the whole run; how it went is in history.jsonl."""

import json
import sys

import pytest

from mindcv_hrnet.engine.history import command_to_go_on, compare_recipes, write_history
from mindcv_hrnet.engine.run_shape import RunShape
from mindcv_hrnet.errors import RunError
from mindcv_hrnet.recipe.config import parse_config

BEGUN = ("--lr", "0.5", "--ckpt_path", "start.ckpt", "--num_parallel_workers", "2")


@pytest.fixture
def compare(tmp_path):
    """A function (arguments, resumed) -> Recipes, in a folder whose run began with `BEGUN`."""
    own = ("--ckpt_save_dir", str(tmp_path))
    begun = compare_recipes(parse_config([*BEGUN, *own]), None)
    (tmp_path / "config.yaml").write_text(begun.whole.to_yaml())
    return lambda *arguments, resumed=True: compare_recipes(
        parse_config([*arguments, *own]), tmp_path if resumed else None
    )


def test_a_run_that_goes_on_keeps_its_recipe(compare, tmp_path):
    recipes = compare("--lr", "0.5", "--resume_opt", "True", "--ckpt_path", str(tmp_path))
    assert recipes.now.train.resume_opt and recipes.changed == {}
    assert recipes.whole == parse_config(["--lr", "0.5", "--ckpt_path", "start.ckpt", "--ckpt_save_dir", str(tmp_path)])


def test_what_is_free_to_change_becomes_part_of_it(compare):
    recipes = compare("--lr", "0.5", "--resume_opt", "True", "--epoch_size", "200", "--num_parallel_workers", "3")
    assert recipes.whole.train.epoch_size == 200 and recipes.whole.data.num_parallel_workers == 3


def test_what_other_commands_read_is_free_to_change(compare):
    others = ("--per_class", "True", "--predictions", "a.csv", "--export_input", "uint8", "--file_format", "ONNX")
    assert compare("--lr", "0.5", "--resume_opt", "True", *others).changed == {}


def test_other_changes_are_listed_and_need_to_be_insisted_on(compare, tmp_path, caplog):
    arguments = ("--lr", "0.25", "--mixup", "0.2", "--resume_opt", "True")
    with pytest.raises(RunError) as error:
        compare(*arguments)
    assert str(error.value) == (
        f"{tmp_path}: was trained with another recipe (mixup 0.0 -> 0.2, lr 0.5 -> 0.25); resume with its config.yaml, "
        "or pass --resume_override True to go on with the new values"
    )
    recipes = compare(*arguments, "--resume_override", "True")
    assert recipes.changed == {"mixup": (0.0, 0.2), "lr": (0.5, 0.25)}
    assert recipes.whole.scheduler.lr == 0.25 and recipes.whole.model.ckpt_path == "start.ckpt"
    assert not recipes.whole.train.resume_opt and not recipes.whole.train.resume_override
    assert caplog.messages == [f"{tmp_path}: goes on with another recipe (mixup 0.0 -> 0.2, lr 0.5 -> 0.25)"]


def test_where_nothing_was_saved_the_run_starts_as_it_began(compare):
    recipes = compare("--lr", "0.5", "--resume_opt", "True", resumed=False)
    assert recipes.now == recipes.whole and recipes.now.model.ckpt_path == "start.ckpt"
    assert not recipes.now.train.resume_opt


def test_a_line_for_each_start(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--data_dir", "my data"])
    for first_step in (0, 14):
        write_history(tmp_path, RunShape(3, 10, 8, first_step), ranks=2, device="CPU", changed={"lr": (0.5, 0.25)})
    first, second = map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())
    assert (first["first_epoch"], first["first_step"], second["first_epoch"], second["first_step"]) == (1, 1, 2, 15)
    assert second["command"] == "train.py --data_dir 'my data'" and second["changed"] == {"lr": [0.5, 0.25]}
    assert (
        (second["ranks"], second["device"]) == (2, "CPU")
        and second["versions"]["mindspore"]
        and second["when"].endswith("+00:00")
    )


@pytest.mark.parametrize(
    ("arguments", "launcher", "expected"),
    [
        (["train.py", "-c", "a b.yaml"], "none", "python train.py -c 'a b.yaml' --resume_opt True"),
        (["/bin/mindcv-hrnet", "train"], "none", "mindcv-hrnet train --resume_opt True"),
        (["train.py", "--resume"], "mpirun", "mpirun -n 2 python train.py --resume"),
    ],
)
def test_the_command_to_go_on(arguments, launcher, expected):
    assert command_to_go_on(arguments, launcher, 2) == expected
