"""RandAugment: what its settings mean, and that its draws are distributed as they say."""

import dataclasses

import cv2
import numpy as np
from canvases import FILL, RECIPE

from mindcv_hrnet.data.augment.operations import OPERATIONS, Canvas
from mindcv_hrnet.data.augment.policies import build_policy
from mindcv_hrnet.data.augment.randaugment import RANDAUG, RANDAUG_INCREASING, WEIGHTS, RandAugment
from mindcv_hrnet.data.rng import Purpose, uniforms


def test_its_operations_are_there():
    assert set(RANDAUG) | set(RANDAUG_INCREASING) <= set(OPERATIONS) and len(RANDAUG) == len(WEIGHTS) == 14


def randaugment(text, fill=FILL, *flag) -> RandAugment:
    policy = build_policy(text, fill, *flag)
    assert isinstance(policy, RandAugment)
    return policy


def test_the_published_recipe():
    policy = randaugment("randaug-m7-mstd0.5", (123.675, 116.28, 103.53))
    assert tuple(policy.operations) == RANDAUG
    assert (policy.magnitude, policy.deviation, policy.layers, policy.highest) == (7, 0.5, 2, 10)
    assert policy.weights is None and policy.canvas == RECIPE and policy.draws == 10


def test_settings():
    policy = randaugment("randaug-m9-n3-mstd101-mmax12-inc1-w0-canonical1", FILL, cv2.INTER_NEAREST)
    assert tuple(policy.operations) == RANDAUG_INCREASING
    assert (policy.magnitude, policy.deviation, policy.layers, policy.highest) == (9, float("inf"), 3, 12)
    assert policy.weights == WEIGHTS and policy.canvas == Canvas(FILL, cv2.INTER_NEAREST, canonical=True)
    assert randaugment("randaug-inc0", FILL).operations == randaugment("randaug", FILL).operations
    assert randaugment("randaug", FILL).magnitude == 10


class Recorder:
    """Operations that note (place, level, sign) instead of changing the image."""

    def __init__(self, count=14):
        self.calls = []
        self.operations = {str(place): self.operation(place) for place in range(count)}

    def operation(self, place):
        def apply(image, level, sign, canvas):
            self.calls.append((place, level, sign))
            return image

        return apply


def run(text, count=4000):
    policy, recorder = randaugment(text), Recorder()
    policy = dataclasses.replace(policy, operations=recorder.operations)
    applied = []
    for index in range(count):
        before = len(recorder.calls)
        policy(None, uniforms(0, Purpose.SAMPLE, 0, index, policy.draws))
        applied.append(len(recorder.calls) - before)
    return np.array(recorder.calls), np.array(applied)


def test_draws_are_distributed_as_the_settings_say():
    calls, applied = run("randaug-m7-mstd0.5")
    shares = np.bincount(calls[:, 0].astype(int), minlength=14) / len(calls)
    assert abs(applied.mean() - 1) < 0.03 and np.abs(shares - 1 / 14).max() < 0.015
    assert abs(calls[:, 1].mean() - 7) < 0.03 and abs(calls[:, 1].std() - 0.5) < 0.03
    assert abs(calls[:, 2].mean()) < 0.05 and set(calls[:, 2]) == {-1, 1}


def test_level_is_cut_and_uniform():
    assert run("randaug-m10-mstd2", 500)[0][:, 1].max() == 10
    assert run("randaug-m10-mstd2-mmax11", 500)[0][:, 1].max() == 11
    levels = run("randaug-m8-mstd101", 4000)[0][:, 1]
    assert levels.max() < 8 and abs(levels.mean() - 4) < 0.1 and abs(levels.std() - 8 / 12**0.5) < 0.1


def test_weights_draw_without_repetition():
    calls, _ = run("randaug-n13-w0", 200)
    assert set(calls[:, 0]) == set(range(14)) - {2}  # Invert has weight 0
    calls, _ = run("randaug-n1-w0")
    shares = np.bincount(calls[:, 0].astype(int), minlength=14) / len(calls)
    assert np.abs(shares - np.array(WEIGHTS) / sum(WEIGHTS)).max() < 0.03
