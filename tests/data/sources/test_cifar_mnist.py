"""CIFAR and MNIST come out of their authors' files pixel for pixel."""

import gzip

import numpy as np
import pytest
from original_files import CIFAR10_NAMES, write_cifar, write_cifar10, write_idx, write_mnist

from mindcv_hrnet.data.decode import decode
from mindcv_hrnet.data.loader import EvalLoader, TrainLoader
from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS
from mindcv_hrnet.data.sources.open_split import class_names_of, open_split
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe import keys

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def opened(folder, dataset, split="train"):
    return open_split(str(folder), split, dataset=dataset)


def pixels(source):
    return np.stack([decode(source.read(index)) for index in range(len(source))])


def refusal(folder, dataset, split="train"):
    with pytest.raises(DataError) as error:
        opened(folder, dataset, split)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{folder}")


def test_the_recipe_knows_the_same_data_sets():
    assert tuple(ORIGINALS) == keys.ORIGINAL_DATASETS
    assert set(keys.DataConfig.__dataclass_fields__["dataset"].metadata["choices"]) == {
        *("imagenet", "folder", ""),
        *ORIGINALS,
    }


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_mnist(tmp_path, dataset, suffix):
    splits = write_mnist(tmp_path, suffix=suffix)
    for split, (images, labels) in zip(("train", "val", "test"), [*splits, splits[1]], strict=True):
        source = opened(tmp_path, dataset, split)
        assert (pixels(source) == images[..., None]).all() and len(source) == len(images)
        assert source.labels.tolist() == labels.tolist() and source.labels.dtype == np.int32
        assert source.path(3) == f"{tmp_path}: {split} image 3"
    names = {"mnist": list("0123456789"), "fashion_mnist": ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]}
    assert list(source.class_names[: len(names[dataset])]) == names[dataset] and len(source.class_names) == 10
    assert class_names_of(str(tmp_path), "train", dataset) == source.class_names


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10(tmp_path, below):
    train, test = write_cifar10(tmp_path / below)
    for split, (images, labels) in zip(("train", "val", "test"), [train, test, test], strict=True):
        source = opened(tmp_path, "cifar10", split)
        assert (pixels(source) == images).all() and len(source) == len(images)
        assert source.labels.tolist() == labels.tolist() and source.labels.dtype == np.int32
    assert source.class_names == CIFAR10_NAMES == class_names_of(str(tmp_path), "train", "cifar10")
    assert class_names_of(str(tmp_path / "nowhere"), "train", "cifar10") is None


@pytest.mark.parametrize("below", ["", "cifar-100-binary"])
def test_cifar100_has_the_fine_labels(tmp_path, below):
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    labels = np.array([[3, 99], [0, 0], [19, 50], [1, 20], [2, 19]])
    write_cifar(folder / "train.bin", images, labels)
    write_cifar(folder / "test.bin", images[::-1], labels[::-1])
    (folder / "fine_label_names.txt").write_text("".join(f"fine {number}\n" for number in range(100)))
    train, test = (opened(tmp_path, "cifar100", split) for split in ("train", "test"))
    assert (pixels(train) == images).all() and train.labels.tolist() == [99, 0, 50, 20, 19]
    assert (pixels(test) == images[::-1]).all() and test.labels.tolist() == [19, 20, 50, 0, 99]
    assert train.class_names == test.class_names and train.class_names[50] == "fine 50"


@pytest.mark.parametrize("first", [0, 9, 10, 13, 32, 35, 48, 57, 255])
@pytest.mark.parametrize("colours", [1, 3])
def test_no_pixel_is_taken_for_the_header(tmp_path, first, colours):
    """Blanks, digits and the sign of a comment are pixels like any other."""
    if colours == 1:
        splits = write_mnist(tmp_path)
        images, dataset = splits[0][0], "mnist"
        images[:, 0, :3] = first
        write_idx(tmp_path / IMAGES, images)
        images = images[..., None]
    else:
        (images, _), _ = write_cifar10(tmp_path)
        images, dataset = images[:4], "cifar10"
        images[:, 0, :3] = first
        write_cifar(tmp_path / "data_batch_1.bin", images, np.zeros((4, 1)))
    assert (pixels(opened(tmp_path, dataset))[: len(images)] == images).all()


# --- through the loaders -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_reach_the_batch_unchanged(tmp_path, sections, channels):
    (images, labels), _ = write_mnist(tmp_path)
    loader = EvalLoader(
        opened(tmp_path, "mnist"), *sections(image_resize=28, crop_pct=1.0, batch_size=20), in_channels=channels
    )
    (batch,) = loader
    loader.close()
    assert batch.images.shape == (20, channels, 28, 28)
    assert (batch.images == images[:, None]).all() and (batch.labels == labels).all()


def test_colour_images_reach_the_batch_unchanged_or_grey(tmp_path, sections):
    (images, labels), _ = write_cifar10(tmp_path)
    for channels in (3, 1):
        loader = EvalLoader(opened(tmp_path, "cifar10"), *sections(crop_pct=1.0, batch_size=20), in_channels=channels)
        (batch,) = loader
        loader.close()
        assert (batch.labels == labels).all()
        if channels == 3:
            assert (batch.images == images.transpose(0, 3, 1, 2)).all()
        else:
            grey = images @ [0.299, 0.587, 0.114]
            assert np.abs(batch.images[:, 0] - grey).max() <= 0.51


