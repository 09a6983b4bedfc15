import numpy as np

from mindcv_hrnet.data.augment.mix_erase import draw_erase, draw_mix, erase_draws, fill_with_noise
from mindcv_hrnet.data.rng import Purpose, generator, uniforms


def erase_boxes(count, probability=1.0, scale=(0.02, 0.33), ratio=(0.3, 3.3), attempts=10):
    settings = dict(side=224, probability=probability, scale=scale, ratio=ratio, attempts=attempts)
    drawn = (uniforms(0, Purpose.SAMPLE, 0, i, erase_draws(attempts)) for i in range(count))
    return np.array([draw_erase(numbers, **settings) for numbers in drawn])


def test_erase_boxes_have_the_area_ratio_and_probability_asked_for():
    y0, x0, y1, x1 = erase_boxes(3000).T
    area, ratio = (y1 - y0) * (x1 - x0) / 224**2, (x1 - x0) / (y1 - y0)
    assert (y0 >= 0).all() and (x0 >= 0).all() and (y1 <= 224).all() and (x1 <= 224).all() and (area > 0).all()
    assert 0.018 < area.min() < 0.03 and 0.3 < area.max() < 0.34 and abs(area.mean() - 0.175) < 0.01
    assert 0.28 < ratio.min() < 0.35 and 3.2 < ratio.max() < 3.4 and abs(ratio.mean() - 1.8) < 0.05
    assert abs((erase_boxes(3000, probability=0.1).sum(axis=1) > 0).mean() - 0.1) < 0.02


def test_erase_gives_up_when_no_box_fits():
    assert (erase_boxes(20, scale=(0.9, 0.9), ratio=(3.0, 3.0)) == 0).all()


def test_noise_is_standard_normal_after_normalisation():
    image = np.zeros((3, 64, 64), np.uint8)
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    fill_with_noise(image, (8, 0, 56, 64), generator(0, Purpose.ERASE_NOISE), mean=mean, std=std)
    assert not image[:, :8].any() and not image[:, 56:].any()
    inside = (image[:, 8:56] - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert np.abs(inside.mean(axis=(1, 2))).max() < 0.05 and np.abs(inside.std(axis=(1, 2)) - 1).max() < 0.07


def mixes(count, mixup, cutmix, probability=1.0, rank=0):
    settings = dict(seed=0, epoch=1, rank=rank, side=224, mixup=mixup, cutmix=cutmix, probability=probability)
    return np.array([draw_mix(step=step, **settings) for step in range(count)])


def test_mixup_takes_the_whole_image_and_a_beta_weight():
    boxes = mixes(2000, 0.2, 0.0)
    assert (boxes[:, :4] == (0, 0, 224, 224)).all()
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1))
    assert abs(boxes[:, 4].mean() - 0.5) < 0.02 and abs(boxes[:, 4].var() - 1 / 5.6) < 0.01


def test_cutmix_boxes_have_a_uniform_area_before_the_border_cuts_them():
    boxes = mixes(3000, 0.0, 1.0)
    y0, x0, y1, x1, keep = boxes.T
    assert (keep == 0).all() and (y0 >= 0).all() and (y1 <= 224).all() and (y1 >= y0).all() and (x1 >= x0).all()
    inner = (y0 > 0) & (x0 > 0) & (y1 < 224) & (x1 < 224)
    assert (np.abs((y1 - y0) - (x1 - x0))[inner] == 0).all()
    # area before cutting is uniform; cutting a side s to within the image leaves s - s^2 / 4 on average
    share = np.random.default_rng(0).random(100_000)
    expected = ((share**0.5 - share / 4) ** 2).mean()
    assert abs(((y1 - y0) * (x1 - x0)).mean() / 224**2 - expected) < 0.015


def test_both_share_the_batches_and_the_probability_holds():
    boxes = mixes(3000, 0.2, 1.0, probability=0.8)
    cutmix, off = boxes[:, 4] == 0, (boxes[:, 4] == 1) & (boxes[:, 2] == 0)
    assert abs(off.mean() - 0.2) < 0.02
    assert abs(cutmix.mean() - 0.4) < 0.04  # mixup with Beta(0.2) draws a weight of 0 in float64 now and then, too
    assert (mixes(10, 0.0, 0.0)[:, :4] == 0).all()


def test_ranks_and_steps_draw_for_themselves():
    settings = dict(seed=0, epoch=0, side=224, mixup=0.2, cutmix=1.0, probability=1.0)
    assert len({draw_mix(step=step, rank=rank, **settings) for step in range(5) for rank in range(8)}) == 40
    assert draw_mix(step=3, rank=1, **settings) == draw_mix(step=3, rank=1, **settings)
