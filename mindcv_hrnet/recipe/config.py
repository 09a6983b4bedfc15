"""The recipe: read, checked and written. Imports no MindSpore.

Keys stand flat in the YAML and as `--key value` on the command line. The command line wins over the YAML, which wins
over the defaults.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import ConfigError
from mindcv_hrnet.models.stages import STAGES
from mindcv_hrnet.recipe.keys import (
    AMP_LAYERS,
    CYCLES,
    ORIGINALS,
    OTHER_LAYERS,
    AugmentationConfig,
    DataConfig,
    ExportConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    SystemConfig,
    TrainConfig,
)
from mindcv_hrnet.recipe.migrate import old_names, translate
from mindcv_hrnet.recipe.schema import annotations, build_parser, nearest, read_option, read_yaml


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
    export: ExportConfig = field(default_factory=ExportConfig)

    def to_dict(self) -> dict[str, Any]:
        """All keys, flat, as YAML-ready values."""
        values = {key: value for section in asdict(self).values() for key, value in section.items()}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def to_yaml(self) -> str:
        """The recipe as text that `parse_config(["-c", file])` reads back to an equal Config."""
        # JSON values are YAML values, and keep each key on one line
        blocks = (
            [f"# {name}", *(f"{key}: {json.dumps(value)}" for key, value in section.items()), ""]
            for name, section in asdict(self).items()
        )
        return "\n".join(line for block in blocks for line in block)

    def override(self, **values: Any) -> "Config":
        """A checked copy with other values for some keys."""
        return _assemble({**self.to_dict(), **values}, dict.fromkeys(values, "override"))


SECTIONS: dict[str, type] = {item.name: item.default_factory for item in fields(Config)}  # type: ignore[misc]


def option_names() -> list[str]:
    """Every recipe key, in the order of the sections."""
    return [item.name for section in SECTIONS.values() for item in fields(section)]


def parse_config(argv: Sequence[str], program: str = "mindcv_hrnet", description: str = "") -> Config:
    """The recipe that a command line asks for. Raises ConfigError: one line naming file, key, value and choices."""
    parser = build_parser(SECTIONS, program, description, hidden=old_names())
    known, unknown = parser.parse_known_args(list(argv))
    command_line = {key: value if value != [] else "True" for key, value in vars(known).items()}
    for token in unknown:
        name = token.lstrip("-").split("=")[0]
        hint = nearest(name, option_names()) if token.startswith("-") else ""
        raise ConfigError(f"command line: unknown argument '{token}'{hint}; see --help")
    path = command_line.pop("config", None)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in ((path, read_yaml(path) if path else {}), ("command line", command_line)):
        for key, value in translate(layer, origin or "recipe").items():
            if key not in option_names():
                raise ConfigError(f"{origin}: unknown key '{key}'{nearest(str(key), option_names())}; see --help")
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
    problem = contradiction(config)
    if problem:
        named = {origin for key, origin in origins.items() if re.search(rf"\b{key}\b", problem)}
        raise ConfigError(f"{'; '.join(sorted(named)) or 'recipe'}: {problem}")
    return config


def contradiction(config: Config) -> str:
    """Why two settings of the recipe cannot both be meant; empty when they can."""
    train, scheduler, augmentation, system = config.train, config.scheduler, config.augmentation, config.system
    if not config.data.data_dir:
        return "data_dir is empty; name the folder of your data set"
    if config.data.dataset_download and config.data.dataset not in ORIGINALS:
        return (
            f"dataset_download is True, but dataset is {config.data.dataset or 'empty'}; it fetches "
            f"{', '.join(ORIGINALS)}; ImageNet needs an account, and scripts/prepare_imagenet.py for its files"
        )
    if scheduler.warmup_epochs >= train.epoch_size:
        return (
            f"warmup_epochs {scheduler.warmup_epochs} lasts as long as epoch_size {train.epoch_size} or longer; "
            "lower warmup_epochs or raise epoch_size"
        )
    if scheduler.scheduler in CYCLES and (scheduler.warmup_epochs or scheduler.lr_epoch_stair):
        key = "warmup_epochs" if scheduler.warmup_epochs else "lr_epoch_stair"
        value, instead = getattr(scheduler, key), "0" if key == "warmup_epochs" else "False"
        return (
            f"{key} is {value}, but scheduler {scheduler.scheduler} rises by itself at every step; set {key} {instead}"
        )
    if scheduler.decay_rate > 1 and scheduler.scheduler in ("exponential_decay", "step_decay", "multi_step_decay"):
        return f"decay_rate {scheduler.decay_rate:g} is above 1: {scheduler.scheduler} would grow; lower decay_rate"
    if scheduler.scheduler in ("cosine_decay", *CYCLES) and scheduler.min_lr > scheduler.lr:
        return f"min_lr {scheduler.min_lr:g} is above lr {scheduler.lr:g}; lower min_lr"
    optimizer = config.optimizer
    if not optimizer.momentum and (
        optimizer.opt == "nesterov" or (optimizer.use_nesterov and optimizer.opt in ("sgd", "momentum"))
    ):
        key = "use_nesterov is True" if optimizer.use_nesterov else "opt is nesterov"
        return f"{key}, but momentum is 0; raise momentum"
    milestones = scheduler.multi_step_decay_milestones
    if list(milestones) != sorted(set(milestones)):
        return f"multi_step_decay_milestones {list(milestones)} do not rise; sort them"
    if train.ckpt_save_policy == "top_k" and not system.val_while_train:
        return "ckpt_save_policy top_k ranks by validation, but val_while_train is False; set val_while_train True"
    if train.resume_opt and not config.model.ckpt_path:
        return "resume_opt is True, but ckpt_path is empty; name the checkpoint or run folder to continue"
    if config.model.pretrained_url and not config.model.pretrained:
        return "pretrained_url is given, but pretrained is False; set pretrained True"
    frozen = train.freeze or ()
    if "backbone" in frozen and set(STAGES) & set(frozen):
        return f"freeze {' '.join(frozen)}: backbone includes the others; leave them out"
    if train.recompute and system.mode == 1:
        return "recompute is True, but mode is 1; it needs the graph: set mode 0"
    if train.recompute and config.model.drop_path_rate:
        return (
            f"recompute is True, but drop_path_rate is {config.model.drop_path_rate:g}: computed again, other "
            "branches would drop; set one of them to its default"
        )
    for key in ("scale", "ratio", "re_scale", "re_ratio"):
        low, high = getattr(augmentation, key)
        if low > high:
            return f"{key} [{low:g}, {high:g}] starts above its end; swap the two"
    for key in ("mean", "std"):
        if len(getattr(augmentation, key)) != config.model.in_channels:
            return f"{key} has {len(getattr(augmentation, key))} values, in_channels is {config.model.in_channels}"
    jitter = augmentation.color_jitter
    if isinstance(jitter, tuple) and len(jitter) not in (3, 4):
        return f"color_jitter has {len(jitter)} values; give one, three or four"
    if isinstance(jitter, tuple) and len(jitter) == 4 and jitter[3] > 0.5:
        return f"color_jitter turns the hue by {jitter[3]:g}; half of the circle, 0.5, is the most"
    level, layers = config.model.amp_level, config.model.amp_cast_list or ()
    accepted = (*AMP_LAYERS.get(level, AMP_LAYERS["O2"]), *OTHER_LAYERS)
    wrong = [layer for layer in layers if layer.removeprefix("nn.") not in accepted]
    if wrong:
        return f"amp_cast_list: '{wrong[0]}' is no layer for amp_level {level}; choices: {', '.join(accepted)}"
    if config.loss.loss == "JSD" and not augmentation.aug_splits:
        return "loss JSD compares three views of an image, aug_splits is 0; set aug_splits 3"
    if augmentation.aug_splits and not (augmentation.auto_augment or jitter):
        return "aug_splits 3 makes views that auto_augment tells apart, but it is None; name a policy such as augmix"
    return ""


def run_folder(config: Config) -> Path:
    """Absolute folder of the run."""
    return Path(config.train.ckpt_save_dir).expanduser().resolve()
