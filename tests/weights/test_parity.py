"""All nine variants against timm: the same names, logits and maps (see scripts/check_parity.py for random weights)."""

import hashlib

import mindspore as ms
import numpy as np
import pytest
from golden_fill import image, quick_fill
from mindspore.nn.utils import no_init_parameters
from repository import GOLDEN

from mindcv_hrnet.models import VARIANTS, create_model
from mindcv_hrnet.models.variants import identify
from mindcv_hrnet.weights import fit_weights
from mindcv_hrnet.weights.naming import to_network, to_pytorch


def listing(state):
    text = "\n".join(f"{name} {list(array.shape)}" for name, array in state.items())
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_state_dict_of_timm(variant):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    golden = np.load(GOLDEN / "parity.npz")
    with no_init_parameters():
        network = create_model(variant).set_train(False)
    shapes = {name: tuple(parameter.shape) for name, parameter in network.parameters_dict().items()}
    assert identify(shapes) == variant
    empty = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    state = to_pytorch(empty)
    assert listing(state) == str(golden[f"{variant}.names"])

    for name in state:
        if not name.endswith("num_batches_tracked"):
            state[name] = quick_fill(name, state[name].shape)
    arrays, _ = to_network(state)
    fit_weights(network, arrays, variant)
    branches = network.trunk(ms.Tensor(image(tuple(golden["image_shape"]))))
    network.trunk = lambda image, keep: branches
    outputs = [network(branches[0]), *branches]
    outputs += [widen(branch) for widen, branch in zip(network.widen, branches, strict=True)]
    logits, *maps = (output.asnumpy() for output in outputs)

    expected = golden[f"{variant}.logits"]
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    contrast = expected[0] - expected[1]
    assert np.abs(logits[0] - logits[1] - contrast).max() <= 1e-3 * np.abs(contrast).max()
    for number, values in enumerate(maps):
        expected = golden[f"{variant}.map{number}"]
        flat = values.reshape(-1)
        samples = flat[:: max(flat.size // expected.size, 1)][: expected.size]
        assert np.abs(samples - expected).max() <= 1e-4 * np.abs(values).max()
