"""What a recipe asks of a device, as arithmetic: memory of a training step, images per second.

The arithmetic is written out in docs/ascend.md; scripts/measure_recompute.py holds the memory against a CPU.
"""

from dataclasses import dataclass

from mindcv_hrnet.models.variants import convolutions, describe, find_spec
from mindcv_hrnet.recipe.config import Config

GIB = 2**30
# Weights, gradients and both moments of adam and its kin; the others keep one moment or none
STATE_COPIES = {"sgd": 2, "momentum": 3, "nesterov": 3, "rmsprop": 4, "adagrad": 3, "lion": 3}
# MindCV's page of hrnet_w32: 303 ms for 128 images on each of eight Ascend 910B, 9.0 GMAC an image forward
PUBLISHED_MS, PUBLISHED_BATCH, PUBLISHED_MODEL = 303.01, 128, "hrnet_w32"


@dataclass(frozen=True)
class Demand:
    """GiB on a device, and how fast a device of MindCV's published step would take images."""

    state_gib: float
    activations_gib: float
    images_per_second: float

    @property
    def gib(self) -> float:
        """Together, without what the framework and its communication buffers take."""
        return self.state_gib + self.activations_gib


def demand_of(config: Config) -> Demand:
    """Estimate of one device's share of a training step."""
    model, side, batch = config.model.model, config.augmentation.image_resize, config.data.batch_size
    known = describe(model, side)
    copies = STATE_COPIES.get(config.optimizer.opt, 4) + config.train.ema
    copies += config.train.gradient_accumulation_steps > 1
    state = known.parameters * 4 * copies
    # Kept for the backward pass: of each convolution its output, which batch norm reads, and what comes out of batch
    # norm and ReLU, which the next one reads; in half precision two bytes each, and a float32 copy for batch norm
    width = 4 if config.model.amp_level == "O0" else 2
    outputs = sum(channels * _side(side, halvings) ** 2 for _, channels, _, halvings in convolutions(find_spec(model)))
    bytes_each = 2 * width + (4 if width == 2 else 0)
    kept = 0.25 if config.train.recompute else 1.0
    activations = outputs * batch * bytes_each * kept
    macs = known.gmacs / describe(PUBLISHED_MODEL).gmacs
    rate = PUBLISHED_BATCH / PUBLISHED_MS * 1000 / macs
    return Demand(state / GIB, activations / GIB, rate)


def _side(side: int, halvings: int) -> int:
    for _ in range(halvings):
        side = (side + 1) // 2
    return side
