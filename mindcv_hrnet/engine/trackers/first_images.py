"""A page of the first images of a run as the host has augmented them, before they are mixed."""

import numpy as np

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sheet import Tile, draw_sheet

COUNT, COLUMNS = 16, 4


def first_images(loader: TrainLoader) -> np.ndarray:
    """(H, W, 3) uint8: sixteen images, or as many as a batch has, with the names of their classes."""
    batch, names = loader.head(COUNT), loader.source.class_names
    tiles = []
    for image, label, box in zip(batch.images, batch.labels, batch.erase.tolist(), strict=True):
        picture = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0).copy()
        y0, x0, y1, x1 = box
        picture[y0:y1, x0:x1] = np.rint(loader.augmentation.mean).astype(np.uint8)
        tiles.append(Tile(picture, names[label]))
    rows = [tiles[place : place + COLUMNS] for place in range(0, len(tiles), COLUMNS)]
    return np.asarray(draw_sheet(rows))
