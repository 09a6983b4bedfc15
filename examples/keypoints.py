"""Keypoints on HRNet's backbone: the topmost, lowest, leftmost and rightmost point of a handwritten digit on a wall.

    python examples/keypoints.py [--checkpoint FILE_OR_RUN] [--steps 400]

The digits are scikit-learn's 1,797, enlarged; the points are read off the ink alone. Then the digit is laid over a
photograph of bricks, grass or gravel, and the network sees nothing but the sum.
"""

from typing import NamedTuple

import numpy as np
from mindspore import Tensor, nn
from mindspore.common.initializer import Normal
from photographs import load_photographs, random_crop
from PIL import Image
from sklearn.datasets import load_digits
from training import answers, fit, run_on_command_line

SIDE = 96
STRIDE = 4
SPREAD = 1.0
"""Standard deviation of the peaks in a heat map, in its pixels."""
TRAINING_DIGITS = 1437
BATCH = 16
TEST_IMAGES = 300


class Keypoints(nn.Cell):
    """HRNet's head for poses (arXiv:1902.09212, section 3): a 1x1 convolution on the branch at stride 4.

    (N, C, H, W) image -> (N, points, H / 4, W / 4) heat maps, whose peaks are the points.
    """

    def __init__(self, backbone: nn.Cell, points: int) -> None:
        super().__init__()
        self.backbone = backbone
        # heat maps are nearly empty: it begins near zero, as in the authors' code
        self.head = nn.Conv2d(backbone.feature_info[0].channels, points, 1, has_bias=True, weight_init=Normal(0.001))

    def construct(self, image: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, points, H / 4, W / 4)."""
        return self.head(self.backbone(image)[0])


class Samples(NamedTuple):
    """(N, 1, side, side) images, (N, 4, 2) points as column and row in pixels, (N,) sides of the digits in pixels."""

    images: np.ndarray
    points: np.ndarray
    sizes: np.ndarray


def extreme_points(ink: np.ndarray) -> np.ndarray:
    """(H, W) booleans -> (4, 2) column and row of the top, bottom, left and right of what is True."""
    rows, columns = np.nonzero(ink)
    edges = ((rows, rows.min()), (rows, rows.max()), (columns, columns.min()), (columns, columns.max()))
    return np.array([(columns[line == edge].mean(), rows[line == edge].mean()) for line, edge in edges])


def draw(
    generator: np.random.Generator, digits: np.ndarray, photographs: list[np.ndarray], n: int, side: int
) -> Samples:
    """`n` digits of random size, place and contrast, dark or bright, each on a crop of a photograph."""
    images, points, sizes = [], [], generator.integers(side // 2, side * 3 // 4, n)
    for size in sizes:
        small = Image.fromarray(digits[generator.integers(len(digits))].astype(np.float32) / 16)
        digit = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 1)
        top, left = generator.integers(0, side - size + 1, 2)
        image = random_crop(generator, photographs[generator.integers(len(photographs))], side).copy()
        image[top : top + size, left : left + size] += generator.uniform(2, 4) * generator.choice((-1, 1)) * digit
        images.append(image[None])
        points.append(np.add(extreme_points(digit > 0.5), (left, top)))
    return Samples(np.stack(images).astype(np.float32), np.stack(points), sizes)


def heat_maps(points: np.ndarray, side: int) -> np.ndarray:
    """(N, P, 2) points in pixels -> (N, P, side / 4, side / 4) float32 with a Gaussian peak of 1 at each."""
    centres = (np.arange(side // STRIDE) + 0.5) * STRIDE - 0.5
    x, y = (np.exp(-((centres - points[..., k, None]) ** 2) / (2 * (SPREAD * STRIDE) ** 2)) for k in (0, 1))
    return (y[..., :, None] * x[..., None, :]).astype(np.float32)


def peaks(maps: np.ndarray) -> np.ndarray:
    """(N, P, h, w) heat maps -> (N, P, 2) points in pixels, a quarter of a cell towards the higher neighbour."""
    n, p, _, w = maps.shape
    row, column = np.divmod(maps.reshape(n, p, -1).argmax(axis=-1), w)
    i, j = np.arange(n)[:, None], np.arange(p)[None]
    padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    shift_x = np.sign(padded[i, j, row + 1, column + 2] - padded[i, j, row + 1, column])
    shift_y = np.sign(padded[i, j, row + 2, column + 1] - padded[i, j, row, column + 1])
    return (np.stack([column + 0.25 * shift_x, row + 0.25 * shift_y], axis=-1) + 0.5) * STRIDE - 0.5


def pck(found: np.ndarray, samples: Samples, share: float = 0.1) -> float:
    """Percentage of points that lie within `share` of the digit's side of where they are."""
    distances = np.linalg.norm(found - samples.points, axis=-1)
    return float(100 * (distances <= share * samples.sizes[:, None]).mean())


def run(
    backbone: nn.Cell, steps: int, *, rate: float = 1e-3, side: int = SIDE, test_images: int = TEST_IMAGES
) -> dict[str, float]:
    """Train on some digits and photographs, and measure on others: PCK of network and baseline, per cent."""
    digits, generator = load_digits().images, np.random.default_rng(0)
    photographs = load_photographs(training=True)
    network = Keypoints(backbone, 4)

    def next_batch() -> tuple[np.ndarray, np.ndarray]:
        samples = draw(generator, digits[:TRAINING_DIGITS], photographs, BATCH, side)
        return samples.images, heat_maps(samples.points, side)

    losses = fit(network, nn.MSELoss(reduction="sum"), next_batch, steps=steps, learning_rate=rate)
    rest, others = digits[TRAINING_DIGITS:], load_photographs(training=False)
    test = draw(np.random.default_rng(1), rest, others, test_images, side)
    mean = draw(generator, digits[:TRAINING_DIGITS], photographs, 500, side).points.mean(axis=0)
    return {
        "first loss": losses[0],
        "last loss": losses[-1],
        "PCK@0.1": pck(peaks(answers(network, test.images)), test),
        "PCK@0.1, mean position": pck(mean[None], test),
    }


if __name__ == "__main__":
    run_on_command_line(__doc__, run, steps=400, out_indices=(0,))
