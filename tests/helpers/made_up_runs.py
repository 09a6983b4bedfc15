"""Run folders without weights, and predictions of no network: what a report is made of."""

import csv
import json
from typing import Any

import numpy as np

from mindcv_hrnet.recipe.config import parse_config

MODEL = "hrnet_w18_small"


def write_run(folder, class_names, *, model=MODEL, epochs=6, lr=1e-3, data_dir="no/such/data", settings=()):
    """A run of so many epochs; the fourth is the best one, at 90 %."""
    folder.mkdir(parents=True)
    paths = ["--data_dir", str(data_dir), "--ckpt_save_dir", str(folder), "--model", model, "--lr", str(lr)]
    config = parse_config([*paths, "--epoch_size", "6", "--warmup_epochs", "1", "--device_target", "CPU", *settings])
    (folder / "config.yaml").write_text(config.to_yaml())
    entry = {"step": 45 * epochs, "size": 1, "sha256": "0" * 64}
    scores = [70.0, 80.0, 85.0, 90.0, 89.0, 89.5] + [88.0] * max(0, epochs - 6)
    state: dict[str, Any] = {
        "seconds": 1.0,
        "validation_due": False,
        "ranks": 1,
        "global_batch_size": 32,
        "steps_per_epoch": 45,
    }
    state |= {"training_images": 1437, "validation_images": 360, "file": f"{model}-state-{epochs}.ckpt"}
    manifest = {
        "model": model,
        "class_names": list(class_names),
        "checkpoints": [{"file": f"{model}-{epochs}.ckpt", "epoch": epochs, "top1": scores[epochs - 1], **entry}],
        "best": {"file": f"{model}-best.ckpt", "epoch": min(epochs, 4), "top1": scores[min(epochs, 4) - 1], **entry},
        "states": [{**state, "epoch": epochs, **entry}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    head = "epoch,step,learning_rate,train_loss,skipped_updates,images_per_second,seconds,top1,top5,val_loss,"
    head += "train_top1,data_wait"
    rows = [
        f"{k},{45 * k},{lr * (1 - k / (epochs + 1)):.8g},{2.5 / k + 0.5:.8g},0,{140 + k},{10.2 - k / 10},"
        f"{scores[k - 1]},{min(100, scores[k - 1] + 9)},{2 / k + 0.2:.8g},{60 + 5 * k},{k / 10}"
        for k in range(1, epochs + 1)
    ]
    (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    head = "epoch,step,loss,top1,learning_rate,loss_scale,gradient_norm,images_per_second,data_wait,device_memory_gib"
    steps = [
        f"{(k - 1) // 45 + 1},{k},{2 + 9 / k:.6g},50,{lr},1,{3 / k:.6g},140,0.5,"
        for k in range(15, 45 * epochs + 1, 15)
    ]
    (folder / "steps.csv").write_text("\n".join([head, *steps]) + "\n")
    start = {
        "when": "2026-11-24T10:00:00+00:00",
        "command": "train.py -c my.yaml",
        "host": "here",
        "ranks": 1,
        "device": "CPU",
    }
    start |= {"first_epoch": 1, "first_step": 1, "changed": {}, "versions": {"mindspore": "2.10.0"}, "python": "3.11.9"}
    (folder / "history.jsonl").write_text(json.dumps(start) + "\n")
    return folder


def write_answers(path, class_names, images_of_each, *, right=0.8, seed=0, root="val"):
    """A predictions file: so many images of each class, about `right` of them answered so; five answers for each."""
    generator, count = np.random.default_rng(seed), len(class_names)
    labels = np.repeat(np.arange(count), images_of_each)
    top = min(5, count)
    steps = 1 + generator.permutation(count - 1)[: top - 1]
    hit = generator.random(len(labels)) < right
    first = np.where(hit, labels, (labels + generator.integers(1, min(count, 4), len(labels))) % count)
    confidence = np.clip(generator.normal(np.where(hit, 0.85, 0.6), 0.12), 0.3, 1.0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        answers = [f"{key}{k}" for k in range(1, top + 1) for key in ("class", "probability")]
        table.writerow(["image", "label", "label_probability", *answers])
        for index, (label, answer, share) in enumerate(zip(labels, first, confidence, strict=True)):
            others = [(answer + step) % count for step in steps]
            rest = [(1 - share) / 2 ** (k + 1) for k in range(len(others))]
            chosen = [(answer, share), *zip(others, rest, strict=True)]
            own = next((each for k, each in chosen if k == label), 0.0)
            cells = [cell for k, each in chosen for cell in (class_names[k], f"{each:.6f}")]
            table.writerow([f"{root}/{class_names[label]}/{index:06d}.png", class_names[label], f"{own:.6f}", *cells])
    return path
