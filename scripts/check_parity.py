"""Compares this package's nine HRNets with timm's, weights converted forth and back; prints a table.

Usage, with torch and timm installed beside this package (pip install torch timm):

    python scripts/check_parity.py [VARIANT ...]      random weights, written by PyTorch, converted both ways
    python scripts/check_parity.py --golden           rewrite tests/golden/parity.npz, which the tests compare with

forth     largest difference of the logits, relative to the largest logit, after PyTorch file -> network here
features  the same for the maps at strides 4 to 32, as branches and widened
back      largest difference of timm's logits, network here -> PyTorch file -> timm, to its own before; this is not 0
          only because a bias is folded into a mean. `identical` says that every other tensor came back bit by bit, and
          that a second round trip changes no bit at all
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import timm
import torch
from mindspore.nn.utils import no_init_parameters

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]
from golden_fill import image, quick_fill  # noqa: E402

from mindcv_hrnet.models import VARIANTS, create_model  # noqa: E402
from mindcv_hrnet.weights import fit_weights, read_checkpoint, write_weights  # noqa: E402

SHAPE = (2, 3, 64, 96)
SAMPLES = 64
LIMIT = 1e-4


def randomise(network: Any) -> None:
    """Statistics and affine parameters of a network that has seen something."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.3, 0.7)
            module.bias.data.normal_(0, 0.1)


def fill_by_name(network: Any) -> None:
    """Values that the tests can make again without PyTorch."""
    for name, tensor in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(quick_fill(name, tuple(tensor.shape))))


@torch.inference_mode()
def outputs_of_timm(network: Any, variant: str) -> list[np.ndarray]:
    """[logits, four branches, four widened branches]."""
    images = torch.from_numpy(image(SHAPE))
    outputs = [network(images)]
    for location in ("", "incre"):
        backbone = timm.create_model(
            variant, features_only=True, feature_location=location, out_indices=(1, 2, 3, 4)
        ).eval()
        missing, _ = backbone.load_state_dict(network.state_dict(), strict=False)
        assert not missing, missing
        outputs += backbone(images)
    return [output.numpy() for output in outputs]


def outputs_of_ours(network: Any) -> list[np.ndarray]:
    images = ms.Tensor(image(SHAPE))
    branches = network.trunk(images)
    widened = [widen(branch) for widen, branch in zip(network.widen, branches, strict=True)]
    return [output.asnumpy() for output in (network(images), *branches, *widened)]


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def check(variant: str, folder: Path, seed: int) -> tuple[float, float, float, bool]:
    """(forth, features, back, identical) of one variant."""
    torch.manual_seed(seed)
    network = timm.create_model(variant).eval()
    randomise(network)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    before = outputs_of_timm(network, variant)

    path = folder / f"{variant}.pth"
    torch.save(state, path, _use_new_zipfile_serialization=seed % 2 == 0)
    arrays = read_checkpoint(str(path))
    with no_init_parameters():
        ours = create_model(variant).set_train(False)
    fit_weights(ours, arrays, str(path))
    after = outputs_of_ours(ours)

    write_weights({name: p.asnumpy() for name, p in ours.parameters_dict().items()}, path)
    back = torch.load(path, weights_only=True)
    network.load_state_dict(back, strict=True)
    with torch.inference_mode():
        logits = network(torch.from_numpy(image(SHAPE))).numpy()
    folded = {name for name in state if name.startswith(("downsamp_modules", "final_layer"))}
    folded = {name for name in folded if name.endswith(("0.bias", "running_mean"))}
    again = read_checkpoint(str(path))
    identical = (
        list(back) == list(state)
        and all(torch.equal(back[name], state[name]) for name in state if name not in folded)
        and all(np.array_equal(again[name], arrays[name]) for name in arrays)
    )
    features = max(map(difference, after[1:], before[1:]))
    return difference(after[0], before[0]), features, difference(logits, before[0]), identical


def listing(shapes: dict[str, tuple[int, ...]]) -> str:
    """A fingerprint of names and shapes, in their order."""
    text = "\n".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    return hashlib.sha256(text.encode()).hexdigest()


def write_golden(path: Path) -> None:
    golden: dict[str, Any] = {"image_shape": np.array(SHAPE)}
    for variant in VARIANTS:
        network = timm.create_model(variant).eval()
        fill_by_name(network)
        logits, *maps = outputs_of_timm(network, variant)
        golden[f"{variant}.names"] = listing({name: tuple(t.shape) for name, t in network.state_dict().items()})
        golden[f"{variant}.logits"] = logits
        for number, values in enumerate(maps):
            flat = values.reshape(-1)
            golden[f"{variant}.map{number}"] = flat[:: max(flat.size // SAMPLES, 1)][:SAMPLES]
        print(f"{variant:20s} logits {logits.std():.4f}  maps {' '.join(f'{m.std():.3f}' for m in maps)}", flush=True)
    np.savez_compressed(path, **golden)
    print(f"wrote {path} ({path.stat().st_size} bytes)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--golden", action="store_true", help="rewrite the golden file of the tests")
    options = parser.parse_args()
    ms.set_context(mode=ms.PYNATIVE_MODE)
    if options.golden:
        write_golden(ROOT / "tests" / "golden" / "parity.npz")
        return 0
    print(f"timm {timm.__version__}, PyTorch {torch.__version__}, MindSpore {ms.__version__}")
    print(f"{'variant':20s} {'forth':>8s} {'features':>9s} {'back':>8s}  identical")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for seed, variant in enumerate(options.variants):
            forth, features, back, identical = check(variant, Path(folder), seed)
            print(f"{variant:20s} {forth:8.1e} {features:9.1e} {back:8.1e}  {identical}", flush=True)
            failed |= not (max(forth, features, back) <= LIMIT and identical)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
