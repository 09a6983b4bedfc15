"""Started by mpirun or msrun from the tests: what only a job of several ranks can show, a line per rank and kind.

ranks.py linear|accumulated|synced|unsynced|overflow|drifted ...
"""

import json
import sys
from dataclasses import replace
from unittest import mock

import numpy as np

from mindcv_hrnet.cli import guarded, no_garbage
from mindcv_hrnet.runtime.distributed import Cluster, connect


def never_finite(gradients):
    """Stands in for `amp.all_finite` on a rank whose device has seen an overflow."""
    return gradients[0].sum() * 0 < 0


def train_steps(kind: str, cluster: Cluster) -> dict[str, object]:
    """Steps of a small network on this rank's share of fixed batches of 8, with everything that must agree on ranks.

    linear: a classifier without batch norm, clipped. accumulated: the same in halves of a batch, with a moving average.
    synced: a stem, a bottleneck and a classifier with synchronised batch norm; unsynced: without. overflow: `linear`,
    accumulated, with a dynamic scale of 64, where the last rank alone finds its gradients not finite. drifted:
    `linear`, one bit of whose weights then changes on the last rank.
    """
    import mindspore as ms
    from mindspore import Tensor, amp, nn

    from mindcv_hrnet.engine.losses import build_loss
    from mindcv_hrnet.engine.optimizers import build_optimizer
    from mindcv_hrnet.engine.preprocess import Preprocess
    from mindcv_hrnet.engine.rank_agreement import check_equal_weights
    from mindcv_hrnet.engine.step import TrainStep
    from mindcv_hrnet.models import synchronise
    from mindcv_hrnet.recipe.keys import LossConfig, OptimizerConfig, TrainConfig

    side, train = 8, TrainConfig(clip_grad=True, clip_value=0.2)
    if kind.endswith("synced"):
        from observables import Sketch

        side = 32
        ms.set_seed(0)
        network = Sketch(4, 3)
        if cluster.size > 1 and kind == "synced":
            synchronise(network, cluster.size)
    else:
        network = nn.SequentialCell(nn.Flatten(), nn.Dense(3 * 64, 4, weight_init="zeros", bias_init="zeros"))
    if kind in ("accumulated", "overflow"):
        train = replace(train, gradient_accumulation_steps=2, ema=True, ema_decay=0.5)
    losses = LossConfig(loss_scale=64.0, loss_scale_type="dynamic") if kind == "overflow" else LossConfig()
    last = cluster.rank == cluster.size - 1
    config = OptimizerConfig(opt="momentum", weight_decay=0.0)
    step = TrainStep(
        network,
        Preprocess((0.0,) * 3, (255.0,) * 3, side, 4),
        build_loss(LossConfig()),
        build_optimizer(network.trainable_params(), np.full(3, 0.1, np.float32), config),
        cluster,
        train,
        losses,
    )
    step.set_train(True)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, side, side), dtype=np.uint8)
    labels = np.arange(8, dtype=np.int32) % 4
    halves = (slice(0, 4), slice(4, 8)) if train.gradient_accumulation_steps > 1 else (slice(0, 8),)
    overflows = kind == "overflow" and last
    with mock.patch.object(amp, "all_finite", never_finite if overflows else amp.all_finite):
        for half in halves * 3:
            chosen = images[half][cluster.rank :: cluster.size], labels[half][cluster.rank :: cluster.size]
            count = len(chosen[1])
            boxes = np.zeros((count, 4), np.int32), np.zeros((count, 5), np.float32)
            step(*map(Tensor, chosen), *map(Tensor, boxes))
    # unsynchronised, each rank has statistics of its own until the epoch ends
    check_equal_weights(network, cluster, epoch=1, within=kind == "unsynced")
    if kind == "drifted":
        if last:
            weight = network.trainable_params()[0]
            weight.set_data(Tensor(np.nextafter(weight.asnumpy(), np.float32(1))))
        check_equal_weights(network, cluster, epoch=2)
    values = np.concatenate([p.asnumpy().ravel() for p in step.weights().values()])
    return {
        "kind": kind,
        "rank": cluster.rank,
        "size": cluster.size,
        "values": values[:: 1 if kind.endswith("synced") else 17].tolist(),
        "totals": step.totals.take(),
        "scale": float(step.scale.value.asnumpy()),
    }


def main(kinds: list[str]) -> None:
    with no_garbage():
        import mindspore  # noqa: F401
    cluster = connect(distribute=True, device_target="CPU")
    for kind in kinds:
        print("RESULT " + json.dumps(train_steps(kind, cluster)), flush=True)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
