"""The preview job: a PNG of what the network really sees, each training image after every step of its augmentation.

One row per image of the first batch: the file with the crop's box, then the steps in the order in which they were
drawn, and what the device makes of it: erased, then mixed. The same code and the same draws as in training.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import mindspore as ms
import numpy as np

from mindcv_hrnet.data.decode import UnreadableImage, decode
from mindcv_hrnet.data.loader import TrainBatch, TrainLoader
from mindcv_hrnet.data.sheet import TILE, Tile, draw_sheet
from mindcv_hrnet.data.transforms import draw_crop
from mindcv_hrnet.engine.build import build_preprocess
from mindcv_hrnet.engine.open_data import open_data
from mindcv_hrnet.engine.start import start
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.config import Config, run_folder
from mindcv_hrnet.recipe.keys import AugmentationConfig
from mindcv_hrnet.runtime.files import make_folder, write_atomically

logger = logging.getLogger(__name__)

ROWS = 8
DEVICE_TILES = 3
_WITHOUT_STRENGTH = ("hflip", "vflip", "AutoContrast", "Equalize", "Invert")
# the others draw a sign, too, and make no use of it
_SIGNED = ("Rotate", "Shear", "Translate", "ColorInc", "ContrastInc", "BrightnessInc", "SharpnessInc")
_BOX = (230, 30, 30)


def preview(config: Config) -> Path:
    """Write `preview.png` into the run folder and return its path. Raises DataError."""
    start(config.system)
    # any classes will do: no network is built
    wanted = config.override(val_while_train=False, ckpt_save_policy="latest_k", num_classes=None)
    config, source, _ = open_data(wanted)
    rows = min(ROWS, config.data.batch_size, len(source))
    data = config.override(batch_size=rows, drop_remainder=False)
    loader = TrainLoader(
        source, data.data, config.augmentation, config.system.seed, in_channels=config.model.in_channels, epochs=1
    )
    try:
        batch = next(loader.batches(0))
        entries = loader.entries(0, 0)
        on_device, grid = build_preprocess(config), []
        erased, seen = (
            _denormalised(on_device(*map(ms.Tensor, part[:4]))[0].asnumpy(), config.augmentation)
            for part in (batch._replace(mix=np.zeros_like(batch.mix)), batch)
        )
        for row, entry in enumerate(entries.tolist()):
            tiles = list(_host_tiles(loader, entry, config.augmentation))
            grid.append([*tiles, *_device_tiles(batch, row, erased[row], seen[row], source.class_names)])
    finally:
        loader.close()
    out = run_folder(config) / "preview.png"
    make_folder(out.parent)
    write_atomically(out, lambda path: draw_sheet(grid, last=DEVICE_TILES).save(path, "PNG"))
    logger.info("%d images, step by step: %s", rows, out)
    return out


def _host_tiles(loader: TrainLoader, entry: int, a: AugmentationConfig) -> Iterator[Tile]:
    """The file, then the image after each step."""
    index = entry % len(loader.source)
    uniforms = loader.uniforms(0, entry)
    try:
        data = loader.source.read(index)
        photo = decode(data)
        steps = list(loader.transform.steps(data, uniforms))
    except (UnreadableImage, OSError) as error:
        raise DataError(f"{loader.source.path(index)}: {error}; the preview needs whole images") from None
    box = draw_crop(uniforms, photo.shape, a.scale, a.ratio)
    corners = (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)
    framed = cv2.rectangle(photo.copy(), *corners, _BOX, max(1, max(photo.shape) // TILE * 2))
    label = loader.source.class_names[loader.source.labels[index]]
    yield Tile(framed, f"{label}\n{photo.shape[1]}x{photo.shape[0]} {Path(loader.source.path(index)).name}")
    for name, strength, image in steps:
        if name == "crop":
            yield Tile(image, f"crop\n{box.width}x{box.height} to {a.image_resize}")
        else:
            yield Tile(image, f"{name}\n{_strength(name, strength)}")


def _strength(name: str, value: float) -> str:
    """The level of a policy's operation, with its sign where that matters; other steps have a factor or nothing."""
    if name in _WITHOUT_STRENGTH:
        return ""
    if name == "AugMix" or name.islower():
        return f"{value:.2f}"
    return f"level {value:+.1f}" if name.startswith(_SIGNED) else f"level {abs(value):.1f}"


def _device_tiles(
    batch: TrainBatch, row: int, erased: np.ndarray, seen: np.ndarray, names: tuple[str, ...]
) -> Iterator[Tile]:
    """The image that reaches the device, erased, and what the network sees of it, with the weights of its labels."""
    own, partner = names[batch.labels[row]], names[batch.labels[-1 - row]]
    y0, x0, y1, x1 = batch.erase[row].tolist()
    yield Tile(_as_rgb(batch.images[row]), "to the device")
    yield Tile(erased, f"erase\n{x1 - x0}x{y1 - y0}" if y1 > y0 else "no erasing")
    top, left, bottom, right, keep = batch.mix[row].tolist()
    share = (bottom - top) * (right - left) / batch.images.shape[-1] ** 2 * (1 - keep)
    kind = "mixup" if keep > 0 else "cutmix"
    mixed = f"{kind} {1 - share:.2f} {own}\n{share:.2f} {partner}" if share > 0 else f"network sees\n1.00 {own}"
    yield Tile(seen, mixed)


def _denormalised(images: np.ndarray, a: AugmentationConfig) -> np.ndarray:
    """(N, C, H, W) float32 as the network takes it -> (N, H, W, 3) uint8."""
    mean, std = (np.reshape(values, (1, -1, 1, 1)) for values in (a.mean, a.std))
    levels = np.clip(np.rint(images * std + mean), 0, 255).astype(np.uint8)
    return np.stack([_as_rgb(image) for image in levels])


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """(3 or 1, H, W) -> (H, W, 3)."""
    return np.ascontiguousarray(np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0))
