"""One package's part of benchmark.py, run in the environment that has the package.

benchmark_worker.py train mindcv|timm --data DIR ...     says `step N/M` after each step, and `saved` at the end
benchmark_worker.py forward ours|mindcv|timm ...         prints {batch size: median seconds} as JSON
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE, LABEL_SMOOTHING, LR, DECAY = 224, 0.1, 1e-3, 0.05


def say(text: str) -> None:
    print(text, flush=True)


# --- training, as each project's own train.py does it ----------------------------------------------------------------


def train_mindcv(o: argparse.Namespace) -> None:
    import mindspore as ms
    from mindcv.data import create_dataset, create_loader, create_transforms
    from mindcv.loss import create_loss
    from mindcv.models import create_model
    from mindcv.optim import create_optimizer
    from mindcv.scheduler import create_scheduler
    from mindcv.utils import create_trainer

    class Tell(ms.Callback):
        def step_end(self, run_context: Any) -> None:
            arguments = run_context.original_args()
            float(arguments.net_outputs.asnumpy())
            say(f"step {arguments.cur_step_num}/{arguments.batch_num}")

    ms.set_context(mode=ms.GRAPH_MODE)
    source = create_dataset("imagenet", root=str(o.data), split="train", num_parallel_workers=o.workers)
    transform = create_transforms(
        "imagenet", is_training=True, image_resize=SIZE, auto_augment="randaug-m7-mstd0.5", re_prob=0.1
    )
    common: dict[str, Any] = {"num_classes": o.classes, "transform": transform, "num_parallel_workers": o.workers}
    loader = create_loader(
        source, o.batch_size, drop_remainder=True, is_training=True, mixup=0.2, cutmix=1.0, cutmix_prob=1.0, **common
    )
    network = create_model(o.model, num_classes=o.classes)
    steps = loader.get_dataset_size()
    rates = create_scheduler(steps, "cosine_decay", lr=LR, min_lr=1e-5, warmup_epochs=0, decay_epochs=1, num_epochs=1)
    optimizer = create_optimizer(network.trainable_params(), opt="adamw", lr=rates, weight_decay=DECAY)
    trainer = create_trainer(
        network,
        create_loss("CE", label_smoothing=LABEL_SMOOTHING),
        optimizer,
        metrics={},
        amp_level="O0",
        amp_cast_list="",
        loss_scale_type="fixed",
    )
    trainer.train(1, loader, callbacks=[Tell()], dataset_sink_mode=False)
    # weights and optimizer in one file, as MindCV's callback saves them
    ms.save_checkpoint(trainer.train_network, str(o.out / "all.ckpt"))
    say("saved")


def train_timm(o: argparse.Namespace) -> None:
    import timm
    import torch
    from timm.data import FastCollateMixup, create_dataset, create_loader
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2

    mixing = FastCollateMixup(mixup_alpha=0.2, cutmix_alpha=1.0, label_smoothing=LABEL_SMOOTHING, num_classes=o.classes)
    loader = create_loader(
        create_dataset("", root=str(o.data), split="train", is_training=True),
        (3, SIZE, SIZE),
        o.batch_size,
        is_training=True,
        auto_augment="rand-m7-mstd0.5",
        re_prob=0.1,
        collate_fn=mixing,
        num_workers=o.workers,
        device=torch.device("cpu"),
    )
    network = timm.create_model(o.model, num_classes=o.classes).to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(network, opt="adamw", lr=LR, weight_decay=DECAY)
    loss_of = SoftTargetCrossEntropy()
    for step, (images, targets) in enumerate(loader, start=1):
        loss = loss_of(network(images.contiguous(memory_format=torch.channels_last)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        say(f"step {step}/{len(loader)}")
    torch.save({"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}, o.out / "all.pth")
    say("saved")


# --- evaluation forward ----------------------------------------------------------------------------------------------


def timed(call: Callable[[Any], Any], make: Callable[[int], Any], o: argparse.Namespace) -> dict[int, float]:
    """Median seconds of a call for each batch size, after one that compiles."""
    found = {}
    for size in map(int, o.batches.split(",")):
        images, seconds = make(size), []
        call(images)
        for _ in range(o.repeats):
            begun = time.perf_counter()
            call(images)
            seconds.append(time.perf_counter() - begun)
        found[size] = statistics.median(seconds)
    return found


def forward_mindspore(create: Callable[[], Any], o: argparse.Namespace) -> dict[int, float]:
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    network = create().set_train(False)
    return timed(lambda images: network(images).asnumpy(), lambda n: ms.ops.ones((n, 3, SIZE, SIZE), ms.float32), o)


def forward_ours(o: argparse.Namespace) -> dict[int, float]:
    import mindcv_hrnet

    return forward_mindspore(lambda: mindcv_hrnet.create_model(o.model), o)


def forward_mindcv(o: argparse.Namespace) -> dict[int, float]:
    from mindcv.models import create_model

    return forward_mindspore(lambda: create_model(o.model), o)


def forward_timm(o: argparse.Namespace) -> dict[int, float]:
    import timm
    import torch

    network = timm.create_model(o.model).to(memory_format=torch.channels_last).eval()

    def make(size: int) -> Any:
        return torch.ones(size, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)

    with torch.inference_mode():
        return timed(network, make, o)


def main() -> None:
    jobs = {
        ("train", "mindcv"): train_mindcv,
        ("train", "timm"): train_timm,
        ("forward", "ours"): forward_ours,
        ("forward", "mindcv"): forward_mindcv,
        ("forward", "timm"): forward_timm,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=("train", "forward"))
    parser.add_argument("who", choices=("ours", "mindcv", "timm"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", default="1,4,32")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = jobs[options.measure, options.who](options)
    if found is not None:
        say(json.dumps(found))


if __name__ == "__main__":
    main()
