"""Recipes of earlier MindCV versions mean today what they meant then, or say what to write instead."""

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import option_names, parse_config
from mindcv_hrnet.recipe.migrate import GONE, RENAMED, SWITCHES


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("use_ema: True", "ema", True),
        ("use_clip_grad: True", "clip_grad", True),
        ("dynamic_loss_scale: True", "loss_scale_type", "dynamic"),
        ("dynamic_loss_scale: False", "loss_scale_type", "fixed"),
        ("filter_bias_and_bn: True", "weight_decay_filter", "norm_and_bias"),
        ("filter_bias_and_bn: False", "weight_decay_filter", "disable"),
        ("data_url: some/folder", "data_dir", "some/folder"),
        ("enable_modelarts: False", "data_dir", "./"),
        ("scheduler: polynomial", "scheduler", "polynomial_decay"),
        ("scheduler: warmup_cosine_decay", "scheduler", "cosine_decay"),
        ("loss: ce", "loss", "CE"),
        ("loss: bce", "loss", "BCE"),
        ("opt: SGD", "opt", "sgd"),
        ("opt: AdamW", "opt", "adamw"),
        ("amp_level: o2", "amp_level", "O2"),
        ("crop_pct: 1.15", "crop_pct", 1.15),
        ("smooth_factor: 0.1", "label_smoothing", 0.1),
        ("save_checkpoint: True", "ckpt_save_interval", 1),
        ("mixup: null", "mixup", 0.0),
        ("ckpt_save_policy: null", "ckpt_save_policy", "latest_k"),
        ("log_interval: null", "log_interval", None),
    ],
)
def test_translated(tmp_path, text, key, expected):
    (tmp_path / "old.yaml").write_text(text)
    name, _, value = text.partition(": ")
    assert parse_config(["-c", str(tmp_path / "old.yaml")]).to_dict()[key] == expected
    assert parse_config([f"--{name}", value]).to_dict()[key] == expected


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "--enable_modelarts True",
            "command line: enable_modelarts: is no longer there; "
            "copy the data to a local folder and pass data_dir and ckpt_save_dir",
        ),
        ("--ckpt_url s3://x", "command line: ckpt_url: is no longer there; pass a local file as ckpt_path"),
        (
            "--use_ema True --ema False",
            "command line: 'use_ema' is the old name of 'ema', and both are given; drop one",
        ),
        ("--filter_bias_and_bn maybe", "command line: filter_bias_and_bn: 'maybe' is not True/False"),
        ("--dynamic_loss_scale 17", "command line: dynamic_loss_scale: '17' is not True/False"),
        (
            "--save_checkpoint False",
            "command line: save_checkpoint: is no longer there; a run always keeps its last checkpoint; "
            "raise ckpt_save_interval for fewer",
        ),
        (
            "--smooth_factor 0.1 --label_smoothing 0.2",
            "command line: 'smooth_factor' is the old name of 'label_smoothing', and both are given; drop one",
        ),
        ("--use_ema perhaps", "command line: ema: 'perhaps' is not True/False"),
    ],
)
def test_refused(argv, message):
    with pytest.raises(ConfigError) as error:
        parse_config(argv.split())
    assert str(error.value) == message


def test_old_and_new_name_may_say_the_same(tmp_path):
    (tmp_path / "old.yaml").write_text("smooth_factor: 0.1\nlabel_smoothing: 0.1\n")
    assert parse_config(["-c", str(tmp_path / "old.yaml")]).loss.label_smoothing == 0.1


def test_a_bare_switch_is_on():
    assert parse_config(["--val_while_train", "--distribute", "--ema"]).system.distribute is True


CONVNEXT = """
loss_scale_type: auto
drop_overflow_update: True
amp_level: O2
amp_cast_list: [nn.LayerNorm, nn.Conv2d]
opt: adamw
use_nesterov: True
"""


def test_a_recipe_of_another_network_keeps_its_keys(tmp_path):
    (tmp_path / "convnext.yaml").write_text(CONVNEXT)
    config = parse_config(["-c", str(tmp_path / "convnext.yaml")])
    assert (config.loss.loss_scale_type, config.loss.drop_overflow_update) == ("auto", True)
    assert config.model.amp_cast_list == ("nn.LayerNorm", "nn.Conv2d")


def test_old_and_new_names_do_not_overlap():
    assert not set(option_names()) & {*RENAMED, *SWITCHES, *GONE}
    assert {*RENAMED.values(), *(key for key, _, _ in SWITCHES.values())} <= set(option_names())
