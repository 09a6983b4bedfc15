"""Learning rates by depth: each part's first step is the recipe's rate times its factor, in both modes."""

import numpy as np
import pytest

from mindcv_hrnet.config import OPTIMIZERS, OptimizerConfig

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


@pytest.fixture
def shallow_graphs():
    """Graphs may be 40 calls deep instead of a thousand, so that 45 parameters show what HRNet's thousand would."""
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_recursion_limit(40)
    yield
    ms.set_recursion_limit(1000)


@pytest.mark.parametrize("layer_decay", [None, 0.75])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_graph_is_no_deeper_for_more_parameters(shallow_graphs, opt, layer_decay):
    import mindspore as ms

    from mindcv_hrnet.optimizer import build_optimizer

    names = [f"{part}.{i}.weight" for i in range(9) for part in ("conv1", "stage2", "stage3", "stage4", "classifier")]
    weights = [ms.Parameter(ms.Tensor([1.0], ms.float32), name=name) for name in names]
    config = OptimizerConfig(opt=opt, layer_decay=layer_decay)
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), config)
    optimizer(tuple(ms.Tensor([1.0], ms.float32) for _ in weights))
    assert all(weight.asnumpy() < 1 for weight in weights)


def test_decay_and_rates_go_together():
    import mindspore as ms

    from mindcv_hrnet.optimizer import build_optimizer

    config = OptimizerConfig(
        opt="adamw", weight_decay=0.1, weight_decay_filter="norm_and_bias", layer_decay=0.5, head_lr_factor=3.0
    )
    weights = parameters()
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), config)
    optimizer(tuple(ms.Tensor([0.0, 0.0], ms.float32) for _ in weights))
    for weight in weights:
        decay = 0.1 if weight.name.endswith("weight") else 0.0
        expected = (1 - 0.01 * FACTORS[weight.name] * decay) * np.array([1.0, -2.0])
        np.testing.assert_allclose(weight.asnumpy(), expected, rtol=1e-6, err_msg=weight.name)


def test_one_rate_for_all_needs_no_factors():
    from mindspore import nn

    from mindcv_hrnet.optimizer import build_optimizer

    assert type(build_optimizer(parameters(), np.array([0.01, 0.02]), OptimizerConfig(opt="sgd"))) is nn.SGD


def test_the_table_of_rates_is_kept_once():
    from mindcv_hrnet.optimizer import build_optimizer

    optimizer = build_optimizer(parameters(), np.array([0.01, 0.02]), OptimizerConfig(opt="adamw", layer_decay=0.5))
    assert [name for name in optimizer.parameters_dict() if "learning_rate" in name] == ["learning_rate"]
