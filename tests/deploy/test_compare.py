"""Images drawn like photographs, and what counts as equal."""

import numpy as np
import pytest

from mindcv_hrnet.deploy.compare import largest_difference, natural_images


def test_drawn_images_use_the_whole_range_and_are_smooth():
    images = natural_images(4, 3, 64, 80)
    assert images.shape == (4, 3, 64, 80) and images.dtype == np.uint8
    assert images.min() < 30 and images.max() > 225 and 20 < images.std() < 80
    steps = np.abs(np.diff(images.astype(float), axis=3)).mean()
    assert steps < 0.7 * images.std()  # of white noise 1.13
    assert (natural_images(4, 3, 64, 80) == images).all()
    assert (natural_images(4, 3, 64, 80, seed=1) != images).any()
    assert natural_images(1, 1, 33, 47).shape == (1, 1, 33, 47)


def test_each_output_is_measured_against_its_own_largest_value():
    expected = [np.array([[100.0, 1.0]]), np.array([[0.1]])]
    assert largest_difference([expected[0] + 1, expected[1]], expected) == pytest.approx(0.01)
    assert largest_difference([expected[0], expected[1] + 0.05], expected) == pytest.approx(0.5)
    assert np.isnan(largest_difference([np.array([[np.nan, 1.0]]), expected[1]], expected))
