"""Recipes beside each other: a run's, the defaults, the one that ships with the package, and those of other runs."""

from dataclasses import fields
from functools import lru_cache
from typing import Any, NamedTuple

from mindcv_hrnet.errors import ConfigError, nearest
from mindcv_hrnet.recipe.config import SECTIONS, Config, parse_config
from mindcv_hrnet.recipe.shelf import SHELF, SUFFIX, recipe_names


class KeyRow(NamedTuple):
    """A key, what it means, and its value in each of some recipes, as text."""

    section: str
    key: str
    meaning: str
    values: tuple[str, ...]


def shipped_recipe(config: Config, name: str = "") -> tuple[str, Config] | None:
    """The shipped recipe `name`; without a name, that of the same model which differs in the fewest keys.

    None where no recipe of the model ships. Raises ConfigError for a name that is none.
    """
    if name:
        if name not in recipe_names():
            raise ConfigError(f"command line: reference: no recipe '{name}' ships{nearest(name, recipe_names())}")
        return name, _read(name)
    known = {each: _read(each) for each in recipe_names()}
    alike = {each: other for each, other in known.items() if other.model.model == config.model.model}
    if not alike:
        return None
    closest = min(alike, key=lambda each: len(differing(config, alike[each])))
    return closest, alike[closest]


@lru_cache
def _read(name: str) -> Config:
    return parse_config(["-c", str(SHELF / f"{name}{SUFFIX}")])


def differing(*configs: Config) -> list[KeyRow]:
    """The keys that have not the same value in all recipes."""
    every = [config.to_dict() for config in configs]
    rows = []
    for section, kind in SECTIONS.items():
        for item in fields(kind):
            values = [values[item.name] for values in every]
            if any(value != values[0] for value in values[1:]):
                rows.append(KeyRow(section, item.name, item.metadata["help"], tuple(map(_shown, values))))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:.10g}"
    return "(empty)" if value == "" else str(value)
