"""Learning rates by depth: each part's first step is the recipe's rate times its factor, in both modes."""

import numpy as np
import pytest

from mindcv_hrnet.recipe.keys import OPTIMIZERS, OptimizerConfig

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


# Steps whose size depends on the learning rate alone, so that the factors can be read off them
SIGN_LIKE = ("adamw", "adam", "sgd", "momentum", "lion")


@pytest.mark.parametrize("mode", ["pynative", "graph"])
@pytest.mark.parametrize("opt", SIGN_LIKE)
def test_first_and_second_step(opt, mode):
    import mindspore as ms

    from mindcv_hrnet.engine.optimizers import build_optimizer

    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    config = OptimizerConfig(opt=opt, momentum=0.0, weight_decay=0.0, layer_decay=0.5, head_lr_factor=3.0)
    weights = parameters()
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), config)
    for rate in (0.01, 0.02):
        before = [weight.asnumpy().copy() for weight in weights]
        optimizer(ms.mutable(tuple(ms.Tensor([1.0, -1.0], ms.float32) for _ in weights)))
        steps = [np.abs(weight.asnumpy() - start) / rate for weight, start in zip(weights, before, strict=True)]
        for name, step in zip(FACTORS, steps, strict=True):
            np.testing.assert_allclose(step, FACTORS[name], rtol=1e-3, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_factor_is_that_of_the_learning_rate(opt):
    """Ten updates at half the rate equal ten at the whole rate with factors of a half, momentum and decay included."""
    import mindspore as ms

    from mindcv_hrnet.engine.optimizers import ScaledRates, build_optimizer

    ms.set_context(mode=ms.GRAPH_MODE)
    settings = {"opt": opt, "weight_decay": 0.1, "weight_decay_filter": "norm_and_bias"}
    rates = np.linspace(0.02, 0.01, 10, dtype=np.float32)
    draw = np.random.default_rng(0)
    gradients = [[draw.standard_normal(2).astype(np.float32) for _ in FACTORS] for _ in rates]
    halved, whole = parameters(), parameters()
    by_rate = build_optimizer(halved, rates / 2, OptimizerConfig(**settings))
    by_factor = ScaledRates(build_optimizer(whole, rates, OptimizerConfig(**settings)), [0.5] * len(FACTORS))
    for update in gradients:
        for optimizer in (by_rate, by_factor):
            optimizer(ms.mutable(tuple(map(ms.Tensor, update))))  # other constants would be another graph
    for one, other in zip(halved, whole, strict=True):
        np.testing.assert_allclose(one.asnumpy(), other.asnumpy(), atol=1e-6)
        assert np.abs(one.asnumpy() - [1.0, -2.0]).max() > 2e-3


@pytest.fixture
def shallow_graphs():
    """Graphs may be 30 calls deep instead of a thousand, so that 35 parameters show what HRNet's thousand would."""
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_recursion_limit(30)
    yield
    ms.set_recursion_limit(1000)


@pytest.mark.slow
@pytest.mark.parametrize("layer_decay", [None, 0.75])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_graph_is_no_deeper_for_more_parameters(shallow_graphs, opt, layer_decay):
    import mindspore as ms

    from mindcv_hrnet.engine.optimizers import build_optimizer

    names = [f"{part}.{i}.weight" for i in range(7) for part in ("conv1", "stage2", "stage3", "stage4", "classifier")]
    weights = [ms.Parameter(ms.Tensor([1.0], ms.float32), name=name) for name in names]
    config = OptimizerConfig(opt=opt, weight_decay=0.1, weight_decay_filter="auto", layer_decay=layer_decay)
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), config)
    optimizer(tuple(ms.Tensor([1.0], ms.float32) for _ in weights))
    assert all(weight.asnumpy() < 1 for weight in weights)


def test_decay_and_rates_go_together():
    import mindspore as ms

    from mindcv_hrnet.engine.optimizers import build_optimizer

    settings = {"weight_decay": 0.1, "weight_decay_filter": "norm_and_bias", "layer_decay": 0.5, "head_lr_factor": 3.0}
    weights = parameters()
    optimizer = build_optimizer(weights, np.array([0.01, 0.02], np.float32), OptimizerConfig(opt="adamw", **settings))
    optimizer(tuple(ms.Tensor([0.0, 0.0], ms.float32) for _ in weights))
    for weight in weights:
        decay = 0.1 if weight.name.endswith("weight") else 0.0
        expected = (1 - 0.01 * FACTORS[weight.name] * decay) * np.array([1.0, -2.0])
        np.testing.assert_allclose(weight.asnumpy(), expected, rtol=1e-6, err_msg=weight.name)


def test_one_rate_for_all_needs_no_factors():
    from mindcv_hrnet.engine.optimizers import ScaledRates, build_optimizer

    assert not isinstance(build_optimizer(parameters(), np.array([0.01]), OptimizerConfig()), ScaledRates)
