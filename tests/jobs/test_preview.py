import logging

import numpy as np
import pytest
from PIL import Image

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.data.transforms import store
from mindcv_hrnet.jobs import preview as module
from mindcv_hrnet.recipe.config import parse_config

RECIPE = (
    "--device_target CPU --mode 1 --image_resize 32 --batch_size 64 --auto_augment randaug-m7-mstd0.5 --re_prob 1 "
    "--mixup 5 --seed 3 --warmup_epochs 0"
)


def write_images(root):
    for label, name in enumerate(("ant", "bee")):
        (root / "train" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (50, 70, 3)).astype(np.uint8)
            Image.fromarray(pixels // (label + 1)).save(root / "train" / name / f"{number}.png")


def recipe(tmp_path):
    write_images(tmp_path)
    paths = ["--data_dir", str(tmp_path), "--ckpt_save_dir", str(tmp_path / "run")]
    return parse_config([*RECIPE.split(), *paths])


def test_one_row_per_image_and_one_tile_per_step(tmp_path, pynative, monkeypatch, caplog):
    grids = []
    # the device of a process is chosen once, and earlier tests have used it
    monkeypatch.setattr(module, "start", lambda system: None)
    monkeypatch.setattr(module, "draw_sheet", lambda grid, last: (grids.append(grid), Image.new("RGB", (2, 2)))[1])
    with caplog.at_level(logging.INFO):
        # a recipe for other classes is previewed as well
        out = module.preview(recipe(tmp_path).override(num_classes=1000))
    assert out == tmp_path / "run" / "preview.png" and Image.open(out).format == "PNG"
    assert caplog.messages[-1] == f"6 images, step by step: {out}"
    (grid,) = grids
    assert len(grid) == 6
    for tiles in grid:
        file, crop, *steps, sent, erased, seen = tiles
        assert file.image.shape == (50, 70, 3) and file.caption.split("\n")[1].startswith("70x50 ")
        assert crop.caption.startswith("crop\n") and crop.image.shape == (32, 32, 3)
        assert all(step.image.shape == (32, 32, 3) for step in steps)
        assert sent.caption == "to the device"
        kind, box = erased.caption.split("\n")
        width, height = map(int, box.split("x"))
        changed = (erased.image != sent.image).any(axis=2)
        assert kind == "erase" and changed.sum() >= 0.9 * width * height and not changed.all()
        grey = np.round([123.675, 116.28, 103.53])  # the mean colour, which is zero after normalisation
        assert (erased.image == grey).all(axis=2).sum() >= width * height
        first, second = seen.caption.split("\n")
        kind, own_share, own = first.split()
        assert kind == "mixup" and own == file.caption.split("\n")[0] and 0.2 < float(own_share) < 0.8
        assert abs(float(own_share) + float(second.split()[0]) - 1) < 0.011
        # the last step is what the batch holds
        out_of_batch = np.zeros((3, 32, 32), np.uint8)
        store((steps or [crop])[-1].image, out_of_batch)
        assert (out_of_batch == sent.image.transpose(2, 0, 1)).all()
        assert (seen.image != erased.image).any()


def test_what_is_shown_is_what_training_gets(tmp_path):
    config = recipe(tmp_path).override(batch_size=6, drop_remainder=False)
    source = open_split(str(tmp_path), "train")
    loader = TrainLoader(source, config.data, config.augmentation, config.system.seed)
    batch = next(loader.batches(0))
    for row, entry in enumerate(loader.entries(0, 0)):
        *_, (_, _, image) = loader.transform.steps(source.read(int(entry)), loader.uniforms(0, int(entry)))
        assert (image.transpose(2, 0, 1) == batch.images[row]).all()
    loader.close()


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("Invert", -6.45, ""),
        ("hflip", 1.0, ""),
        ("Solarize", -6.45, "level 6.5"),
        ("Color", -7.0, "level 7.0"),
        ("ColorIncreasing", -7.0, "level -7.0"),
        ("Rotate", 6.45, "level +6.5"),
        ("TranslateX", -3.0, "level -3.0"),
        ("AugMix", 0.25, "0.25"),
        ("brightness", 1.2, "1.20"),
    ],
)
def test_a_sign_is_shown_where_it_matters(name, value, text):
    assert module._strength(name, value) == text
