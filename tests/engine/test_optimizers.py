"""Twenty updates of each optimizer against the formulas in NumPy, with a learning rate that changes at every step."""

import numpy as np
import pytest

from mindcv_hrnet.recipe.keys import OptimizerConfig

pytestmark = pytest.mark.usefixtures("pynative")

STEPS = 20
RATES = np.float32(0.05) * (1 + np.sin(np.arange(STEPS, dtype=np.float32)) / 2)
NAMES = ("conv1.weight", "bn1.gamma", "bn1.beta", "classifier.bias")
generator = np.random.default_rng(0)
START = {name: generator.standard_normal((3, 2) if name.endswith("weight") else 3) for name in NAMES}
# 0 and small values too: that is where eps and the order of its terms show
GRADIENTS = [
    {name: generator.standard_normal(START[name].shape) * 10.0 ** -(step % 5) for name in NAMES}
    for step in range(STEPS)
]
SPARED = {"disable": (), "auto": ("gamma", "beta"), "norm_and_bias": ("gamma", "beta", "bias")}


def adamw(w, g, state, t, lr, decay, c):
    """Loshchilov and Hutter, arXiv:1711.05101, algorithm 2, decay times lr as in torch.optim.AdamW."""
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
    w = w - lr * decay * w
    return w - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + (c.eps or 1e-8))


def adam(w, g, state, t, lr, decay, c):
    """Kingma and Ba, arXiv:1412.6980, end of section 2: eps beside sqrt(v) itself; decay is added to the gradient."""
    g = g + decay * w
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
    ahead = 0.9 * m + 0.1 * g if c.use_nesterov else m  # as MindSpore's kernel has it
    return w - lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * ahead / (np.sqrt(v) + (c.eps or 1e-8))


def sgd(w, g, state, t, lr, decay, c):
    """torch.optim.SGD: the first buffer is the gradient itself, decay is added to the gradient, lr is outside."""
    g = g + decay * w
    b = state["b"] = c.momentum * state["b"] + g if "b" in state else g
    return w - lr * (g + c.momentum * b if c.use_nesterov or c.opt == "nesterov" else b)


def lion(w, g, state, t, lr, decay, c):
    """Chen et al., arXiv:2302.06675, algorithm 2, betas 0.9 and 0.99."""
    m = state.get("m", 0)
    state["m"] = 0.99 * m + 0.01 * g
    return w - lr * (np.sign(0.9 * m + 0.1 * g) + decay * w)


def rmsprop(w, g, state, t, lr, decay, c):
    """tf.compat.v1.train.RMSPropOptimizer (rho 0.9): squares start at 1, eps inside the root, lr inside momentum."""
    g = g + decay * w
    s = state["s"] = 0.9 * state.get("s", 1) + 0.1 * g**2
    m = state["m"] = c.momentum * state.get("m", 0) + lr * g / np.sqrt(s + (c.eps or 1e-10))
    return w - m


def adagrad(w, g, state, t, lr, decay, c):
    """torch.optim.Adagrad(initial_accumulator_value=0.1): Duchi et al., 2011."""
    g = g + decay * w
    s = state["s"] = state.get("s", 0.1) + g**2
    return w - lr * g / (np.sqrt(s) + (c.eps or 1e-10))


def lamb(w, g, state, t, lr, decay, c):
    """You et al., arXiv:1904.00962, algorithm 2, with phi(z) = z."""
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
    r = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + (c.eps or 1e-6)) + decay * w
    return w - lr * np.linalg.norm(w) / np.linalg.norm(r) * r


def nadam(w, g, state, t, lr, decay, c):
    """torch.optim.NAdam, momentum_decay 0.004."""
    g = g + decay * w
    mu, following = (0.9 * (1 - 0.5 * 0.96 ** (each * 0.004)) for each in (t, t + 1))
    product = state["p"] = state.get("p", 1) * mu
    m = state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    v = state["v"] = 0.999 * state.get("v", 0) + 0.001 * g**2
    step = (1 - mu) / (1 - product) * g + following / (1 - product * following) * m
    return w - lr * step / (np.sqrt(v / (1 - 0.999**t)) + (c.eps or 1e-8))


