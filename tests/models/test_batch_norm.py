"""Statistics over all ranks, and under recomputing: both equal the ordinary ones."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from mindcv_hrnet.engine.blend import moving_statistics
from mindcv_hrnet.engine.losses import build_loss
from mindcv_hrnet.engine.optimizers import build_optimizer
from mindcv_hrnet.engine.preprocess import Preprocess
from mindcv_hrnet.engine.step import TrainStep
from mindcv_hrnet.models import HRNet, recompute, set_precision, synchronise
from mindcv_hrnet.models.batch_norm import BatchStatistics
from mindcv_hrnet.models.drop import Row, number_columns
from mindcv_hrnet.models.hrnet import Bottleneck, Module, Transition
from mindcv_hrnet.models.layers import BatchNorm, Conv2d, Dense, GlobalMean
from mindcv_hrnet.recipe.keys import LossConfig, OptimizerConfig, TrainConfig
from mindcv_hrnet.runtime.distributed import Cluster


def norms_of(network):
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, BatchNorm)]


def statistics_of(network):
    return np.concatenate([np.r_[n.moving_mean.asnumpy(), n.moving_variance.asnumpy()] for n in norms_of(network)])


def test_of_one_rank_equal_those_of_the_kernel():
    ordinary, other = BatchNorm(3), BatchNorm(3)
    synchronise(nn.SequentialCell(other), size=1)
    assert isinstance(other.normalise_batch, BatchStatistics)
    draw = np.random.default_rng(0)
    images = Tensor(draw.normal(5, 2, (4, 3, 6, 7)).astype(np.float32))
    weights = Tensor(draw.standard_normal((4, 3, 6, 7)).astype(np.float32))
    results = []
    for norm in (ordinary, other):
        norm.set_train()
        norm.gamma.set_data(Tensor([0.5, 1.0, 2.0], ms.float32))
        norm.moving_mean.set_data(Tensor([5.0, 0.0, 4.0], ms.float32))
        gradient = ms.grad(lambda x, norm=norm: (norm(x) * weights).sum(), 0, norm.trainable_params())
        to_images, to_weights = gradient(images)
        after = norm.moving_mean.asnumpy().copy(), norm.moving_variance.asnumpy().copy()
        results.append([norm(images).asnumpy(), to_images.asnumpy(), *(g.asnumpy() for g in to_weights), *after])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_half_precision_passes_through():
    norm = BatchNorm(2)
    synchronise(nn.SequentialCell(norm), size=1)
    assert norm.set_train()(Tensor(np.ones((2, 2, 3, 3)), ms.float16)).dtype == ms.float16
    assert norm.moving_mean.dtype == ms.float32


def test_precision_comes_on_top(tiny_spec):
    network = HRNet(tiny_spec, 3)
    synchronise(network, size=1)
    set_precision(network, "O2")
    assert all(isinstance(norm.normalise_batch.plain, BatchStatistics) for norm in norms_of(network))


def test_moved_by_one_assignment_where_the_kernel_runs_twice(tiny_spec):
    network = HRNet(tiny_spec, 3)
    recompute(network)
    later = [norm for norm in norms_of(network) if norm.moves_later]
    assert 0 < len(later) < len(norms_of(network))
    assert len(moving_statistics(network).parameters) == 2 * len(later)
    later[0].frozen = True
    assert len(moving_statistics(network).parameters) == 2 * len(later) - 2
    norm = later[1]
    before = norm.moving_mean.asnumpy().copy()
    images = Tensor(np.random.default_rng(0).normal(3, 1, (2, norm.gamma.size, 4, 4)).astype(np.float32))
    moving = moving_statistics(network)
    kept = moving.before()
    norm.set_train()
    norm(images)
    norm(images)
    moving(kept)
    expected = 0.9 * before + 0.1 * images.asnumpy().mean((0, 2, 3))
    np.testing.assert_allclose(norm.moving_mean.asnumpy(), expected, rtol=1e-5)


class Short(nn.Cell):
    """A stem, a bottleneck, a module of two branches and a classifier: what is computed again, and what is not."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = Conv2d(3, 4, stride=2), BatchNorm(4)
        self.layer1 = Row(Bottleneck(4, 4, 0.5))
        self.transition1 = Transition((4,), (2, 4))
        self.stage2 = Row(Module((2, 4), (0.5, 0.5), (0, 1)))
        self.pool, self.classifier = GlobalMean(), Dense(6, 3)
        number_columns(self)

    def construct(self, images, keep=None):
        branches = self.stage2(self.transition1((self.layer1(self.bn1(self.conv1(images)), keep),)), keep)
        return self.classifier(ops.concat([self.pool(branch) for branch in branches], 1))


@pytest.mark.slow
def test_recomputing_changes_nothing_but_memory():
    """Also where branches are dropped: both forward passes drop what the batch says."""
    ms.set_context(mode=ms.GRAPH_MODE)
    draw = np.random.default_rng(0)
    images = Tensor(draw.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    unused = Tensor(np.zeros((4, 4), np.int32)), Tensor(np.zeros((4, 5), np.float32))
    keep = Tensor(draw.integers(0, 2, (4, 5), dtype=np.uint8))
    found = []
    for again in (False, True):
        ms.set_seed(0)
        network = Short()
        train = TrainConfig(recompute=again)
        if again:
            recompute(network)
        optimizer = build_optimizer(
            network.trainable_params(), np.full(3, 0.002, np.float32), OptimizerConfig(opt="momentum")
        )
        preprocess, loss = Preprocess((0.0,) * 3, (255.0,) * 3, 32, 3), build_loss(LossConfig())
        step = TrainStep(network, preprocess, loss, optimizer, Cluster(), train, LossConfig()).set_train()
        losses = [float(step(images, Tensor([0, 1, 2, 0], ms.int32), *unused, keep).asnumpy()) for _ in range(3)]
        weights = np.concatenate([p.asnumpy().ravel() for p in network.trainable_params()])
        found.append((losses, weights, statistics_of(network)))
    for ordinary, recomputed in zip(*found, strict=True):
        np.testing.assert_allclose(recomputed, ordinary, rtol=1e-4, atol=1e-4)
    assert len(set(found[0][0])) == 3, "the network learns"
