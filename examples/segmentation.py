"""Semantic segmentation on HRNet's backbone: bricks, grass or gravel, for every pixel of a mosaic.

    python examples/segmentation.py [--checkpoint FILE_OR_RUN] [--steps 300]

A mosaic is cut from photographs, as in the benchmarks of texture segmentation (Randen and Husoy, Filtering for texture
classification, 1999): its pixels are real and its mask is exact.
"""

import numpy as np
from mindspore import Tensor, nn, ops
from photographs import MATERIALS, load_photographs, random_crop
from training import Batch, answers, fit, run_on_command_line

SIDE = 96
REGIONS = 4
BATCH = 16
TEST_MOSAICS = 100


class Segmentation(nn.Cell):
    """HRNetV2's head (arXiv:1908.07919, figure 4b): (N, C, H, W) image -> (N, classes, H, W) logits.

    All four branches, brought to the size of the finest and concatenated, go through two 1x1 convolutions; what comes
    out is enlarged to the size of the image.
    """

    def __init__(self, backbone: nn.Cell, classes: int) -> None:
        super().__init__()
        channels = sum(info.channels for info in backbone.feature_info)
        self.backbone = backbone
        self.head = nn.SequentialCell(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, classes, 1, has_bias=True),
        )

    def construct(self, image: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes, H, W)."""
        branches = self.backbone(image)
        aligned: tuple[Tensor, ...] = (branches[0],)
        for branch in branches[1:]:
            aligned = (*aligned, resize(branch, branches[0].shape[2:]))
        return resize(self.head(ops.concat(aligned, 1)), image.shape[2:])


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, C, h, w) -> (N, C, *size), bilinear."""
    return ops.interpolate(x, size=size, mode="bilinear", align_corners=False)


def mosaic(generator: np.random.Generator, photographs: list[np.ndarray], side: int) -> Batch:
    """(1, side, side) image and (side, side) int32 mask: a material for each of the regions around random points."""
    points = generator.uniform(0, side, (REGIONS, 2))
    rows, columns = np.mgrid[:side, :side]
    distances = [(rows - row) ** 2 + (columns - column) ** 2 for row, column in points]
    materials = generator.permutation([*range(len(photographs)), generator.integers(len(photographs))])
    mask = materials[np.argmin(distances, axis=0)].astype(np.int32)
    crops = np.stack([random_crop(generator, photograph, side) for photograph in photographs])
    return np.take_along_axis(crops, mask[None], axis=0).astype(np.float32), mask


def mosaics(generator: np.random.Generator, photographs: list[np.ndarray], count: int, side: int) -> Batch:
    """(count, 1, side, side) images and their (count, side, side) masks."""
    images, masks = zip(*(mosaic(generator, photographs, side) for _ in range(count)), strict=True)
    return np.stack(images), np.stack(masks)


def mean_iou(predicted: np.ndarray, masks: np.ndarray) -> float:
    """Intersection over union of each material over all pixels, and their mean, per cent."""
    both = [((predicted == k) & (masks == k)).sum() for k in range(len(MATERIALS))]
    either = [((predicted == k) | (masks == k)).sum() for k in range(len(MATERIALS))]
    return float(100 * np.mean(np.divide(both, either)))


def run(
    backbone: nn.Cell, steps: int, *, rate: float = 1e-3, side: int = SIDE, test_mosaics: int = TEST_MOSAICS
) -> dict[str, float]:
    """Train on mosaics of the training parts, and measure on others: mean IoU of network and baseline, per cent."""
    network = Segmentation(backbone, len(MATERIALS))
    generator, photographs = np.random.default_rng(0), load_photographs(training=True)

    def next_batch() -> Batch:
        return mosaics(generator, photographs, BATCH, side)

    losses = fit(network, nn.CrossEntropyLoss(), next_batch, steps=steps, learning_rate=rate)
    images, masks = mosaics(np.random.default_rng(1), load_photographs(training=False), test_mosaics, side)
    predicted = answers(network, images).argmax(axis=1)
    commonest = np.bincount(masks.ravel()).argmax()
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "mean IoU": mean_iou(predicted, masks),
        "mean IoU, commonest material everywhere": mean_iou(np.full_like(masks, commonest), masks),
    }


if __name__ == "__main__":
    run_on_command_line(__doc__, run, steps=300)
