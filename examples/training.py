"""What the examples share: a training loop with AdamW and a cosine to nothing, answers, and the command line."""

import argparse
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from mindcv_hrnet import create_model
from mindcv_hrnet.models.variants import BRANCHES

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


def run_on_command_line(
    description: str,
    run: Callable[[nn.Cell, int], dict[str, float]],
    *,
    steps: int,
    out_indices: Sequence[int] = BRANCHES,
) -> None:
    """Print the figures of `run(backbone, steps)`. `steps`: those without --steps; `out_indices`: of the backbone."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--checkpoint", default="", help="weights to start from, or a run folder (default: none)")
    parser.add_argument("--steps", type=int, default=steps)
    options = parser.parse_args()
    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_seed(0)
    features = create_model(
        "hrnet_w18_small",
        in_channels=1,
        features_only=True,
        out_indices=out_indices,
        checkpoint=options.checkpoint,
    )
    for what, figure in run(features, options.steps).items():
        print(f"{what}: {figure:.4g}")
