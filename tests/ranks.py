"""Started by mpirun or msrun from the tests: what only a job of several ranks can show. Prints one line per rank."""

import json
import sys

import numpy as np


def gradient_steps() -> dict[str, object]:
    """Three steps of a linear classifier without batch norm, on this rank's share of a fixed batch of 8."""
    from mindspore import Tensor, nn

    from mindcv_hrnet.cluster import connect
    from mindcv_hrnet.loss import build_loss
    from mindcv_hrnet.optimizer import build_optimizer
    from mindcv_hrnet.preprocess import Preprocess
    from mindcv_hrnet.sections import LossConfig, OptimizerConfig, SystemConfig, TrainConfig
    from mindcv_hrnet.train_step import TrainStep

    cluster = connect(SystemConfig(distribute=True, device_target="CPU"))
    network = nn.SequentialCell(nn.Flatten(), nn.Dense(3 * 8 * 8, 4, weight_init="zeros", bias_init="zeros"))
    schedule = np.full(3, 0.1, np.float32)
    config = OptimizerConfig(opt="momentum", weight_decay=0.0)
    step = TrainStep(
        network,
        Preprocess((0.0,) * 3, (255.0,) * 3, 8, 4),
        build_loss(LossConfig()),
        build_optimizer(network.trainable_params(), schedule, config),
        cluster,
        TrainConfig(clip_grad=True, clip_value=0.2),
        LossConfig(),
    )
    step.set_train(True)
    share = slice(cluster.rank, None, cluster.size)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)[share]
    labels = (np.arange(8, dtype=np.int32) % 4)[share]
    count = len(labels)
    boxes = np.zeros((count, 4), np.int32), np.zeros((count, 5), np.float32)
    for _ in range(3):
        step(Tensor(images), Tensor(labels), *map(Tensor, boxes))
    weight = network[1].weight.asnumpy()
    return {"rank": cluster.rank, "size": cluster.size, "weight": weight.ravel()[::17].tolist()}


if __name__ == "__main__":
    from mindcv_hrnet.cli import guarded

    sys.exit(guarded(lambda: print("RESULT " + json.dumps(gradient_steps()), flush=True)))
