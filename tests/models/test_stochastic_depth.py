"""Residual branches that are left out at random while training."""

import mindspore as ms
import numpy as np
import pytest

from mindcv_hrnet.models import HRNet
from mindcv_hrnet.models.hrnet import BasicBlock, Bottleneck, HRNetFeatures
from mindcv_hrnet.models.layers import DropBranch


def rates(network):
    return [cell.dropout.p for _, cell in network.cells_and_names() if isinstance(cell, DropBranch)]


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
