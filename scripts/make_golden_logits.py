"""Writes tests/golden/logits.npz: the logits of timm's nine HRNets, filled with known values, on a known image.

Usage, with PyTorch and timm installed (MindSpore is not needed):

    python scripts/make_golden_logits.py

The tests compare this package's networks, filled by the same function, with what is written here. timm has biases on
four convolutions of the head, which this package folds into the batch normalisations; here they are zero.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
from golden_fill import fill, image  # noqa: E402

VARIANTS = (
    "hrnet_w18_small",
    "hrnet_w18_small_v2",
    "hrnet_w18",
    "hrnet_w30",
    "hrnet_w32",
    "hrnet_w40",
    "hrnet_w44",
    "hrnet_w48",
    "hrnet_w64",
)
# Not square, so that exchanged axes show. timm takes multiples of 32 only.
IMAGE_SHAPE = (2, 3, 64, 96)
BATCH_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def canonical_name(name: str, is_batch_norm: bool) -> str:
    """The name that MindCV and this package give to a parameter that timm calls `name`."""
    name = re.sub(r"\bdownsample\b", "down_sample", name)
    name = re.sub(r"\bdownsamp_modules\b", "downsample_modules", name)
    if is_batch_norm:
        owner, _, kind = name.rpartition(".")
        name = f"{owner}.{BATCH_NORM[kind]}"
    return name


def golden_logits(variant: str) -> np.ndarray:
    """(2, 1000) float32 logits of timm's `variant`."""
    import timm
    import torch

    network = timm.create_model(variant, pretrained=False).eval()
    modules = dict(network.named_modules())
    state = {}
    for name, tensor in network.state_dict().items():
        owner, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        is_convolution = isinstance(modules[owner], torch.nn.Conv2d)
        if is_convolution and kind == "bias":
            state[name] = torch.zeros_like(tensor)
            continue
        is_batch_norm = isinstance(modules[owner], torch.nn.BatchNorm2d)
        state[name] = torch.from_numpy(fill(canonical_name(name, is_batch_norm), tuple(tensor.shape)))
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    with torch.inference_mode():
        return network(torch.from_numpy(image(IMAGE_SHAPE))).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "tests" / "golden" / "logits.npz")
    out = parser.parse_args().out
    logits = {}
    for variant in VARIANTS:
        logits[variant] = golden_logits(variant)
        values = logits[variant]
        print(f"{variant:20s} mean {values.mean():8.4f}  std {values.std():8.4f}", flush=True)
        assert 0.01 < values.std() < 100 and np.ptp(values, axis=0).min() > 0, "the activations died or exploded"
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, image_shape=np.array(IMAGE_SHAPE), **logits)
    print(f"wrote {out} ({out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()
