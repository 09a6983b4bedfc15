"""Started by tests/ascend: compiles the graphs of a recipe as rank 0 of eight and leaves their IR in folders.

compile_graphs.py FOLDER NAME...

No other rank is there: a group of one stands in for it, which is enough to compile. Nothing runs.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from repository import ROOT

RANKS = 8
SIDE, BATCH, CLASSES = 64, 8, 10
RECIPE = ROOT / "configs/hrnet/hrnet_w32_ascend.yaml"
# The recipe's settings at the smallest size
SMALL = ["--image_resize", str(SIDE), "--batch_size", str(BATCH), "--num_classes", str(CLASSES)]
CLIP_AND_AVERAGE = ["--ema", "True", "--clip_grad", "True", "--clip_value", "5.0"]
# name: (what is added to the recipe, which network: all four branches with a few channels, or a sketch of two layers
# and a bottleneck, which compiles in seconds also where each batch norm becomes forty operators)
GRAPHS = {
    "recipe": ([], "branches"),
    "drop_path": ([*CLIP_AND_AVERAGE, "--drop_path_rate", "0.1", "--drop_rate", "0.1"], "sketch"),
    "accumulation": (
        [
            *("--gradient_accumulation_steps", "4", "--loss_scale_type", "dynamic", "--sync_bn", "True"),
            *("--recompute", "True", *CLIP_AND_AVERAGE),
        ],
        "sketch",
    ),
    "statistics": (CLIP_AND_AVERAGE, "sketch"),
    "evaluation": (["--val_amp_level", "O2"], "branches"),
}


_keep_alive: list[object] = []


def meet() -> None:
    """A world of one rank, so that AllReduce can be compiled."""
    import mindspore as ms
    from mindspore.communication.management import _init_with_store
    from mindspore.ops.communication import TCPStore

    from mindcv_hrnet.runtime.distributed import _free_port

    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    patience = timedelta(seconds=60)
    store = TCPStore("127.0.0.1", _free_port(), world_size=1, is_master=True, timeout=patience)
    _init_with_store(backend="mccl", rank=0, world_size=1, store=store, timeout=patience)
    ms.set_auto_parallel_context(parallel_mode="data_parallel", gradients_mean=True, device_num=RANKS, global_rank=0)
    _keep_alive.append(store)


def branches(name: str, **settings):
    """An HRNet of all four branches with a few channels, and a head whose gradients fill several buckets."""
    from mindcv_hrnet.models import HRNet, Spec

    layout: Any = {"stage1": (1, 8), "modules": (1, 1, 1), "blocks": 1}
    return HRNet(Spec(width=2, stem_width=4, head_widths=(4, 8, 12, 512), head_features=2048, **layout), **settings)


def sketch(name: str, **settings):
    """Two layers and a bottleneck, which begin and end as a network at amp level O2 does."""
    import mindspore as ms
    from mindspore import nn
    from observables import Sketch

    from mindcv_hrnet.models.layers import CastTo

    return nn.SequentialCell(CastTo(ms.float16), Sketch(**settings), CastTo(ms.float32))


def compile_graph(name: str, folder: Path) -> None:
    """Compile one of GRAPHS; its IR is written below the folder."""
    import mindspore as ms
    from mindspore import Tensor

    from mindcv_hrnet.engine import build
    from mindcv_hrnet.engine.evaluate import EvalStep
    from mindcv_hrnet.engine.preprocess import Normalize
    from mindcv_hrnet.engine.rank_agreement import MeanOverRanks
    from mindcv_hrnet.recipe.config import parse_config
    from mindcv_hrnet.runtime.distributed import Cluster

    arguments, network = GRAPHS[name]
    config = parse_config(["-c", str(RECIPE), *SMALL, *arguments])
    # under mpirun a CPU would add up in a way of its own
    cluster = Cluster(rank=0, size=RANKS, device="CPU", launcher="msrun")
    with mock.patch.object(build, "create_model", {"branches": branches, "sketch": sketch}[network]):
        model, step = build.build_step(config, np.full(100, 1e-3, np.float32), cluster)
    images, labels = np.zeros((BATCH, 3, SIDE, SIDE), np.uint8), np.zeros(BATCH, np.int32)
    inputs = [images, labels, np.zeros((BATCH, 4), np.int32), np.zeros((BATCH, 5), np.float32)]
    if name == "evaluation":
        step = EvalStep(model, Normalize(config.augmentation.mean, config.augmentation.std)).set_train(False)
        inputs = [images, labels, np.ones(BATCH, np.float32)]
    if name == "statistics":
        step, inputs = MeanOverRanks([p for p in step.get_parameters() if p.name.endswith("moving_mean")], cluster), []
    ms.set_context(save_graphs=1, save_graphs_path=str(folder / name))
    step.compile(*map(Tensor, inputs))


if __name__ == "__main__":
    # only the last form that the front end checks, not each of its eighty passes
    os.environ["MS_DEV_DUMP_IR_PASSES"] = "validate"
    import mindcv_hrnet  # noqa: F401 - it chooses the CPU kernels

    out, *names = sys.argv[1:]
    meet()
    for chosen in names or GRAPHS:
        compile_graph(chosen, Path(out))
    sys.stdout.flush()
    os._exit(0)  # spares the farewell lines of MindSpore's TCP threads
