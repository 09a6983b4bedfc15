"""Policies beside RandAugment: their operations against Pillow, their draws against their tables."""

import numpy as np
import pytest
from canvases import FILL, PAPER, RECIPE, transform
from PIL import Image, ImageEnhance, ImageOps

from mindcv_hrnet.data.augment.operations import OPERATIONS
from mindcv_hrnet.data.augment.policies import AUGMIX, OTHER_OPERATIONS, TABLES, WIDE, build_policy
from mindcv_hrnet.data.rng import Purpose, uniforms
from mindcv_hrnet.errors import ConfigError

# At half of the largest strength and sign 1, as the papers and as MindCV have them
WIDE_AT_HALF = {
    "AutoContrast": ImageOps.autocontrast,
    "Equalize": ImageOps.equalize,
    "Invert": ImageOps.invert,
    "Rotate": lambda p: p.rotate(67.5, Image.BILINEAR, fillcolor=FILL),
    "Posterize": lambda p: ImageOps.posterize(p, 5),
    "Solarize": lambda p: ImageOps.solarize(p, 127),
    "Color": lambda p: ImageEnhance.Color(p).enhance(1.005),
    "Contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.005),
    "Brightness": lambda p: ImageEnhance.Brightness(p).enhance(1.005),
    "Sharpness": lambda p: ImageEnhance.Sharpness(p).enhance(1.005),
    "ShearX": lambda p: transform(p, (1, -0.495, 0.495 * 112, 0, 1, 0)),
    "ShearY": lambda p: transform(p, (1, 0, 0, -0.495, 1, 0.495 * 112)),
    "TranslateX": lambda p: transform(p, (1, 0, -16, 0, 1, 0)),
    "TranslateY": lambda p: transform(p, (1, 0, 0, 0, 1, -16)),
}
MINDCV_AT_HALF = {
    "Posterize": lambda p: ImageOps.posterize(p, 3),
    "ShearX": lambda p: transform(p, (1, -0.00864, 0.00864 * 112, 0, 1, 0)),
    "ShearY": lambda p: transform(p, (1, 0, 0, -0.00864, 1, 0.00864 * 112)),
    "TranslateX": lambda p: transform(p, (1, 0, -16.8, 0, 1, 0)),
    "TranslateY": lambda p: transform(p, (1, 0, 0, 0, 1, -16.8)),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_operations(name, image, measured):
    for canvas, twins in ((PAPER, WIDE_AT_HALF), (RECIPE, {**WIDE_AT_HALF, **MINDCV_AT_HALF})):
        ours = WIDE[name](image, 0.5, 1, canvas)
        pillows = np.asarray(twins[name](Image.fromarray(image)), int)
        measured(f"trivialaugwide {name}", ours, pillows)
        assert np.abs(ours.astype(int) - pillows).mean() <= 1


def test_operations_of_autoaugment_and_three_augment(image, measured):
    photo = Image.fromarray(image)
    twins = [
        ("PosterizeOriginal", OTHER_OPERATIONS["PosterizeOriginal"](image, 8, 1, PAPER), ImageOps.posterize(photo, 7)),
        ("PosterizeOriginal", OTHER_OPERATIONS["PosterizeOriginal"](image, 5, 1, RECIPE), ImageOps.posterize(photo, 2)),
        ("Desaturate", OTHER_OPERATIONS["Desaturate"](image, 10, 1, RECIPE), ImageEnhance.Color(photo).enhance(0)),
        ("Desaturate", OTHER_OPERATIONS["Desaturate"](image, 4, 1, RECIPE), ImageEnhance.Color(photo).enhance(0.3)),
    ]
    for name, ours, pillow in twins:
        measured(f"3a and autoaug {name}", ours, pillow)
        assert np.abs(ours.astype(int) - np.asarray(pillow, int)).mean() <= 1
    blurred = OTHER_OPERATIONS["GaussianBlur"](image, 10, 1, RECIPE)
    weights = np.exp(-np.array([1, 0, 1]) / (2 * 2.0**2))
    weights /= weights.sum()
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = sum(weights[y] * weights[x] * padded[y : y + 224, x : x + 224] for y in range(3) for x in range(3))
    measured("3a and autoaug GaussianBlur", blurred, expected)
    assert np.abs(blurred - expected).mean() <= 1


@pytest.mark.parametrize(
    ("operation", "highest", "recipe", "paper"),
    [
        (OPERATIONS["Posterize"], 10, (8, 4), (0, 4)),
        (OPERATIONS["PosterizeIncreasing"], 10, (4, 8), (4, 0)),
        (OTHER_OPERATIONS["PosterizeOriginal"], 10, (4, 1), (4, 8)),
        (WIDE["Posterize"], 1, (6, 1), (8, 2)),
    ],
)
def test_bits_that_posterize_keeps(operation, highest, recipe, paper):
    """At the lowest and the highest level, as docs/options.md has them."""
    ramp = np.arange(256, dtype=np.uint8)
    for canvas, bits in ((RECIPE, recipe), (PAPER, paper)):
        kept = [np.log2(len(np.unique(operation(ramp, level, 1, canvas)))) for level in (0, highest)]
        assert tuple(kept) == bits


def test_tables():
    assert {name: len(table) for name, table in TABLES.items()} == {"autoaug": 25, "autoaugr": 25, "3a": 3}
    assert TABLES["autoaug"][0] == (("PosterizeOriginal", 0.4, 8.0), ("Rotate", 0.6, 9.0))
    assert TABLES["autoaugr"][3] == (("PosterizeIncreasing", 0.6, 7.0), ("PosterizeIncreasing", 0.6, 6.0))
    assert TABLES["autoaug"][18] == (("ShearX", 0.6, 5.0), ("Equalize", 1.0, 9.0))
    assert TABLES["3a"] == ((("Solarize", 1.0, 5.0),), (("Desaturate", 1.0, 10.0),), (("GaussianBlur", 1.0, 10.0),))
    used = {name for table in TABLES.values() for row in table for name, _, _ in row}
    assert used <= set(OPERATIONS) | set(OTHER_OPERATIONS) and set(AUGMIX) <= set(OPERATIONS) and len(WIDE) == 14


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
    assert (policy.magnitude, policy.width, policy.depth, policy.alpha) == (3, 4, 2, 1)
    distances = []
    for ((_, share, mixed),) in draws("augmix", image, 20):
        assert mixed.dtype == np.uint8 and 0 < share < 1
        distances.append((share, np.abs(mixed.astype(int) - image).mean()))
    by_share = [distance for _, distance in sorted(distances)]
    assert np.mean(by_share[:10]) < np.mean(by_share[10:]) and min(by_share) < 3
    assert (policy(image, [0.4]) == policy(image, [0.4])).all()


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
