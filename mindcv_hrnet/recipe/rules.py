"""Settings that cannot both be meant: one row each; the first that a recipe breaks is told."""

import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from mindcv_hrnet.models.amp_names import AMP_LAYERS, OTHER_LAYERS
from mindcv_hrnet.models.stages import STAGES
from mindcv_hrnet.recipe.keys import CYCLES, ORIGINAL_DATASETS
from mindcv_hrnet.runtime.files import LONGEST_NAME

FALL_BY_RATE = ("exponential_decay", "step_decay", "multi_step_decay")
END_AT_MIN_LR = ("cosine_decay", *CYCLES)
HALF_CIRCLE = 0.5  # of hue, in either direction


class Rule(NamedTuple):
    """`broken`: whether the recipe `r`, with every key as an attribute, breaks the rule. `message`: what is said then.

    A message names the keys and what they hold, and says what to do.
    """

    broken: Callable[[Any], object]
    message: Callable[[Any], str]


def _reversed_range(key: str) -> Rule:
    return Rule(
        lambda r: getattr(r, key)[0] > getattr(r, key)[1],
        lambda r: "{} [{:g}, {:g}] starts above its end; swap the two".format(key, *getattr(r, key)),
    )


def _other_channels(key: str) -> Rule:
    return Rule(
        lambda r: len(getattr(r, key)) != r.in_channels,
        lambda r: f"{key} has {len(getattr(r, key))} values, in_channels is {r.in_channels}",
    )


def _layers_to_cast(r: Any) -> tuple[str, ...]:
    """What amp_cast_list may name at this amp_level; at a level without a list of its own, all that exist."""
    return (*AMP_LAYERS.get(r.amp_level, AMP_LAYERS["O2"]), *OTHER_LAYERS)


def _unknown_layers(r: Any) -> list[str]:
    return [layer for layer in r.amp_cast_list or () if layer.removeprefix("nn.") not in _layers_to_cast(r)]


def _wants_nesterov(r: Any) -> bool:
    return r.opt == "nesterov" or (r.use_nesterov and r.opt in ("sgd", "momentum"))


def _too_long(key: str) -> Rule:
    return Rule(
        lambda r: len(os.fsencode(getattr(r, key))) > LONGEST_NAME,
        lambda r: f"{key} has more than {LONGEST_NAME} bytes, which no folder's name can have; shorten it",
    )


def _skips_updates(r: Any) -> bool:
    wanted = r.amp_level != "O0" if r.drop_overflow_update is None else r.drop_overflow_update
    return bool(wanted) or r.loss_scale_type != "fixed"