CASES = [
    (adamw, OptimizerConfig(opt="adamw", weight_decay=0.0)),
    (adamw, OptimizerConfig(opt="adamw", weight_decay=0.05, weight_decay_filter="disable")),
    (adamw, OptimizerConfig(opt="adamw", weight_decay=0.3, weight_decay_filter="norm_and_bias", eps=1e-3)),
    (adam, OptimizerConfig(opt="adam", weight_decay=0.05, weight_decay_filter="auto")),
    (adam, OptimizerConfig(opt="adam", weight_decay=0.0, eps=1e-3)),
    (adam, OptimizerConfig(opt="adam", weight_decay=0.05, use_nesterov=True)),
    (sgd, OptimizerConfig(opt="sgd", momentum=0.0, weight_decay=0.1)),
    (sgd, OptimizerConfig(opt="sgd", momentum=0.9, weight_decay=0.1, weight_decay_filter="norm_and_bias")),
    (sgd, OptimizerConfig(opt="sgd", momentum=0.9, weight_decay=0.1, use_nesterov=True)),
    (sgd, OptimizerConfig(opt="momentum", momentum=0.9, weight_decay=0.1, weight_decay_filter="auto")),
    (sgd, OptimizerConfig(opt="momentum", momentum=0.9, weight_decay=0.1, use_nesterov=True)),
    (sgd, OptimizerConfig(opt="nesterov", momentum=0.9, weight_decay=0.1)),
    (lion, OptimizerConfig(opt="lion", weight_decay=0.3)),
    (lion, OptimizerConfig(opt="lion", weight_decay=0.3, weight_decay_filter="auto")),
    (rmsprop, OptimizerConfig(opt="rmsprop", weight_decay=0.1)),
    (rmsprop, OptimizerConfig(opt="rmsprop", momentum=0.0, weight_decay=0.1, eps=1e-3)),
    (adagrad, OptimizerConfig(opt="adagrad", weight_decay=0.1)),
    (adagrad, OptimizerConfig(opt="adagrad", weight_decay=0.0, eps=0.1)),
    (lamb, OptimizerConfig(opt="lamb", weight_decay=0.3, weight_decay_filter="norm_and_bias")),
    (lamb, OptimizerConfig(opt="lamb", weight_decay=0.1, eps=1e-3)),
    (nadam, OptimizerConfig(opt="nadam", weight_decay=0.1)),
    (nadam, OptimizerConfig(opt="nadam", weight_decay=0.0, eps=1e-3)),
]


@pytest.mark.parametrize(
    ("formula", "config"),
    CASES,
    ids=lambda value: "nesterov" * value.use_nesterov + value.opt if hasattr(value, "opt") else None,
)
def test_twenty_updates(formula, config, measured):
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)

    from mindcv_hrnet.engine.optimizers import build_optimizer

    parameters = [ms.Parameter(ms.Tensor(START[name], ms.float32), name=name) for name in NAMES]
    optimizer = build_optimizer(parameters, RATES, config)
    for gradients in GRADIENTS:
        optimizer(tuple(ms.Tensor(gradients[name], ms.float32) for name in NAMES))

    for parameter, name in zip(parameters, NAMES, strict=True):
        decay = 0.0 if name.rsplit(".", 1)[-1] in SPARED[config.weight_decay_filter] else config.weight_decay
        weight, state = START[name], {}
        for t, gradients in enumerate(GRADIENTS, start=1):
            weight = formula(weight, gradients[name], state, t, float(RATES[t - 1]), decay, config)
        assert np.abs(weight - START[name]).max() > 0.02
        measured(f"optimizer {config.opt}", parameter.asnumpy(), weight)
        np.testing.assert_allclose(parameter.asnumpy(), weight, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("name", "decayed"),
    [
        ("disable", list(NAMES)),
        ("auto", ["conv1.weight", "classifier.bias"]),
        ("norm_and_bias", ["conv1.weight"]),
    ],
)
def test_weight_decay_filter(name, decayed):
    import mindspore as ms

    from mindcv_hrnet.engine.optimizers import decay_groups

    parameters = [ms.Parameter(ms.Tensor([1.0], ms.float32), name=each) for each in NAMES]
    *groups, order = decay_groups(parameters, OptimizerConfig(weight_decay=0.1, weight_decay_filter=name))
    assert order == {"order_params": parameters}
    by_decay = {group["weight_decay"]: [parameter.name for parameter in group["params"]] for group in groups}
    assert by_decay[0.1] == decayed
    assert by_decay.get(0.0, []) == [each for each in NAMES if each not in decayed]
