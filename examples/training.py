"""The training loop of the examples: AdamW, a cosine from the learning rate to nothing."""

from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

Batch = tuple[np.ndarray, np.ndarray]


def fit(
    network: nn.Cell, loss: nn.Cell, next_batch: Callable[[], Batch], *, steps: int, learning_rate: float
) -> list[float]:
    """Train `network` and return the loss of each step. `next_batch` gives images and what `loss` compares with."""
    rates = nn.cosine_decay_lr(0.0, learning_rate, steps, steps, 1)
    optimizer = nn.AdamWeightDecay(network.trainable_params(), Tensor(rates, ms.float32), weight_decay=1e-4)
    step = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer).set_train()
    losses = []
    for number in range(1, steps + 1):
        images, targets = next_batch()
        losses.append(float(step(Tensor(images), Tensor(targets))))
        if number % 50 == 0:
            print(f"step {number:4d}  loss {np.mean(losses[-50:]):.4f}", flush=True)
    return losses


def answers(network: nn.Cell, images: np.ndarray, batch: int = 20) -> np.ndarray:
    """What the trained network says of (N, 1, H, W) images, N a multiple of `batch`."""
    network.set_train(False)
    return np.concatenate([network(Tensor(part)).asnumpy() for part in np.split(images, len(images) // batch)])
