"""Residual branches that are left out at random while training."""

import mindspore as ms
import numpy as np
import pytest

from mindcv_hrnet.models import HRNet
from mindcv_hrnet.models.drop import DropBranch, Dropout, drop_rates
from mindcv_hrnet.models.hrnet import BasicBlock, Bottleneck, HRNetFeatures


def rates(network):
    return [cell.rate for _, cell in network.cells_and_names() if isinstance(cell, DropBranch)]


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
@pytest.mark.parametrize("dtype", [ms.float32, ms.float16])
def test_whole_samples_drop_and_the_expectation_stays(mode, dtype):
    ms.set_context(mode=mode)
    x = ms.Tensor(np.full((4000, 2, 1, 3), 3.0), dtype)
    layer = DropBranch(0.25)
    y = layer.set_train()(x)
    assert y.dtype == dtype
    first = y.asnumpy()[:, :1, :1, :1].astype(np.float64)
    assert (y.asnumpy() == first).all()
    assert sorted(set(first.ravel())) == pytest.approx([0, 4], rel=1e-3)
    # a share of 0.25 of 4000 has a standard deviation of 0.0068
    assert (first == 0).mean() == pytest.approx(0.25, abs=0.03) and first.mean() == pytest.approx(3, abs=0.12)
    assert (layer.set_train(False)(x) == x).all()


@pytest.mark.parametrize("make", [lambda drop: BasicBlock(4, drop), lambda drop: Bottleneck(4, 4, drop)])
def test_a_block_without_its_branch_is_its_shortcut(make, images):
    x = images(64, 4, 6, 5)
    block = make(0.5).set_train()
    kept = make(0.0).set_train()
    ms.load_param_into_net(kept, block.parameters_dict())
    shortcut = np.maximum(x.asnumpy(), 0)
    untouched = np.array([(a == b).all() for a, b in zip(block(x).asnumpy(), shortcut, strict=True)])
    assert 16 < untouched.sum() < 48
    assert (kept(x).asnumpy() != shortcut).any(axis=(1, 2, 3)).all()


def test_the_rate_grows_with_depth_alike_on_all_branches(tiny_spec):
    # one bottleneck, then one block in each stage on two, three and four branches
    network = HRNet(tiny_spec, 5, 3, drop_path_rate=0.3)
    assert rates(network) == pytest.approx([0.1] * 2 + [0.2] * 3 + [0.3] * 4)
    features = HRNetFeatures(tiny_spec, 3, (1, 3), drop_path_rate=0.3)
    assert rates(features) == rates(network)


def test_nothing_is_there_at_rate_zero_and_no_parameter_at_any(tiny_spec):
    plain, dropping = HRNet(tiny_spec, 5, 3), HRNet(tiny_spec, 5, 3, drop_path_rate=0.3)
    assert rates(plain) == []
    assert list(plain.parameters_dict()) == list(dropping.parameters_dict())


@pytest.mark.slow
def test_the_seed_decides_and_evaluation_drops_nothing(tiny_spec, images):
    x = images(8, 3, 32, 32)

    def outputs(rate, train):
        ms.set_seed(3)
        network = HRNet(tiny_spec, 5, 3, drop_path_rate=rate)
        for parameter in network.get_parameters():
            parameter.set_data(ms.Tensor(np.random.default_rng(0).random(parameter.shape, np.float32) + 0.5))
        network.set_train(train)
        return [network(x).asnumpy() for _ in range(2)]

    first, second = outputs(0.5, True)
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], outputs(0.5, True))
    np.testing.assert_array_equal(outputs(0.5, False), outputs(0.0, False))


def test_columns_are_those_that_the_loader_draws(tiny_spec):
    network = HRNet(tiny_spec, 5, 3, drop_rate=0.25, drop_path_rate=0.3)
    drawn = drop_rates(tiny_spec, drop_rate=0.25, drop_path_rate=0.3)
    branches = [cell for _, cell in network.cells_and_names() if isinstance(cell, DropBranch)]
    assert [cell.column for cell in branches] == list(range(9)) and network.dropout.column == 9
    assert drawn == pytest.approx([*rates(network), *[0.25] * tiny_spec.head_features])
    assert drop_rates(tiny_spec) == ()


def test_each_cell_drops_what_its_columns_say():
    x = ms.Tensor(np.arange(1, 13).reshape(3, 4, 1, 1), ms.float32)
    keep = ms.Tensor([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 0, 1]], ms.uint8)
    branch, features = DropBranch(0.5).set_train(), Dropout(0.2).set_train()
    branch.column = 1
    np.testing.assert_array_equal(branch(x, keep).asnumpy(), x.asnumpy() * np.reshape([0, 2, 2], (3, 1, 1, 1)))
    features.column = 2
    pairs = x.asnumpy().reshape(3, 4)[:, :2]
    expected = pairs * [[1.25, 1.25], [0, 0], [0, 1.25]]
    np.testing.assert_allclose(features(ms.Tensor(pairs), keep).asnumpy(), expected, rtol=1e-6)
    assert (branch.set_train(False)(x, keep) == x).all() and (features.set_train(False)(x, keep) == x).all()


def test_the_batch_decides_what_the_network_drops(tiny_spec, images):
    x = images(4, 3, 32, 32)
    network = HRNet(tiny_spec, 5, 3, drop_rate=0.5, drop_path_rate=0.5).set_train()
    draw = np.random.default_rng(0)
    some, others = (ms.Tensor(draw.integers(0, 2, (4, 9 + tiny_spec.head_features), dtype=np.uint8)) for _ in range(2))
    first = network(x, some).asnumpy()
    np.testing.assert_array_equal(network(x, some).asnumpy(), first)
    assert (network(x, others).asnumpy() != first).any()
