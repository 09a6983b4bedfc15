"""Settings that cannot both be meant are refused before anything is built, in one line."""

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import parse_config


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            "--scheduler cyclic",
            "command line: warmup_epochs is 3, but scheduler cyclic rises by itself at every step; set warmup_epochs 0",
        ),
        (
            "--scheduler one_cycle --warmup_epochs 0 --lr_epoch_stair on",
            "command line: lr_epoch_stair is True, but scheduler one_cycle rises by itself at every step; "
            "set lr_epoch_stair False",
        ),
        (
            "--decay_rate 2 --scheduler step_decay",
            "command line: decay_rate 2 is above 1: step_decay would grow; lower decay_rate",
        ),
        (
            "--amp_cast_list [nn.Conv]",
            "command line: amp_cast_list: 'nn.Conv' is no layer for amp_level O0; choices: Conv2d, Dense, BatchNorm2d, "
            "Conv1d, Conv3d, Conv2dTranspose, BatchNorm1d, BatchNorm3d, LayerNorm, GroupNorm, LSTM",
        ),
        (
            "--amp_level O1 --amp_cast_list [nn.Conv2d,__import__('os')]",
            "command line: amp_cast_list: '__import__('os'' is no layer for amp_level O1; choices: Conv2d, Dense, "
            "Conv1d, Conv3d, Conv2dTranspose, BatchNorm1d, BatchNorm3d, LayerNorm, GroupNorm, LSTM",
        ),
        ("--loss JSD", "command line: loss JSD compares three views of an image, aug_splits is 0; set aug_splits 3"),
        (
            "--aug_splits 3 --color_jitter None",
            "command line: aug_splits 3 makes views that auto_augment tells apart, but it is None; "
            "name a policy such as augmix",
        ),
        (
            "--color_jitter 0.4 0.4 0.4 0.9",
            "command line: color_jitter turns the hue by 0.9; half of the circle, 0.5, is the most",
        ),
        (
            "--export_dynamic_size --file_format ONNX,MINDIR",
            "command line: export_dynamic_size is True, but file_format is ONNX, MINDIR; images of any size are for "
            "ONNX alone: set file_format ONNX",
        ),
        (
            "--file_format AIR",
            "command line: file_format AIR has a fixed batch, but export_batch_size is 0; name the batch size",
        ),
        (
            "--dataset_download on",
            "command line: dataset_download is True, but dataset is imagenet; it fetches cifar10, cifar100, mnist, "
            "fashion_mnist; ImageNet needs an account, and scripts/prepare_imagenet.py for its files",
        ),
    ],
)
def test_refused(argv, message):
    with pytest.raises(ConfigError) as error:
        parse_config(argv.split())
    assert str(error.value) == message


@pytest.mark.parametrize("dataset", ["folder", ""])
def test_a_folder_of_the_users_is_not_downloaded(dataset):
    with pytest.raises(ConfigError, match=f"dataset_download is True, but dataset is {dataset or 'empty'}; it fetches"):
        parse_config(["--dataset", dataset, "--dataset_download", "True"])
