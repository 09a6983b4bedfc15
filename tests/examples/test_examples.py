"""The examples learn on a small backbone, some steps; docs/backbone.md has the full runs."""

from dataclasses import replace

import keypoints
import numpy as np
import photographs
import pytest
import segmentation
import training
from mindspore import Tensor

from mindcv_hrnet.models.hrnet import HRNetFeatures

SIDE = 32


@pytest.fixture
def backbone(pynative, tiny_spec):
    """A function (out_indices) -> a small backbone for grey images."""
    spec = replace(tiny_spec, width=6, stem_width=12)
    return lambda *indices: HRNetFeatures(spec, in_channels=1, out_indices=indices)


@pytest.mark.slow
def test_segmentation_learns(backbone):
    result = segmentation.run(backbone(0, 1, 2, 3), steps=30, rate=1e-2, side=SIDE, test_mosaics=20)
    assert result["last loss"] < 0.8 * result["first loss"]
    assert result["mean IoU"] > 1.5 * result["mean IoU, commonest material everywhere"]


@pytest.mark.slow
def test_keypoints_learn(backbone):
    result = keypoints.run(backbone(0), steps=30, rate=1e-2, side=SIDE, test_images=20)
    assert result["last loss"] < 0.8 * result["first loss"]


def test_shapes_at_any_image_size(backbone):
    image = Tensor(np.zeros((2, 1, 40, 72), np.float32))
    assert segmentation.Segmentation(backbone(0, 1, 2, 3), 3)(image).shape == (2, 3, 40, 72)
    assert keypoints.Keypoints(backbone(0), 4)(image).shape == (2, 4, 10, 18)


def test_no_pixel_is_in_both_parts():
    for whole, test in zip(photographs.load_photographs(True), photographs.load_photographs(False), strict=True):
        assert (whole.shape, test.shape) == ((512, 384), (512, 128))
    crop = photographs.random_crop(np.random.default_rng(0), test, 16)
    assert crop.shape == (16, 16)
    assert (abs(crop.mean()), crop.std()) == pytest.approx((0, 1), abs=1e-5)


def test_a_mosaic_shows_every_material_where_its_mask_says():
    flat = [np.tile(np.float32([[1, 2 + k], [3, 4]]), (20, 20)) for k in range(3)]
    images, masks = segmentation.mosaics(np.random.default_rng(0), flat, 5, 32)
    assert (images.shape, masks.shape) == ((5, 1, 32, 32), (5, 32, 32))
    assert all(set(np.unique(mask)) <= {0, 1, 2} for mask in masks)
    values = [np.unique(images[:, 0][masks == k].round(4)) for k in range(3)]
    assert not np.intersect1d(values[0], values[2]).size


def test_mean_iou_by_hand():
    masks = np.array([[[0, 0, 1, 2]]])
    assert segmentation.mean_iou(masks, masks) == 100
    # 2 of 3, none, 1 of 1
    assert segmentation.mean_iou(np.array([[[0, 0, 0, 2]]]), masks) == pytest.approx(100 * (2 / 3 + 0 + 1) / 3)


def test_points_are_the_ends_of_the_ink():
    ink = np.zeros((6, 8), bool)
    ink[1, 3] = ink[4, 2:5] = ink[2, 6] = True
    assert keypoints.extreme_points(ink).tolist() == [[3, 1], [3, 4], [2, 4], [6, 2]]


def test_peaks_find_what_heat_maps_drew():
    points = np.random.default_rng(0).uniform(4, 90, (5, 4, 2))
    maps = keypoints.heat_maps(points, 96)
    assert (maps.shape, maps.dtype) == ((5, 4, 24, 24), np.float32)
    assert np.abs(keypoints.peaks(maps) - points).max() <= 1  # of a cell of four pixels a quarter


def test_pck_by_hand():
    samples = keypoints.Samples(np.empty(0), np.zeros((2, 4, 2)), np.array([10, 100]))
    assert keypoints.pck(np.full((2, 4, 2), (3, 0)), samples) == 50  # within 10 of 100 pixels, not within 1 of 10


def test_answers_are_those_of_the_whole(backbone):
    network = keypoints.Keypoints(backbone(0), 4)
    images = np.random.default_rng(0).standard_normal((4, 1, 32, 32)).astype(np.float32)
    found = training.answers(network, images, batch=2)
    np.testing.assert_allclose(found, network(Tensor(images)).asnumpy(), rtol=1e-4, atol=1e-6)