RULES = (
    *map(_too_long, ("train_split", "val_split")),
    Rule(
        lambda r: not r.data_dir,
        lambda r: "data_dir is empty; name the folder of your data set",
    ),
    Rule(
        lambda r: r.dataset_download and r.dataset not in ORIGINAL_DATASETS,
        lambda r: (
            f"dataset_download is True, but dataset is {r.dataset or 'empty'}; "
            f"it fetches {', '.join(ORIGINAL_DATASETS)}; "
            "ImageNet needs an account, and scripts/prepare_imagenet.py for its files"
        ),
    ),
    Rule(
        lambda r: r.scheduler in CYCLES and r.warmup_epochs,
        lambda r: (
            f"warmup_epochs is {r.warmup_epochs}, but scheduler {r.scheduler} rises by itself at every step; "
            "set warmup_epochs 0"
        ),
    ),
    Rule(
        lambda r: r.scheduler in CYCLES and r.lr_epoch_stair,
        lambda r: (
            f"lr_epoch_stair is True, but scheduler {r.scheduler} rises by itself at every step; "
            "set lr_epoch_stair False"
        ),
    ),
    Rule(
        lambda r: r.decay_rate > 1 and r.scheduler in FALL_BY_RATE,
        lambda r: f"decay_rate {r.decay_rate:g} is above 1: {r.scheduler} would grow; lower decay_rate",
    ),
    Rule(
        lambda r: r.scheduler in END_AT_MIN_LR and r.min_lr > r.lr,
        lambda r: f"min_lr {r.min_lr:g} is above lr {r.lr:g}; lower min_lr",
    ),
    Rule(
        lambda r: _wants_nesterov(r) and not r.momentum,
        lambda r: (
            f"{'use_nesterov is True' if r.use_nesterov else 'opt is nesterov'}, but momentum is 0; raise momentum"
        ),
    ),
    Rule(
        lambda r: list(r.multi_step_decay_milestones) != sorted(set(r.multi_step_decay_milestones)),
        lambda r: f"multi_step_decay_milestones {list(r.multi_step_decay_milestones)} do not rise; sort them",
    ),
    Rule(
        lambda r: r.ckpt_save_policy == "top_k" and not r.val_while_train,
        lambda r: "ckpt_save_policy top_k ranks by validation, but val_while_train is False; set val_while_train True",
    ),
    Rule(
        lambda r: r.nan_patience and not _skips_updates(r),
        lambda r: (
            f"nan_patience is {r.nan_patience}, but updates that are not finite are not skipped; pass "
            "--drop_overflow_update True, or set nan_patience 0"
        ),
    ),
    Rule(
        lambda r: r.resume_override and not r.resume_opt,
        lambda r: "resume_override is True, but resume_opt is False; it is for runs that go on: pass --resume_opt True",
    ),
    Rule(
        lambda r: r.pretrained_url and not r.pretrained,
        lambda r: "pretrained_url is given, but pretrained is False; set pretrained True",
    ),
    Rule(
        lambda r: "backbone" in (r.freeze or ()) and set(STAGES) & set(r.freeze),
        lambda r: f"freeze {' '.join(r.freeze)}: backbone includes the others; leave them out",
    ),
    Rule(
        lambda r: r.recompute and r.mode == 1,
        lambda r: "recompute is True, but mode is 1; it needs the graph: set mode 0",
    ),
    *map(_reversed_range, ("scale", "ratio", "re_scale", "re_ratio")),
    *map(_other_channels, ("mean", "std")),
    Rule(
        lambda r: isinstance(r.color_jitter, tuple) and len(r.color_jitter) not in (3, 4),
        lambda r: f"color_jitter has {len(r.color_jitter)} values; give one, three or four",
    ),
    Rule(
        lambda r: isinstance(r.color_jitter, tuple) and max(r.color_jitter[3:], default=0) > HALF_CIRCLE,
        lambda r: (
            f"color_jitter turns the hue by {r.color_jitter[3]:g}; half of the circle, {HALF_CIRCLE:g}, is the most"
        ),
    ),
    Rule(
        _unknown_layers,
        lambda r: (
            f"amp_cast_list: '{_unknown_layers(r)[0]}' is no layer for amp_level {r.amp_level}; "
            f"choices: {', '.join(_layers_to_cast(r))}"
        ),
    ),
    Rule(
        lambda r: r.export_dynamic_size and set(r.file_format) != {"ONNX"},
        lambda r: (
            f"export_dynamic_size is True, but file_format is {', '.join(r.file_format)}; images of any size are for "
            "ONNX alone: set file_format ONNX"
        ),
    ),
    Rule(
        lambda r: "AIR" in r.file_format and not r.export_batch_size,
        lambda r: "file_format AIR has a fixed batch, but export_batch_size is 0; name the batch size",
    ),
    Rule(
        lambda r: r.loss == "JSD" and not r.aug_splits,
        lambda r: "loss JSD compares three views of an image, aug_splits is 0; set aug_splits 3",
    ),
    Rule(
        lambda r: r.aug_splits and not (r.auto_augment or r.color_jitter),
        lambda r: (
            "aug_splits 3 makes views that auto_augment tells apart, but it is None; name a policy such as augmix"
        ),
    ),
)


def contradiction(values: Mapping[str, Any]) -> str:
    """What is wrong with a recipe, given as all its keys, each by itself accepted; empty where nothing is."""
    recipe = SimpleNamespace(**values)
    return next((rule.message(recipe) for rule in RULES if rule.broken(recipe)), "")
