"""The logits of all nine variants equal timm's, filled with the same values (see scripts/make_golden_logits.py)."""

import mindspore as ms
import numpy as np
import pytest
from golden_fill import fill, image
from mindspore.nn.utils import no_init_parameters
from repository import GOLDEN

from mindcv_hrnet import create_model
from mindcv_hrnet.models.variants import VARIANTS, describe


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_those_of_timm(name):
    golden = np.load(GOLDEN / "logits.npz")
    # The values are overwritten at once, and drawing 128 million numbers takes its time.
    with no_init_parameters():
        network = create_model(name).set_train(False)
    for parameter in network.get_parameters():
        parameter.set_data(ms.Tensor(fill(parameter.name, parameter.shape)))
    assert sum(p.size for p in network.trainable_params()) == describe(name).parameters
    assert sum(p.size for p in network.get_parameters()) == describe(name).parameters_with_statistics

    logits = network(ms.Tensor(image(tuple(golden["image_shape"])))).asnumpy()
    expected = golden[name]
    assert logits.shape == expected.shape == (2, 1000)
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()
    # What the image contributes is a small part of these logits; it has to agree by itself too.
    contrast = expected[0] - expected[1]
    assert np.abs(logits[0] - logits[1] - contrast).max() <= 1e-3 * np.abs(contrast).max()
