"""The Hugging Face hub: weights from there, and weights with a card to there. Needs the extra `[hub]`."""

from __future__ import annotations

import importlib
import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import CheckpointError, UserError
from mindcv_hrnet.runtime.files import reason_of
from mindcv_hrnet.weights.read import read_weights
from mindcv_hrnet.weights.write import write_weights

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
# What a repository may call its weights, the safest kind first
CANDIDATES = (WEIGHTS_FILE, "pytorch_model.bin", "model.ckpt")

CARD = """---
library_name: {library}
pipeline_tag: image-classification
tags:
- image-classification
- hrnet
- mindspore
{license}---

# {title}

{model} (HRNet, [arXiv:1908.07919](https://arxiv.org/abs/1908.07919)): {classes} classes, {channels} image channels,
{parameters:.2f} M values with batch-norm statistics.
{results}
## Use

On MindSpore, with this project's package:

```python
from mindcv_hrnet import create_model
from mindcv_hrnet.weights.pretrained import fetch

network = create_model("{model}", num_classes={classes}, in_channels={channels}, checkpoint=str(fetch("hf://{repository}")))
```

On PyTorch, with timm (the names in `{file}` are timm's):

```python
import timm

network = timm.create_model("{model}", num_classes={classes}, in_chans={channels}, checkpoint_path="{file}")
```
"""


def fetch_from_hub(address: str) -> Path:
    """The weights at `hf://OWNER/NAME[@REVISION][/FILE]`, kept in the hub's own cache."""
    owner_name, _, file = _split(address)
    repository, _, revision = owner_name.partition("@")
    hub = _library()
    problem: Exception | None = None
    for name in (file,) if file else CANDIDATES:
        try:
            return Path(hub.hf_hub_download(repo_id=repository, filename=name, revision=revision or None))
        except Exception as error:  # the library has a tree of its own, over another HTTP library's
            problem = error
            if type(error).__name__ not in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
                break
    assert problem is not None
    wanted = file or " or ".join(CANDIDATES)
    raise CheckpointError(f"{address}: {wanted} cannot be fetched from the hub ({reason_of(problem)})") from None


def push(
    checkpoint: str,
    repository: str,
    model: str,
    results: Mapping[str, str] | None = None,
    license_name: str = "",
    class_names: list[str] | None = None,
    private: bool = False,
) -> str:
    """Upload the weights in `checkpoint` with a card and a timm configuration; returns the commit's address.

    `results` goes into the card as a table, such as `{"top-1, digits": "98.6 %"}`.
    """
    hub = _library()
    with tempfile.TemporaryDirectory() as folder:
        write_repository(
            Path(folder),
            checkpoint=checkpoint,
            repository=repository,
            model=model,
            results=results or {},
            license_name=license_name,
            class_names=class_names or [],
        )
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            commit = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Weights of {model}")
        except Exception as error:
            raise UserError(f"{repository}: cannot be pushed to the hub ({reason_of(error)}); logged in?") from None
    return str(commit)


def write_repository(
    folder: Path,
    *,
    checkpoint: str,
    repository: str,
    model: str,
    results: Mapping[str, str],
    license_name: str,
    class_names: list[str],
) -> None:
    """What a repository on the hub holds: weights by timm's names, timm's configuration, card."""
    arrays = read_weights(checkpoint).arrays
    if "classifier.weight" not in arrays or "conv1.weight" not in arrays:
        raise CheckpointError(f"{checkpoint}: holds no HRNet classifier")
    classes, channels = arrays["classifier.weight"].shape[0], arrays["conv1.weight"].shape[1]
    if class_names and len(class_names) != classes:
        raise UserError(f"{checkpoint}: has {classes} classes, but {len(class_names)} class names were given")
    write_weights(arrays, folder / WEIGHTS_FILE)
    settings: dict[str, Any] = {
        "architecture": model,
        "num_classes": classes,
        "num_features": int(arrays["classifier.weight"].shape[1]),
        "pretrained_cfg": {"num_classes": classes, "input_size": [channels, 224, 224], "classifier": "classifier"},
    }
    if class_names:
        settings["label_names"] = class_names
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    rows = "".join(f"| {name} | {value} |\n" for name, value in results.items())
    card = CARD.format(
        library="timm",
        license=f"license: {license_name}\n" if license_name else "",
        title=repository.rpartition("/")[2],
        model=model,
        classes=classes,
        channels=channels,
        parameters=sum(array.size for array in arrays.values()) / 1e6,
        results=f"\n| measured | result |\n|---|---|\n{rows}" if rows else "",
        repository=repository,
        file=WEIGHTS_FILE,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")


def _split(address: str) -> tuple[str, str, str]:
    """("OWNER/NAME[@REVISION]", "/", FILE) of `hf://OWNER/NAME[@REVISION][/FILE]`."""
    owner, _, rest = address.removeprefix("hf://").partition("/")
    name, slash, file = rest.partition("/")
    if not owner or not name:
        raise CheckpointError(f"{address}: an address on the hub is hf://OWNER/NAME, hf://OWNER/NAME/FILE")
    return f"{owner}/{name}", slash, file


def _library() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise UserError("the Hugging Face hub needs its library: pip install 'mindcv-hrnet[hub]'") from None
