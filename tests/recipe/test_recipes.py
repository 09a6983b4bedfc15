"""The recipes of the repository: all parse, and the published ones say what was published."""

import pytest
from repository import ROOT

from mindcv_hrnet.models.variants import OFFICIAL, PUBLISHED, VARIANTS, describe
from mindcv_hrnet.recipe.config import parse_config

RECIPES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_parses_and_reads_back(path, tmp_path):
    config = parse_config(["-c", str(path)])
    assert config.model.model in path.stem
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert parse_config(["-c", str(tmp_path / "config.yaml")]) == config


def test_the_finetune_recipe_follows_the_launcher():
    assert parse_config(["-c", "hrnet_w32_finetune"]).system.distribute is None


PUBLISHED_VALUES = {
    "mode": 0,
    "distribute": True,
    "val_while_train": True,
    "val_interval": 1,
    "batch_size": 128,
    "shuffle": True,
    "drop_remainder": True,
    "image_resize": 224,
    "interpolation": "bilinear",
    "auto_augment": "randaug-m7-mstd0.5",
    "re_prob": 0.1,
    "mixup": 0.2,
    "cutmix": 1.0,
    "cutmix_prob": 1.0,
    "num_classes": 1000,
    "amp_level": "O2",
    "epoch_size": 300,
    "dataset_sink_mode": True,
    "ckpt_save_policy": "top_k",
    "keep_checkpoint_max": 5,
    "loss": "CE",
    "label_smoothing": 0.1,
    "loss_scale_type": "fixed",
    "loss_scale": 1024.0,
    "scheduler": "cosine_decay",
    "lr": 1e-3,
    "min_lr": 1e-5,
    "warmup_epochs": 20,
    "decay_epochs": 280,
    "opt": "adamw",
    "weight_decay": 0.05,
}


@pytest.mark.parametrize("model", VARIANTS)
def test_recipe_of_each_variant(model):
    path = ROOT / f"configs/hrnet/{model}_ascend.yaml"
    values = parse_config(["-c", str(path)]).to_dict()
    assert values["model"] == model
    assert {key: values[key] for key in PUBLISHED_VALUES} == PUBLISHED_VALUES
    header = path.read_text().split("\n\n")[0]
    command = f"mpirun -n 8 python train.py --config configs/hrnet/{model}_ascend.yaml --data_dir /path/to/imagenet"
    assert f"#   {command}\n" in header
    assert "global batch   1024 (8 x 128)" in header
    size = describe(model)
    trainable, all_values = size.parameters / 1e6, size.parameters_with_statistics / 1e6
    assert f"{trainable:.2f} M trainable, {all_values:.2f} M with batch-norm statistics" in header
    if model in PUBLISHED:
        assert "published      {:.2f}/{:.2f} top-1/top-5".format(*PUBLISHED[model]) in header
    else:
        assert "published      nothing for this recipe" in header
        assert "reference      {:.2f}/{:.2f} top-1/top-5".format(*OFFICIAL[model]) in header
