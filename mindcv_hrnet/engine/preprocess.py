"""The part of the data path that runs on the device, inside the graph: uint8 images -> what the network takes.

The host sends a quarter of the bytes and computes no floating point. Which boxes to erase and what to mix it has drawn
already (`data/augment/mix_erase.py`), so these cells are pure functions of their inputs.
"""

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Normalize(nn.Cell):
    """(N, C, H, W) uint8 -> (N, C, H, W) float32: (pixel - mean) / std, with mean and std in 0..255."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        scale = 1 / np.asarray(std, np.float64)
        self.scale = Tensor(scale.reshape(1, -1, 1, 1), ms.float32)
        self.shift = Tensor(-np.asarray(mean) * scale, ms.float32)
        self.cast, self.tile, self.bias_add = ops.Cast(), ops.Tile(), ops.BiasAdd()

    def construct(self, images: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N, C, H, W) float32."""
        batch, _, height, width = images.shape
        # tiled first: broadcasting costs several times more than the arithmetic on a CPU
        scale = self.tile(self.scale, (batch, 1, height, width))
        return self.bias_add(self.cast(images, ms.float32) * scale, self.shift)


class Preprocess(nn.Cell):
    """Normalise, erase, mix; labels -> smoothed, mixed targets. Steps that are off are not in the graph.

    construct(images (N, C, S, S) uint8, labels (N,) int32, erase (N, 4) int32, mix (N, 5) float32)
    -> (images (N, C, S, S) float32, targets (N, num_classes) float32).

    erase: boxes y0, x0, y1, x1 that become `erase_value`, in units after normalisation. mix: y0, x0, y1, x1, keep;
    inside the box an image becomes keep * own + (1 - keep) * partner, the partner being the image at the mirrored place
    in the batch, and the targets are mixed by the same share of the area. Empty boxes change nothing.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        size: int,
        num_classes: int,
        label_smoothing: float = 0.0,
        erase: bool = False,
        erase_value: float = 0.0,
        mix: bool = False,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.erase, self.erase_value, self.mix = erase, erase_value, mix
        self.size, self.num_classes = size, num_classes
        self.places = Tensor(np.arange(size), ms.float32)
        self.one_hot = ops.OneHot()
        self.on = Tensor(1 - label_smoothing + label_smoothing / num_classes, ms.float32)
        self.off = Tensor(label_smoothing / num_classes, ms.float32)
        self.cast, self.gather, self.tile, self.lerp = ops.Cast(), ops.Gather(), ops.Tile(), ops.Lerp()
        self.per_channel = (1, len(mean), 1, 1)

    def construct(self, images: Tensor, labels: Tensor, erase: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """The images and targets that the loss sees; arguments and shapes as said of the class."""
        x = self.normalize(images)
        targets = self.one_hot(labels, self.num_classes, self.on, self.off)
        if self.erase:
            inside = self.inside(self.cast(erase, ms.float32))
            x = x * self.tile(1 - inside, self.per_channel)
            if self.erase_value:
                x = x + self.erase_value * inside
        if self.mix:
            batch = images.shape[0]
            mirrored = batch - 1 - ops.arange(batch)
            given = 1 - mix[:, 4:]
            share = self.tile(self.inside(mix) * given.reshape((-1, 1, 1, 1)), self.per_channel)
            x = self.lerp(x, self.gather(x, mirrored, 0), share)
            area = (mix[:, 2:3] - mix[:, 0:1]) * (mix[:, 3:4] - mix[:, 1:2]) / (self.size * self.size)
            targets = targets + (self.gather(targets, mirrored, 0) - targets) * (area * given)
        return x, targets

    def inside(self, box: Tensor) -> Tensor:
        """(N, 4 or more) float32 boxes -> (N, 1, S, S) float32: 1 inside the box, 0 outside."""
        rows = self.span(box[:, 0:1], box[:, 2:3])
        columns = self.span(box[:, 1:2], box[:, 3:4])
        return (rows.expand_dims(2) * columns.expand_dims(1)).expand_dims(1)

    def span(self, start: Tensor, end: Tensor) -> Tensor:
        """(N, 1) and (N, 1) -> (N, S): 1 from start up to, not including, end."""
        return self.cast(ops.logical_and(self.places >= start, self.places < end), ms.float32)
