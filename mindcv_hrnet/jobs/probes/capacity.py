"""Cores, memory, reading speed and disk of this machine, against what the recipe asks of it."""

import shutil
import time
from contextlib import closing
from pathlib import Path

import psutil

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.errors import UserError
from mindcv_hrnet.jobs.probes.estimate import GIB, Demand, demand_of
from mindcv_hrnet.jobs.probes.finding import GREEN, RED, YELLOW, Finding
from mindcv_hrnet.models.variants import describe
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.runtime.cache import cache_folder
from mindcv_hrnet.runtime.cores import usable_cores

MEASURE_S = 5.0
# Memory of the published devices: Ascend 910 and 910B have 32 or 64 GB
SMALLEST_DEVICE_GIB = 30.0
# What a rank's process takes before its first batch, with MindSpore imported and a graph compiled
PROCESS_GIB = 3.0


def cores(config: Config, devices: int, available: int | None = None) -> Finding:
    """Whether each device's decoding threads have a core of their own."""
    available = usable_cores() if available is None else available
    threads = config.data.num_parallel_workers
    text = f"{available} cores for {devices} x num_parallel_workers {threads}"
    if available >= devices * threads:
        return Finding(GREEN, "cores", text)
    return Finding(
        YELLOW,
        "cores",
        f"{text}: threads of the ranks share them",
        f"--num_parallel_workers {max(1, available // devices)}, or a machine with {devices * threads} cores",
    )


def memory(config: Config, device: str, devices: int, free: int | None = None) -> Finding:
    """Whether the host's free memory holds the ranks, and on a CPU their training step too."""
    gib = (psutil.virtual_memory().available if free is None else free) / GIB
    demand = demand_of(config)
    batch = config.data.batch_size * 3 * config.augmentation.image_resize**2 / GIB
    needed = devices * (PROCESS_GIB + 4 * batch + (demand.gib if device == "CPU" else 0))
    text = f"{gib:.1f} GiB free, about {needed:.1f} GiB for {devices} rank{'s' * (devices > 1)}"
    if gib >= needed:
        return Finding(GREEN, "memory", text)
    mend = "--batch_size smaller, or --recompute True" if device == "CPU" else "fewer ranks on this host"
    return Finding(YELLOW, "memory", text, mend)


def device_memory(config: Config) -> Finding:
    """Estimate of one device's training step."""
    demand = demand_of(config)
    text = (
        f"about {demand.gib:.1f} GiB on each device: {demand.state_gib:.1f} weights and optimizer, "
        f"{demand.activations_gib:.1f} activations of {config.data.batch_size} images (estimate, within a third)"
    )
    if demand.gib <= SMALLEST_DEVICE_GIB:
        return Finding(GREEN, "device memory", text)
    mend = "--recompute True, or --batch_size smaller with --gradient_accumulation_steps"
    return Finding(YELLOW, "device memory", text, mend)


def reading(config: Config, device: str, devices: int, seconds: float = MEASURE_S) -> Finding:
    """Images per second that this host decodes and augments from data_dir, and how many devices that feeds."""
    if not Path(config.data.data_dir, config.data.train_split).exists():
        text = f"not measured: {config.data.data_dir}/{config.data.train_split} is not there"
        return Finding(YELLOW, "reading", text, "--data_dir FOLDER with the training split")
    try:
        source = open_split(config.data.data_dir, config.data.train_split, dataset=config.data.dataset)
        channels, seed = config.model.in_channels, config.system.seed
        with closing(TrainLoader(source, config.data, config.augmentation, seed, in_channels=channels)) as loader:
            rate = _images_per_second(loader, seconds)
    except UserError as error:
        return Finding(RED, "reading", str(error), "docs/data.md")
    return feeding(rate, demand_of(config), device, devices, len(source))


def _images_per_second(loader: TrainLoader, seconds: float) -> float:
    """Rate after the first batch, over as many epochs as it takes."""
    images, begun = 0, 0.0
    for epoch in range(1_000_000):
        for batch in loader.batches(epoch):
            if not begun:
                begun = time.perf_counter()
                continue
            images += len(batch.labels)
            elapsed = time.perf_counter() - begun
            if elapsed > seconds:
                return images / elapsed
    raise AssertionError("a loader ends no epoch without a batch")


def feeding(rate: float, demand: Demand, device: str, devices: int, images: int) -> Finding:
    """What a reading speed means for the devices that are here."""
    text = f"{rate:.0f} images/s of {images} on this host"
    if device == "CPU":
        return Finding(GREEN, "reading", f"{text}: more than a CPU trains")
    fed = rate / demand.images_per_second
    text += f": feeds {fed:.1f} devices of {demand.images_per_second:.0f} images/s each (estimate)"
    if fed >= devices:
        return Finding(GREEN, "reading", text)
    mend = "more cores, smaller files (scripts/prepare_shards.py), or a faster disk: docs/data.md"
    return Finding(YELLOW, "reading", f"{text}, {devices} are here", mend)


def disk(config: Config, free: int | None = None) -> Finding:
    """Whether the run folder's disk holds the checkpoints."""
    folder = _existing(Path(config.train.ckpt_save_dir).absolute())
    gib = (shutil.disk_usage(folder).free if free is None else free) / GIB
    weights = describe(config.model.model).parameters * 4 / GIB
    # the kept ones, best and last, one being written; the state has both moments and the moving average
    needed = weights * (config.train.keep_checkpoint_max + 3) + 2 * weights * (4 + config.train.ema)
    text = f"{gib:.0f} GiB free in {folder}, the run keeps about {needed:.1f} GiB"
    if gib >= needed:
        return Finding(GREEN, "disk", text)
    return Finding(RED, "disk", text, "--keep_checkpoint_max fewer, or --ckpt_save_dir on another disk")


def cache(folder: Path | None = None) -> Finding:
    """Whether lists of images, weights and compiled graphs can be kept."""
    folder = cache_folder() if folder is None else folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        text = f"{folder} cannot be written ({error.strerror}): every start lists, fetches and compiles anew"
        return Finding(YELLOW, "cache", text, "MINDCV_HRNET_CACHE=FOLDER")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Finding(GREEN, "cache", f"{folder}, {size / 1e6:.0f} MB")


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
