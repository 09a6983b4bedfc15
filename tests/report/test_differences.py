"""Recipes beside each other."""

import pytest

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.config import Config, parse_config
from mindcv_hrnet.report.differences import differing, shipped_recipe


def test_the_nearest_recipe_of_the_model():
    ours = parse_config(["-c", "hrnet_w18_small_digits_cpu", "--lr", "0.5"])
    name, reference = shipped_recipe(ours)
    assert name == "hrnet_w18_small_digits_cpu"
    (row,) = differing(ours, reference)
    assert row[:2] == ("scheduler", "lr") and row.values == ("0.5", "0.001")
    assert row.meaning == "learning rate after warm-up"
    assert shipped_recipe(ours, "hrnet_w18_small_ascend")[0] == "hrnet_w18_small_ascend"
    with pytest.raises(ConfigError, match="no recipe 'hrnet_w18_smal' ships"):
        shipped_recipe(ours, "hrnet_w18_smal")


def test_every_model_has_one():
    from mindcv_hrnet.models import list_models

    for model in list_models():
        name, reference = shipped_recipe(Config().override(model=model))
        assert reference.model.model == model, name


def test_values_as_text():
    rows = {row.key: row.values for row in differing(Config(), Config().override(scale=[0.2, 1], ckpt_path="a.ckpt"))}
    assert rows == {"scale": ("0.08, 1", "0.2, 1"), "ckpt_path": ("(empty)", "a.ckpt")}
