"""Learning rates by depth: each part's first step is the recipe's rate times its factor, in both modes."""

import numpy as np
import pytest

from mindcv_hrnet.config import OptimizerConfig

pytestmark = pytest.mark.usefixtures("pynative")

FACTORS = {
    "conv1.weight": 0.5**5,
    "layer1.0.bn1.gamma": 0.5**4,
    "transition1.0.0.weight": 0.5**3,
    "stage3.0.fuse_layers.0.1.0.weight": 0.5**2,
    "stage4.0.branches.0.0.bn1.beta": 0.5,
    "incre_modules.0.0.conv1.weight": 3.0,
    "classifier.bias": 3.0,
}


def parameters():
    import mindspore as ms

    return [ms.Parameter(ms.Tensor([1.0, -2.0], ms.float32), name=name) for name in FACTORS]


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("opt", ["adamw", "adam", "sgd", "momentum"])
def test_first_and_second_step(opt, mode):
    import mindspore as ms

    from mindcv_hrnet.optimizer import build_optimizer

    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    config = OptimizerConfig(opt=opt, momentum=0.0, weight_decay=0.0, layer_decay=0.5, head_lr_factor=3.0)
    weights = parameters()
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), config)
    for rate in (0.01, 0.02):
        before = [weight.asnumpy().copy() for weight in weights]
        optimizer(tuple(ms.Tensor([1.0, -1.0], ms.float32) for _ in weights))
        steps = [np.abs(weight.asnumpy() - start) / rate for weight, start in zip(weights, before, strict=True)]
        for name, step in zip(FACTORS, steps, strict=True):
            np.testing.assert_allclose(step, FACTORS[name], rtol=1e-3, err_msg=name)


def test_decay_and_rates_go_together():
    from mindcv_hrnet.optimizer import decay_groups, rate_groups

    config = OptimizerConfig(weight_decay=0.1, weight_decay_filter="norm_and_bias", layer_decay=0.5, head_lr_factor=3.0)
    weights = parameters()
    *groups, order = rate_groups(decay_groups(weights, config), [0.01, 0.02], config)
    assert order == {"order_params": weights}
    found = {p.name: (g["weight_decay"], g["lr"]) for g in groups for p in g["params"]}
    assert len(found) == sum(len(g["params"]) for g in groups) == len(FACTORS)
    for name, factor in FACTORS.items():
        decay = 0.1 if name.endswith("weight") else 0.0
        assert found[name] == (decay, pytest.approx([0.01 * factor, 0.02 * factor])), name


def test_one_rate_for_all_needs_no_groups_of_it():
    from mindcv_hrnet.optimizer import decay_groups, rate_groups

    config = OptimizerConfig()
    groups = decay_groups(parameters(), config)
    assert rate_groups(groups, [0.01], config) == groups
