"""Writes tests/golden/torch/*.pth.gz: files that PyTorch itself saved, for the tests of the readers.

Usage, with torch installed beside this package:

    python scripts/make_golden_checkpoints.py

module_legacy   {"model": state dict with `module.` before each name}, the format of the official HRNet weights
training_zip    a training checkpoint as timm writes it, with an averaged state dict, optimizer, options and a score
plain_zip       a bare state dict
odd_zip, odd_legacy   dtypes, strides and shared storages that the others do not have
"""

from __future__ import annotations

import argparse
import gzip
import io
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
from states import pytorch_state  # noqa: E402

OUT = ROOT / "tests" / "golden" / "torch"


def save(name: str, content: object, legacy: bool = False) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    path = OUT / f"{name}.pth.gz"
    path.write_bytes(gzip.compress(buffer.getvalue(), 9, mtime=0))
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def odd() -> dict[str, torch.Tensor]:
    base = torch.arange(24, dtype=torch.float32)
    return {
        "half.weight": torch.tensor([0.5, -1.5], dtype=torch.float16),
        "bfloat.weight": torch.tensor([[0.15625, -3.0]], dtype=torch.bfloat16),
        "double.weight": torch.tensor([1e-3], dtype=torch.float64),
        "transposed.weight": base.reshape(4, 6).t(),
        "slice.weight": base[5:11:2],
        "parameter.weight": torch.nn.Parameter(torch.ones(2, 3)),
        "scalar.weight": torch.tensor(2.5),
        "empty.weight": torch.zeros(0, 4),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    OUT.mkdir(exist_ok=True)
    state = OrderedDict((name, torch.from_numpy(array)) for name, array in pytorch_state().items())
    setattr(state, "_metadata", OrderedDict({"": {"version": 1}}))  # noqa: B010 - as state_dict() leaves it there
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight])
    weight.sum().backward()
    optimizer.step()
    training = {
        "epoch": 3,
        "arch": "hrnet",
        "state_dict": zeros,
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=0.1, tags=["a"]),
        "metric": np.float64(81.5),
        "state_dict_ema": state,
    }
    save("module_legacy", {"model": OrderedDict((f"module.{n}", t) for n, t in state.items())}, legacy=True)
    save("training_zip", training)
    save("plain_zip", state)
    save("odd_zip", odd())
    save("odd_legacy", odd(), legacy=True)


if __name__ == "__main__":
    main()
