"""Small data sets in the formats of CIFAR and MNIST, written from arrays."""

import gzip
import struct

import numpy as np


def write_idx(path, array):
    """(..., ) uint8 as IDX; gzipped where the name says so."""
    header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
    (gzip.open if path.suffix == ".gz" else open)(path, "wb").write(header + array.tobytes())


def write_mnist(folder, counts=(20, 10), suffix=""):
    """Both splits; returns (images (N, 28, 28), labels (N,)) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = []
    for seed, (split, count) in enumerate(zip(("train", "t10k"), counts, strict=True)):
        images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", labels)
        splits.append((images, labels))
    return splits


CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def write_cifar10(folder):
    """Five files of 4 training images and one of 6; returns (images (N, 32, 32, 3), labels (N,)) of each split."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    parts = []
    for seed, name in enumerate(names):
        images = np.random.default_rng(seed).integers(
            0, 256, (6 if name == "test_batch.bin" else 4, 32, 32, 3), np.uint8
        )
        labels = (np.arange(len(images)) + seed) % 10
        write_cifar(folder / name, images, labels[:, None])
        parts.append((images, labels))
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_NAMES) + "\n\n")
    return [np.concatenate(column) for column in zip(*parts[:-1], strict=True)], parts[-1]


def write_cifar(path, images, labels):
    """(N, 32, 32, 3) images and (N, 1 or 2) labels as records of the binary version."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    path.write_bytes(np.concatenate([labels.astype(np.uint8), planes], axis=1).tobytes())
