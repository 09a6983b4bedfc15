"""Policy strings: a name and settings joined by dashes, as MindCV writes them.

`randaug-m7-mstd0.5`, `autoaug-mstd0.5`, `autoaugr`, `3a`, `trivialaugwide-m31`, `augmix-m3-w3-d2-a1`. Where MindCV
leaves the papers (posterize, shear, trivialaugwide's shifts), `-canonical1` follows the papers.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2

from mindcv_hrnet.data.augment.augmix import AugMix
from mindcv_hrnet.data.augment.autoaugment import TABLES, AutoAugment
from mindcv_hrnet.data.augment.operations import OPERATIONS, TOP_LEVEL, Canvas
from mindcv_hrnet.data.augment.randaugment import RANDAUG, RANDAUG_INCREASING, WEIGHTS, RandAugment
from mindcv_hrnet.data.augment.trivialaugment import TrivialAugmentWide
from mindcv_hrnet.data.transforms import Augmentation
from mindcv_hrnet.errors import ConfigError

LONGEST = 20  # no policy names more operations in a row; a mistyped number would only make a run crawl
MAX_ALPHA = 100  # where all shares are as good as equal
UNIFORM_ABOVE = 100  # an mstd that means no normal distribution at all
NO_WEIGHTS = -1.0


@dataclass(frozen=True)
class PolicySettings:
    """A policy string, read: the name, the number of each setting, and where geometric operations take place."""

    text: str
    name: str
    values: Mapping[str, float]
    fill: Sequence[float]
    flag: int

    def __getitem__(self, key: str) -> float:
        return self.values[key]

    def require(self, condition: bool, meaning: str) -> None:
        """ConfigError that `meaning` does not hold for this string, unless `condition`."""
        if not condition:
            raise ConfigError(f"auto_augment: '{self.text}': {meaning}")

    def count(self, key: str) -> int:
        """The setting as a whole number from 1 to LONGEST, or ConfigError."""
        value = self[key]
        self.require(value in range(1, LONGEST + 1), f"{key} must be a whole number from 1 to {LONGEST}")
        return int(value)

    def canvas(self, meaning: str = "canonical must be 0 or 1") -> Canvas:
        """ConfigError, saying `meaning`, where `canonical` is no switch."""
        self.require(self["canonical"] in (0, 1), meaning)
        fill = tuple(min(255, round(level)) for level in self.fill)
        return Canvas(fill, self.flag, bool(self["canonical"]))


def _randaugment(given: PolicySettings) -> Augmentation:
    weighted = given["w"] != NO_WEIGHTS
    given.require(given["w"] in (0, NO_WEIGHTS), "w must be 0; there is one table of weights")
    layers = given.count("n")
    given.require(not weighted or layers <= sum(w > 0 for w in WEIGHTS), "n is more than w0 has operations")
    switches = "inc and canonical are 0 or 1"
    given.require(given["inc"] in (0, 1), switches)
    canvas = given.canvas(switches)
    given.require(0 < given["mmax"] < math.inf and given["m"] <= given["mmax"], "m must be at most mmax (10)")
    return RandAugment(
        operations={name: OPERATIONS[name] for name in (RANDAUG_INCREASING if given["inc"] else RANDAUG)},
        magnitude=given["m"],
        deviation=math.inf if given["mstd"] > UNIFORM_ABOVE else given["mstd"],
        layers=layers,
        highest=given["mmax"],
        weights=WEIGHTS if weighted else None,
        canvas=canvas,
    )


def _autoaugment(given: PolicySettings) -> Augmentation:
    canvas = given.canvas()
    given.require(given["mstd"] <= TOP_LEVEL, "mstd must be 0 to 10")
    return AutoAugment(TABLES[given.name], given["mstd"], canvas)


def _trivialaugment(given: PolicySettings) -> Augmentation:
    canvas = given.canvas()
    given.require(0 < given["m"] < math.inf, "m must be above 0")
    return TrivialAugmentWide(canvas)


def _augmix(given: PolicySettings) -> Augmentation:
    # -1, the default of d, is no number that a string can name
    width, depth = given.count("w"), -1 if given["d"] == -1 else given.count("d")
    canvas = given.canvas()
    given.require(given["m"] <= TOP_LEVEL, "m must be 0 to 10")
    given.require(0 < given["a"] <= MAX_ALPHA, f"a must be above 0 and at most {MAX_ALPHA}")
    return AugMix(magnitude=given["m"], width=width, depth=depth, alpha=given["a"], canvas=canvas)


class Policy(NamedTuple):
    """What builds a policy, its settings with their defaults, and what a message says that they mean."""

    build: Callable[[PolicySettings], Augmentation]
    defaults: Mapping[str, float]
    meanings: Mapping[str, str] = {}


POLICIES = {
    "randaug": Policy(
        _randaugment,
        {"m": TOP_LEVEL, "n": 2.0, "mstd": 0.5, "mmax": TOP_LEVEL, "inc": 0.0, "w": NO_WEIGHTS},
        meanings={
            "m": "magnitude, 0 to 10",
            "n": "operations per image",
            "mstd": "deviation of the magnitude; above 100: uniform from 0 to m",
            "mmax": "highest magnitude",
            "inc": "1: severity rises with the magnitude",
            "w": "0: draw operations by weights",
            "canonical": "1: posterize and shear as in the paper",
        },
    ),
    "autoaug": Policy(_autoaugment, {"mstd": 0.5}),
    "autoaugr": Policy(_autoaugment, {"mstd": 0.5}),
    "3a": Policy(_autoaugment, {"mstd": 0.5}),
    "trivialaugwide": Policy(_trivialaugment, {"m": 31.0}),
    "augmix": Policy(_augmix, {"m": 3.0, "w": 3.0, "d": -1.0, "a": 1.0}),
}


def build_policy(text: str, fill: Sequence[float], flag: int = cv2.INTER_LINEAR) -> Augmentation:
    """The augmentation that a policy string names.

    `fill`: colour of uncovered pixels, 0 to 255 per channel. `flag`: OpenCV's resampling of geometric operations.
    Raises ConfigError naming the part that is wrong and the choices.
    """
    name, *parts = text.split("-")
    if name not in POLICIES:
        raise ConfigError(f"auto_augment: unknown policy '{name}' in '{text}'; choices: {', '.join(POLICIES)}")
    policy = POLICIES[name]
    values = {**policy.defaults, "canonical": 0.0}
    for part in parts:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?|inf)", part)
        if not match or match[1] not in values:
            known = (f"{key} ({policy.meanings[key]})" if key in policy.meanings else key for key in values)
            raise ConfigError(
                f"auto_augment: '{part}' in '{text}' is no setting with a number; choices: {', '.join(known)}"
            )
        values[match[1]] = float(match[2])
    return policy.build(PolicySettings(text, name, values, fill, flag))
