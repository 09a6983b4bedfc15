"""Policy strings, and the draws of the policies beside RandAugment against their tables."""

import numpy as np
import pytest
from canvases import FILL

from mindcv_hrnet.data.augment.augmix import AUGMIX, AugMix
from mindcv_hrnet.data.augment.autoaugment import TABLES
from mindcv_hrnet.data.augment.operations import OPERATIONS
from mindcv_hrnet.data.augment.policies import build_policy
from mindcv_hrnet.data.augment.trivialaugment import WIDE
from mindcv_hrnet.data.rng import Purpose, uniforms
from mindcv_hrnet.errors import ConfigError


def test_tables():
    assert {name: len(table) for name, table in TABLES.items()} == {"autoaug": 25, "autoaugr": 25, "3a": 3}
    assert TABLES["autoaug"][0] == (("PosterizeOriginal", 0.4, 8.0), ("Rotate", 0.6, 9.0))
    assert TABLES["autoaugr"][3] == (("PosterizeIncreasing", 0.6, 7.0), ("PosterizeIncreasing", 0.6, 6.0))
    assert TABLES["autoaug"][18] == (("ShearX", 0.6, 5.0), ("Equalize", 1.0, 9.0))
    assert TABLES["3a"] == ((("Solarize", 1.0, 5.0),), (("Desaturate", 1.0, 10.0),), (("GaussianBlur", 1.0, 10.0),))
    used = {name for table in TABLES.values() for row in table for name, _, _ in row}
    assert used <= set(OPERATIONS) and set(AUGMIX) <= set(OPERATIONS) and len(WIDE) == 14


def draws(text, image, count):
    policy = build_policy(text, FILL)
    for index in range(count):
        yield list(policy.steps(image, uniforms(0, Purpose.SAMPLE, 0, index, policy.draws)))


def test_autoaugment_draws_rows_probabilities_and_levels():
    steps = list(draws("autoaug-mstd0.5", np.zeros((4, 4, 3), np.uint8), 4000))
    expected = np.mean([sum(probability for _, probability, _ in row) for row in TABLES["autoaug"]])
    assert np.mean([len(each) for each in steps]) == pytest.approx(expected, abs=0.03)
    levels = [abs(level) for each in steps for name, level, _ in each if name == "Contrast"]
    assert np.mean(levels) == pytest.approx(8, abs=0.1) and np.std(levels) == pytest.approx(0.5, abs=0.05)


def test_three_augment_and_wide_apply_one_operation(image):
    assert {each[0][0] for each in draws("3a", image, 40)} == {"Solarize", "Desaturate", "GaussianBlur"}
    steps = list(draws("trivialaugwide", np.zeros((4, 4, 3), np.uint8), 3000))
    assert {len(each) for each in steps} == {1} and {each[0][0] for each in steps} == set(WIDE)
    assert np.mean([abs(each[0][1]) for each in steps]) == pytest.approx(5, abs=0.2)


def test_augmix_mixes_the_image_with_its_chains(image):
    policy = build_policy("augmix-m3-w4-d2-a1", FILL)
    assert isinstance(policy, AugMix)
    assert (policy.magnitude, policy.width, policy.depth, policy.alpha) == (3, 4, 2, 1)
    distances = []
    for ((_, share, mixed),) in draws("augmix", image, 20):
        assert mixed.dtype == np.uint8 and 0 < share < 1
        distances.append((share, np.abs(mixed.astype(int) - image).mean()))
    by_share = [distance for _, distance in sorted(distances)]
    assert np.mean(by_share[:10]) < np.mean(by_share[10:]) and min(by_share) < 3
    assert (policy(image, [0.4]) == policy(image, [0.4])).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("randaugment-m7", "unknown policy 'randaugment' in 'randaugment-m7'; choices: randaug"),
        ("randaug-x7", r"'x7' in 'randaug-x7' is no setting with a number; choices: m \(magnitude"),
        ("randaug-m", "'m' in 'randaug-m' is no setting"),
        ("randaug-m-7", "'m' in 'randaug-m-7' is no setting"),
        ("randaug--m7", "'' in"),
        ("randaug-n0", "n must be a whole number from 1"),
        ("randaug-n1.5", "n must be a whole number"),
        ("randaug-n21", "n must be a whole number from 1 to 20"),
        ("randaug-ninf", "n must be a whole number from 1 to 20"),
        ("randaug-m11", "m must be at most mmax"),
        ("randaug-w1", "w must be 0"),
        ("randaug-n14-w0", "n is more than w0 has operations"),
        ("randaug-inc2", "inc and canonical are 0 or 1"),
    ],
)
def test_errors_are_one_line_with_the_choices(text, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_policy(text, FILL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "autoaugx",
            "unknown policy 'autoaugx' in 'autoaugx'; choices: randaug, autoaug, autoaugr, 3a, trivialaugwide, augmix",
        ),
        ("autoaug-m5", "'m5' in 'autoaug-m5' is no setting with a number; choices: mstd, canonical"),
        *(
            (f"augmix-{setting}{value}", f"'augmix-{setting}{value}': {setting} must be a whole number from 1 to 20")
            for setting in "wd"
            for value in ("0", "2.5", "21", "100000", "9" * 400)
        ),
        ("augmix-m11", "'augmix-m11': m must be 0 to 10"),
        ("augmix-a0", "'augmix-a0': a must be above 0 and at most 100"),
        ("augmix-a101", "'augmix-a101': a must be above 0 and at most 100"),
        ("autoaug-canonical2", "'autoaug-canonical2': canonical must be 0 or 1"),
        ("3a-canonical0.5", "'3a-canonical0.5': canonical must be 0 or 1"),
        ("autoaugr-mstd10.5", "'autoaugr-mstd10.5': mstd must be 0 to 10"),
        ("trivialaugwide-m0", "'trivialaugwide-m0': m must be above 0"),
    ],
)
def test_errors(text, message):
    with pytest.raises(ConfigError) as error:
        build_policy(text, FILL)
    assert str(error.value) == f"auto_augment: {message}"


@pytest.mark.parametrize("text", ["augmix-m0-w20-d20-a100", "augmix-m10-w1-d1-a0.001", "autoaugr-mstd10-canonical1"])
def test_limits_are_accepted(text, image):
    policy = build_policy(text, FILL)
    assert policy(image, [0.4] * policy.draws).dtype == np.uint8
