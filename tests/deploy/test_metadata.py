"""What travels with a file: written, read back, and refused where it is newer or damaged."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mindcv_hrnet import __version__
from mindcv_hrnet.deploy.metadata import Metadata, digest
from mindcv_hrnet.errors import CheckpointError
from mindcv_hrnet.recipe.config import parse_config

ARGV = "--model hrnet_w18 --in_channels 1 --image_resize 64 --crop_pct 1.0 --interpolation bicubic --mean 1 --std 2"


def test_metadata_is_that_of_the_recipe():
    metadata = Metadata.of(parse_config(ARGV.split()), ["a", "b"], weights_digest="sha256:0")
    assert asdict(metadata) == {
        "model": "hrnet_w18",
        "in_channels": 1,
        "image_resize": 64,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": (1.0,),
        "std": (2.0,),
        "class_names": ("a", "b"),
        "input_dtype": "float32",
        "dynamic_size": False,
        "batch_size": 0,
        "outputs": ("logits",),
        "version": __version__,
        "weights_digest": "sha256:0",
        "layout": 1,
    }
    assert Metadata.from_json(metadata.to_json(), Path("a")) == metadata
    assert metadata.input_shape == (None, 1, 64, 64) and metadata.is_classifier


OLD = {
    **{"model": "tiny", "in_channels": 3, "image_resize": 32, "crop_pct": 0.875, "interpolation": "bilinear"},
    **{"mean": [0.0] * 3, "std": [1.0] * 3, "class_names": ["ünï"]},
}


def test_files_of_before_there_were_more_keys_are_read():
    metadata = Metadata.from_json(json.dumps(OLD), Path("a"))
    assert (metadata.class_names, metadata.input_dtype, metadata.version) == (("ünï",), "float32", "")


NEWER = f"was written by mindcv-hrnet 9.0, this is {__version__}; update this package, or export the file again with it"
DAMAGED = "its labels and preprocessing are damaged; export it again"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps({**OLD, "layout": 2, "version": "9.0"}), NEWER),
        (json.dumps({**OLD, "colour_space": "BGR", "version": "9.0"}), NEWER),
        ('{"model": "tiny"}', DAMAGED),
        ("not JSON", DAMAGED),
        ("[1]", DAMAGED),
        ("[" * 100_000, DAMAGED),
        *(
            (json.dumps({**OLD, key: value}), DAMAGED)
            for key, value in (
                *(
                    ("model", 5),
                    ("in_channels", 0),
                    ("in_channels", True),
                    ("image_resize", 10**11),
                    ("image_resize", 0),
                ),
                *(("crop_pct", 0), ("crop_pct", float("nan")), ("interpolation", "x"), ("interpolation", [1])),
                *(("mean", [1, 2]), ("mean", "abc"), ("mean", [1, 2, None]), ("std", [1, 1, 0]), ("std", 1)),
                *(("class_names", [1]), ("class_names", "ab"), ("outputs", []), ("input_dtype", "int8")),
                *(("dynamic_size", 1), ("batch_size", -1), ("batch_size", 10**9), ("layout", "1"), ("version", 5)),
            )
        ),
    ],
    ids=lambda text: text[-24:],
)
def test_refused_with_the_reason(text, reason):
    with pytest.raises(CheckpointError, match=rf"^a\.onnx: {re.escape(reason)}$"):
        Metadata.from_json(text, Path("a.onnx"))


def test_digest_is_of_names_shapes_and_values():
    weights = {"a": np.arange(4.0, dtype=np.float32), "b": np.ones((2, 2), np.float16)}
    same = {"b": np.ones((2, 2), np.float32), "a": np.arange(4.0)}
    assert digest(weights) == digest(same) and digest(weights).startswith("sha256:")
    others = (
        {**weights, "a": np.arange(1.0, 5.0)},
        {**weights, "a": np.arange(4.0).reshape(2, 2)},
        {"a": weights["a"]},
    )
    assert len({digest(weights), *map(digest, others)}) == 4