def test_num_samples_of_a_data_set(tmp_path, sections):
    write_mnist(tmp_path)
    source = opened(tmp_path, "mnist")
    for num_samples, batches in ((None, 5), (8, 2)):
        loader = TrainLoader(source, *sections(num_samples=num_samples), seed=1)
        seen = {int(entry) for step in range(batches) for entry in loader.entries(0, step)}
        assert loader.steps_per_epoch == batches and len(seen) == 4 * batches
        loader.close()


# --- what cannot be used -------------------------------------------------------------------------------------------


def test_wrong_split(tmp_path):
    write_mnist(tmp_path)
    assert refusal(tmp_path, "mnist", "tests") == (
        ": mnist has no split 'tests' (nearest: 'test'); choices: train, test, val (the last two are the same files)"
    )
    assert refusal(tmp_path, "mnist", "").startswith(": mnist has no split ''; choices: train")


def test_missing_files(tmp_path):
    assert refusal(tmp_path, "mnist") == (
        ": no train-images-idx3-ubyte for mnist; put train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz there, or pass --dataset_download True"
    )
    wanted = " for cifar10; put cifar-10-binary.tar.gz there and unpack it, or pass --dataset_download True"
    assert refusal(tmp_path, "cifar10") == ": no data_batch_1.bin" + wanted
    write_cifar10(tmp_path)
    (tmp_path / "batches.meta.txt").unlink()
    assert refusal(tmp_path, "cifar10") == ": no batches.meta.txt" + wanted
    assert refusal(tmp_path / "nowhere", "mnist") == ": no such folder; set data_dir to your data set"


def test_a_split_needs_its_own_files_only(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / IMAGES).unlink()
    assert len(opened(tmp_path, "mnist", "val")) == 10
    assert refusal(tmp_path, "mnist").startswith(": no train-images-idx3-ubyte for mnist")


def test_damaged_idx_files(tmp_path):
    (images, labels), _ = write_mnist(tmp_path)
    path = tmp_path / IMAGES
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert refusal(tmp_path, "mnist") == (
        f"/{IMAGES}: holds 15580 bytes, its header tells of 20 x 28 x 28; it is truncated or damaged, fetch it again"
    )
    path.write_bytes(whole + b"\0")
    assert "holds 15681 bytes" in refusal(tmp_path, "mnist")
    for start, shown in ((b"\0\0\x08\x01", "00000801"), (b"", "nothing")):
        path.write_bytes(start + whole[4 if start else len(whole) :])
        assert refusal(tmp_path, "mnist") == (
            f"/{IMAGES}: starts with {shown}, not 00000803; it is no IDX file of images, fetch it again"
        )
    path.write_bytes(whole)
    write_idx(tmp_path / LABELS, labels[:19])
    assert refusal(tmp_path, "mnist") == f"/{IMAGES}: holds 20 images, {LABELS} 19 labels; fetch both again"
    labels[7] = 10
    write_idx(tmp_path / LABELS, labels)
    assert refusal(tmp_path, "mnist") == (
        f"/{LABELS}: image 7 has label 10, the labels are 0 to 9; fetch the file again"
    )
    write_idx(path, images[:0])
    write_idx(tmp_path / LABELS, labels[:0])
    assert refusal(tmp_path, "mnist") == f"/{IMAGES}: holds 0 images, {LABELS} 0 labels; fetch both again"


def test_a_gz_file_that_ends_early(tmp_path):
    write_mnist(tmp_path, suffix=".gz")
    path = tmp_path / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-500])
    assert refusal(tmp_path, "mnist") == (
        f"/{IMAGES}.gz: cannot be read (Compressed file ended before the end-of-stream marker was reached); "
        "fetch the file again"
    )
    path.write_bytes(b"no gzip")
    assert (
        refusal(tmp_path, "mnist") == f"/{IMAGES}.gz: cannot be read (Not a gzipped file (b'no')); fetch the file again"
    )
    path.write_bytes(gzip.compress(b"\0\0\x08\x03")[:10] + b"\xff" * 30)
    assert "cannot be read (Error -3 while decompressing data" in refusal(tmp_path, "mnist")


def test_damaged_cifar_files(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], b""):
        path.write_bytes(content)
        assert refusal(tmp_path, "cifar10") == (
            f"/data_batch_3.bin: {len(content)} bytes are no whole number of records of 3073; it is truncated or of "
            "another version than the binary one, fetch it again"
        )
    path.write_bytes(whole[:3073] + b"\x0b" + whole[3074:])
    assert refusal(tmp_path, "cifar10") == (
        "/data_batch_3.bin: image 1 has label 11, the labels are 0 to 9; fetch the file again"
    )
    (tmp_path / "batches.meta.txt").write_text("cat\ndog\n")
    assert refusal(tmp_path, "cifar10") == "/batches.meta.txt: has 2 names for 10 classes; fetch the file again"
