"""NPUs and GPUs: which are here, and what is missing for those that do not work."""

from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding
from mindcv_hrnet.runtime import devices

MENDS = {
    "Ascend": "docs/ascend.md, 'Set-up'",
    "GPU": "pip install '.[gpu]', then source scripts/gpu_environment.sh",
}
NAMES = {"Ascend": "NPU", "GPU": "GPU"}


def accelerator(device: str, wanted: str) -> Finding:
    """How `device` stands; `wanted` is the recipe's device_target."""
    signs = {"Ascend": devices.signs_of_npu, "GPU": devices.signs_of_gpu}[device]()
    found = devices.refusal(device)
    what = NAMES[device]
    if found is None:
        return Finding(GREEN, what, f"{count(device)} x {name_of(device)}")
    missing = "; ".join([*devices.missing_for(device), f"MindSpore: {found}"])
    if signs or wanted == device:
        here = f"here ({', '.join(signs)}) but" if signs else "asked for by device_target, but"
        # an NPU that does not work ends a job; beside a GPU that does not, the CPU works
        level = RED if device == "Ascend" or wanted == device else YELLOW
        return Finding(level, what, f"{here} not usable: {missing}", MENDS[device])
    return Finding(GREEN, what, f"none here; it would need: {missing}")


def count(device: str) -> int:
    """How many devices MindSpore reports."""
    import mindspore as ms

    return int(ms.hal.device_count(device))


def name_of(device: str) -> str:
    """The name of the first device; where the driver does not tell, the kind."""
    import mindspore as ms

    try:
        return str(ms.hal.get_device_name(0, device))
    except (RuntimeError, ValueError):
        return device


def usable_devices(wanted: str) -> tuple[str, int]:
    """(device, how many) that a job of this recipe would find here; ("CPU", 1) where it finds no accelerator."""
    for device in ("Ascend", "GPU") if wanted == "auto" else (wanted,):
        if device != "CPU" and devices.refusal(device) is None:
            return device, count(device)
    return "CPU", 1
