"""Keys and values of earlier MindCV recipes: translated where the meaning is the same, or refused."""

from typing import Any

from mindcv_hrnet.errors import ConfigError

# old key: today's
RENAMED = {
    "use_ema": "ema",
    "use_clip_grad": "clip_grad",
    "data_url": "data_dir",
    "train_url": "ckpt_save_dir",
}
# old value of a key: today's
RENAMED_VALUES = {
    ("scheduler", "polynomial"): "polynomial_decay",
    ("scheduler", "exponential"): "exponential_decay",
    ("scheduler", "warmup_cosine_decay"): "cosine_decay",
    ("loss", "ce"): "CE",
    ("loss", "bce"): "BCE",
    ("loss", "jsd"): "JSD",
}
# old switch: (today's key, value for True, value for False)
SWITCHES = {
    "dynamic_loss_scale": ("loss_scale_type", "dynamic", "fixed"),
    "filter_bias_and_bn": ("weight_decay_filter", "norm_and_bias", "disable"),
}
# old key: what to do instead
GONE = {
    "enable_modelarts": "copy the data to a local folder and pass data_dir and ckpt_save_dir",
    "ckpt_url": "pass a local file as ckpt_path",
    "multi_data_url": "pass one data_dir",
    "pretrain_url": "pass a local file as ckpt_path",
    "use_obs": "copy the data to a local folder and pass data_dir",
}
OFF = ("false", "no", "off", "n", "f", "0", "none", "")


def translate(layer: dict[str, Any], origin: str) -> dict[str, Any]:
    """A layer of settings with today's keys and values. Raises ConfigError for a key that is gone or given twice."""
    result: dict[str, Any] = {}
    for old, value in layer.items():
        given = value[0] if isinstance(value, list) and len(value) == 1 else value
        key = RENAMED.get(old, old)
        if old in SWITCHES:
            key, yes, no = SWITCHES[old]
            value = no if str(given).lower() in OFF else yes
        elif isinstance(given, str):
            value = RENAMED_VALUES.get((key, given), value)
        if old in GONE:
            if str(given).lower() in OFF:
                continue
            raise ConfigError(f"{origin}: {old}: is no longer there; {GONE[old]}")
        if (key != old and key in layer) or key in result:
            raise ConfigError(f"{origin}: '{old}' is the old name of '{key}', and both are given; drop one")
        result[key] = value
    return result


def old_names() -> list[str]:
    """Every key that is understood, but no longer a key."""
    return [*RENAMED, *SWITCHES, *GONE]
