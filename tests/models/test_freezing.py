"""Frozen parts: no gradients, and batch statistics that stay as they are."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.models import freeze
from mindcv_hrnet.models.hrnet import HRNet
from mindcv_hrnet.models.layers import BatchNorm
from mindcv_hrnet.models.stages import part_of


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("conv1.weight", "stem"),
        ("bn2.gamma", "stem"),
        ("layer1.0.bn1.beta", "stage1"),
        ("transition1.0.0.weight", "stage2"),
        ("stage2.0.branches.0.0.conv1.weight", "stage2"),
        ("transition2.2.0.0.weight", "stage3"),
        ("stage3.3.fuse_layers.0.1.0.weight", "stage3"),
        ("transition3.3.0.0.weight", "stage4"),
        ("stage4.2.branches.3.0.bn1.gamma", "stage4"),
        ("incre_modules.0.0.conv1.weight", "head"),
        ("downsample_modules.0.0.weight", "head"),
        ("final_layer.0.weight", "head"),
        ("classifier.bias", "head"),
    ],
)
def test_part_of(name, part):
    assert part_of(name) == part


def is_frozen_by(parts):
    whole = {"stem", "stage1", "stage2", "stage3", "stage4"} if "backbone" in parts else set(parts)
    norms = ("gamma", "beta")
    return lambda name: part_of(name) in whole or ("bn" in parts and name.rsplit(".", 1)[1] in norms)


@pytest.mark.parametrize("parts", [("stem", "stage3"), ("backbone",), ("bn",)])
def test_an_update_changes_the_rest_only(tiny_spec, images, parts):
    network = HRNet(tiny_spec, 5)
    every = [p.name for p in network.trainable_params()]
    before = {name: p.asnumpy().copy() for name, p in network.parameters_dict().items()}
    spared = freeze(network, parts)
    is_frozen = is_frozen_by(parts)
    assert spared == sum(before[name].size for name in every if is_frozen(name)) > 0
    assert [p.name for p in network.trainable_params()] == [name for name in every if not is_frozen(name)]

    optimizer = nn.SGD(network.trainable_params(), 0.1)
    loss = nn.CrossEntropyLoss()
    network.set_train()
    gradient = ms.value_and_grad(lambda x, y: loss(network(x), y), None, optimizer.parameters)
    _, gradients = gradient(images(4, 3, 32, 32), ms.Tensor([0, 1, 2, 3], ms.int32))
    optimizer(gradients)
    changed = {name for name, p in network.parameters_dict().items() if not np.array_equal(p.asnumpy(), before[name])}
    assert not {name for name in changed if is_frozen(name)}
    assert any(name.startswith("classifier") for name in changed)
    for name in before:
        if name.endswith("moving_mean"):
            kept = "bn" in parts or is_frozen(name)
            assert (name not in changed) == kept, name


def test_a_frozen_norm_uses_its_statistics_while_training(images):
    norm = BatchNorm(3)
    norm.moving_mean.set_data(ms.Tensor([1.0, 2.0, 3.0], ms.float32))
    norm.frozen = True
    x = images(2, 3, 4, 4)
    training = norm.set_train()(x).asnumpy()
    np.testing.assert_array_equal(training, norm.set_train(False)(x).asnumpy())
    assert norm.moving_mean.asnumpy().tolist() == [1.0, 2.0, 3.0]


def test_unknown_part(tiny_spec):
    with pytest.raises(
        UserError, match=r"^unknown part 'stage5'. Choices: stem, stage1, stage2, stage3, stage4, backbone, bn$"
    ):
        freeze(HRNet(tiny_spec, 5), ["stage5"])
