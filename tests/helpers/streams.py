"""What training gets of a source, as digests that can be compared and sent between processes."""

import hashlib

import numpy as np

from mindcv_hrnet.data.loader import TrainLoader
from mindcv_hrnet.data.sources.open_split import open_split

RECIPE = dict(auto_augment="randaug-m7-mstd0.5", re_prob=0.5, mixup=0.2, cutmix=1.0)


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def union_over_ranks(source, sections, size, drop_rates=(), **settings):
    """What all ranks together see of epoch 1, as (step, digest of an image and what goes with it), sorted."""
    seen: list[tuple[int, str]] = []
    for rank in range(size):
        data, augmentation = sections(batch_size=8 // size, **settings)
        loader = TrainLoader(source, data, augmentation, seed=5, rank=rank, size=size, drop_rates=drop_rates)
        for step, batch in enumerate(loader.batches(1)):
            rows = zip(batch.images, batch.labels, batch.erase, batch.keep, strict=True)
            seen.extend((step, digest(row)) for row in rows)
        loader.close()
    return sorted(seen)


def stream(source, sections, size=1, **extra):
    batches = []
    for rank in range(size):
        data, augmentation = sections(batch_size=4 // size, auto_augment="randaug-m7-mstd0.5", **extra)
        loader = TrainLoader(source, data, augmentation, seed=5, rank=rank, size=size)
        for epoch in range(2):
            for step, batch in enumerate(loader.batches(epoch)):
                for image, label in zip(batch.images, batch.labels, strict=True):
                    batches.append((epoch, step, digest([image]), int(label)))
        loader.close()
    return sorted(batches)


def batch_of(settings, root, rank, size, epoch, step):
    """Digest of one batch, of a loader made for it alone; for a process of its own."""
    data, augmentation = settings
    loader = TrainLoader(open_split(root, ""), data, augmentation, seed=5, rank=rank, size=size)
    batch = next(loader.batches(epoch, step))
    loader.close()
    return digest(batch)
