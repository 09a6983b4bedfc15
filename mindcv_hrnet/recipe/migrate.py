"""Keys and values of earlier MindCV recipes: translated where the meaning is the same, or refused."""

from collections.abc import Iterable
from typing import Any

from mindcv_hrnet.errors import ConfigError, nearest
from mindcv_hrnet.recipe.schema import convert_value

# old key: today's
RENAMED = {
    "use_ema": "ema",
    "use_clip_grad": "clip_grad",
    "data_url": "data_dir",
    "train_url": "ckpt_save_dir",
    "smooth_factor": "label_smoothing",
    "resume": "resume_opt",
}
# old value of a key: today's
RENAMED_VALUES = {
    ("mixup", None): 0.0,
    ("cutmix", None): 0.0,
    ("ckpt_save_policy", None): "latest_k",
    ("scheduler", "polynomial"): "polynomial_decay",
    ("scheduler", "exponential"): "exponential_decay",
    ("scheduler", "warmup_cosine_decay"): "cosine_decay",
}
# old switch: (today's key, value for True, value for False)
SWITCHES = {
    "dynamic_loss_scale": ("loss_scale_type", "dynamic", "fixed"),
    "filter_bias_and_bn": ("weight_decay_filter", "norm_and_bias", "disable"),
}
# old key: (the value that asks for what is done anyway, what to do instead of the other)
GONE = {
    "save_checkpoint": (True, "a run always keeps its last checkpoint; raise ckpt_save_interval for fewer"),
    "enable_modelarts": (False, "copy the data to a local folder and pass data_dir and ckpt_save_dir"),
    "ckpt_url": (False, "pass a local file as ckpt_path"),
    "multi_data_url": (False, "pass one data_dir"),
    "pretrain_url": (False, "pass a local file as ckpt_path"),
    "use_obs": (False, "copy the data to a local folder and pass data_dir"),
}
# what other programs call a key
ELSEWHERE = {
    "learning_rate": "lr",
    "base_lr": "lr",
    "wd": "weight_decay",
    "epochs": "epoch_size",
    "num_epochs": "epoch_size",
    "warmup_steps": "warmup_epochs",
    "batch": "batch_size",
    "optimizer": "opt",
    "sched": "scheduler",
    "workers": "num_parallel_workers",
    "device": "device_target",
    "checkpoint": "ckpt_path",
    "weights": "ckpt_path",
    "initial_checkpoint": "ckpt_path",
    "output": "ckpt_save_dir",
    "output_dir": "ckpt_save_dir",
    "arch": "model",
    "img_size": "image_resize",
    "input_size": "image_resize",
    "aa": "auto_augment",
    "smoothing": "label_smoothing",
    "model_ema": "ema",
    "drop_path": "drop_path_rate",
    "amp": "amp_level",
    "grad_accum_steps": "gradient_accumulation_steps",
}
NOTHING = ("", "none", "null")


def translate(layer: dict[str, Any], origin: str) -> dict[str, Any]:
    """A layer of settings with today's keys and values. Raises ConfigError for a key that is gone or given twice."""
    result: dict[str, Any] = {}
    for old, value in layer.items():
        given = value[0] if isinstance(value, list) and len(value) == 1 else value
        nothing = given is None or str(given).lower() in NOTHING
        key = RENAMED.get(old, old)
        if old in GONE:
            harmless, instead = GONE[old]
            if nothing or _means(given, harmless):
                continue
            raise ConfigError(f"{origin}: {old}: is no longer there; {instead}")
        if old in SWITCHES:
            key, yes, no = SWITCHES[old]
            if not (_means(given, True) or _means(given, False)):
                raise ConfigError(f"{origin}: {old}: {given!r} is not True/False")
            value = yes if _means(given, True) else no
        elif nothing or isinstance(given, str):
            value = RENAMED_VALUES.get((key, None if nothing else given), value)
        if key != old and layer.get(key) == value:
            continue
        if (key != old and key in layer) or key in result:
            raise ConfigError(f"{origin}: '{old}' is the old name of '{key}', and both are given; drop one")
        result[key] = value
    return result


def _means(given: Any, switch: bool) -> bool:
    try:
        return bool(convert_value(given, bool) == switch)
    except ValueError:
        return False


def meant_by(name: str, names: Iterable[str]) -> str:
    """`" (nearest: 'lr')"` for a key that is not there: what others call it, or how it is spelt; else nothing."""
    key = ELSEWHERE.get(name.lower().replace("-", "_"))
    return f" (nearest: '{key}')" if key else nearest(name, names)


def old_names() -> list[str]:
    """Every key that is understood, but no longer a key."""
    return [*RENAMED, *SWITCHES, *GONE]
