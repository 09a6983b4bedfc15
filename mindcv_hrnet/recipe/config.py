"""The recipe: read, checked and written. Imports no MindSpore.

Keys stand flat in the YAML and as `--key value` on the command line. The command line wins over the YAML, which wins
over the defaults.
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.recipe.keys import (
    AugmentationConfig,
    DataConfig,
    ExportConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    SystemConfig,
    TrainConfig,
    ValidationConfig,
)
from mindcv_hrnet.recipe.migrate import meant_by, old_names, translate
from mindcv_hrnet.recipe.rules import contradiction
from mindcv_hrnet.recipe.schema import annotations, build_parser, read_option
from mindcv_hrnet.recipe.shelf import recipe_path
from mindcv_hrnet.recipe.yaml_file import quoted, read_yaml
from mindcv_hrnet.runtime.files import expand_home


@dataclass(frozen=True)
class Config:
    """One recipe. Builders take the section they need: `build_loss(config.loss)`."""

    system: SystemConfig = field(default_factory=SystemConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)

    def values(self) -> dict[str, Any]:
        """All keys, flat."""
        return {key: value for section in asdict(self).values() for key, value in section.items()}

    def to_dict(self) -> dict[str, Any]:
        """All keys, flat, as YAML-ready values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in self.values().items()}

    def to_yaml(self) -> str:
        """The recipe as text that `parse_config(["-c", file])` reads back to an equal Config."""
        blocks = (
            [f"# {name}", *(f"{key}: {_on_one_line(value)}" for key, value in section.items()), ""]
            for name, section in asdict(self).items()
        )
        return "\n".join(line for block in blocks for line in block)

    def override(self, **values: Any) -> "Config":
        """A checked copy with other values for some keys."""
        return _assemble({**self.to_dict(), **values}, dict.fromkeys(values, "override"))


def _on_one_line(value: Any) -> str:
    """A value as YAML. JSON's numbers, lists and constants are YAML's; texts are not in every case."""
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_on_one_line, value))}]"
    return quoted(value) if isinstance(value, str) else json.dumps(value)


SECTIONS: dict[str, type] = {item.name: item.default_factory for item in fields(Config)}  # type: ignore[misc]


def option_names() -> list[str]:
    """Every recipe key, in the order of the sections."""
    return [item.name for section in SECTIONS.values() for item in fields(section)]


def recipe_parser(program: str, description: str, shown: Sequence[str]) -> argparse.ArgumentParser:
    """A parser of every key; its help lists those of the sections that are `shown`."""
    return build_parser(SECTIONS, program, description, shown, hidden=old_names())


def parse_config(
    argv: Sequence[str],
    program: str = "mindcv_hrnet",
    description: str = "",
    shown: Sequence[str] = tuple(SECTIONS),
) -> Config:
    """The recipe that a command line asks for. Raises ConfigError: one line naming file, key, value and choices.

    `shown` are the sections whose keys the help lists.
    """
    known, unknown = recipe_parser(program, description, shown).parse_known_args(list(argv))
    command_line = {key: value if value != [] else "True" for key, value in vars(known).items()}
    for token in unknown:
        name = token.lstrip("-").split("=")[0]
        hint = meant_by(name, option_names()) if token.startswith("-") else ""
        raise ConfigError(f"command line: unknown argument '{token}'{hint}; see --help")
    path = recipe_path(command_line.pop("config", ""))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in ((path, read_yaml(path) if path else {}), ("command line", command_line)):
        for key, value in translate(layer, origin or "recipe").items():
            if key not in option_names():
                raise ConfigError(f"{origin}: unknown key '{key}'{meant_by(str(key), option_names())}; see --help")
            values[key], origins[key] = value, origin
    return _assemble(values, origins)


def _assemble(values: dict[str, Any], origins: dict[str, str]) -> Config:
    built = {}
    for name, section in SECTIONS.items():
        kinds = annotations(section)
        given = {
            item.name: read_option(item, kinds[item.name], values[item.name], origins.get(item.name, "recipe"))
            for item in fields(section)
            if item.name in values
        }
        built[name] = section(**given)
    config = Config(**built)
    if config.model.in_channels == 1 and "mean" not in values and "std" not in values:
        mean, std = (sum(three) / 3 for three in (config.augmentation.mean, config.augmentation.std))
        config = replace(config, augmentation=replace(config.augmentation, mean=(mean,), std=(std,)))
    problem = contradiction(config.values())
    if problem:
        named = {origin for key, origin in origins.items() if re.search(rf"\b{key}\b", problem)}
        raise ConfigError(f"{'; '.join(sorted(named)) or 'recipe'}: {problem}")
    return config


def run_folder(config: Config) -> Path:
    """Absolute folder of the run."""
    return expand_home(config.train.ckpt_save_dir).resolve()
