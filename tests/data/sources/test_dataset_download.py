"""Data sets come from a local web server: once, whole, checked, whatever happens on the way."""

import hashlib
import logging
import subprocess
import sys
import tarfile
from dataclasses import replace
from typing import Any

import pytest
from file_server import FileServer
from original_files import write_cifar10, write_mnist
from repository import ROOT

from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS
from mindcv_hrnet.data.sources.dataset_download import download_dataset
from mindcv_hrnet.data.sources.open_split import open_split
from mindcv_hrnet.errors import DataError
from mindcv_hrnet.recipe.keys import DataConfig
from mindcv_hrnet.runtime import download as downloads

ARCHIVE = "cifar-10-binary.tar.gz"
IMAGES = "train-images-idx3-ubyte.gz"


def md5(content):
    return hashlib.md5(content).hexdigest()


def publish(monkeypatch, server, dataset, files):
    """Let `dataset` be published at the server, with the checksums of `files`."""
    original = ORIGINALS[dataset]
    assert set(files) == set(original.md5)
    address = server.url.removesuffix(server.name)
    changed = replace(original, address=address, md5={name: md5(content) for name, content in files.items()})
    monkeypatch.setitem(ORIGINALS, dataset, changed)
    return address


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A server that has a small MNIST; its `name` is the file with the training images."""
    write_mnist(tmp_path / "authors", suffix=".gz")
    files = {path.name: path.read_bytes() for path in (tmp_path / "authors").iterdir()}
    server: Any = FileServer(files[IMAGES], IMAGES)
    server.more = {name: content for name, content in files.items() if name != IMAGES}
    server.address = publish(monkeypatch, server, "mnist", files)
    monkeypatch.setattr(downloads, "PAUSE_S", 0.0)
    yield server
    server.close()


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A server that has a small CIFAR-10, and a file that has no business in its archive."""
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
        tar.add(tmp_path / "cifar-10-batches-bin", "cifar-10-batches-bin")
        tar.add(tmp_path / "evil", "../../evil-twin")
    server = FileServer((tmp_path / ARCHIVE).read_bytes(), ARCHIVE)
    (tmp_path / ARCHIVE).unlink()
    publish(monkeypatch, server, "cifar10", {ARCHIVE: server.content})
    monkeypatch.setattr(downloads, "PAUSE_S", 0.0)
    yield server
    server.close()


def download(folder, dataset):
    download_dataset(DataConfig(dataset=dataset, data_dir=str(folder), dataset_download=True))


def refusal(folder, dataset):
    with pytest.raises(DataError) as error:
        download(folder, dataset)
    assert "\n" not in str(error.value)
    return str(error.value)


def visible(folder):
    return sorted(path.name for path in folder.rglob("*") if not path.name.startswith("."))


def test_mnist_is_fetched_once(mnist, tmp_path):
    folder = tmp_path / "new" / "data"
    download(folder, "mnist")
    assert visible(folder) == sorted([IMAGES, *mnist.more]) and mnist.requests == [None] * 4
    assert len(open_split(str(folder), "train", dataset="mnist")) == 20
    download(folder, "mnist")
    assert mnist.requests == [None] * 4


def test_nothing_is_fetched_unless_asked_for(mnist, tmp_path):
    download_dataset(DataConfig(dataset="mnist", data_dir=str(tmp_path / "data")))
    assert mnist.requests == [] and not (tmp_path / "data").exists()


def test_files_that_are_there_stay(mnist, tmp_path):
    write_mnist(tmp_path / "data", counts=(30, 10))
    (tmp_path / "data/t10k-images-idx3-ubyte").unlink()
    download(tmp_path / "data", "mnist")
    assert mnist.requests == [None] and "t10k-images-idx3-ubyte.gz" in visible(tmp_path / "data")
    assert len(open_split(str(tmp_path / "data"), "train", dataset="mnist")) == 30


def test_a_complete_folder_is_not_written(mnist, tmp_path):
    write_mnist(tmp_path / "data")
    before = sorted((tmp_path / "data").iterdir())
    download(tmp_path / "data", "mnist")
    assert sorted((tmp_path / "data").iterdir()) == before and mnist.requests == []


def test_cifar_is_unpacked_and_its_archive_removed(cifar10, tmp_path, caplog):
    folder = tmp_path / "data"
    with caplog.at_level(logging.INFO):
        download(folder, "cifar10")
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin", "batches.meta.txt"]
    assert visible(folder) == sorted(["cifar-10-batches-bin", *names])
    assert not list(tmp_path.rglob("evil-twin"))
    assert len(open_split(str(folder), "train", dataset="cifar10")) == 20
    assert f"fetching {cifar10.url} into {folder}" in caplog.messages
    download(folder, "cifar10")
    assert cifar10.requests == [None]


def test_an_archive_that_is_there_is_unpacked_and_stays(cifar10, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / ARCHIVE).write_bytes(cifar10.content)
    download(folder, "cifar10")
    assert cifar10.requests == [] and (folder / ARCHIVE).exists()
    assert len(open_split(str(folder), "val", dataset="cifar10")) == 6


def test_unpacking_that_was_broken_off_is_finished(cifar10, tmp_path):
    folder = tmp_path / "data"
    download(folder, "cifar10")
    before = (folder / "cifar-10-batches-bin/data_batch_1.bin").stat().st_mtime_ns
    (folder / "cifar-10-batches-bin/data_batch_4.bin").unlink()
    download(folder, "cifar10")
    assert len(open_split(str(folder), "train", dataset="cifar10")) == 20
    assert (folder / "cifar-10-batches-bin/data_batch_1.bin").stat().st_mtime_ns == before


def test_a_cut_connection_goes_on_where_it_stopped(cifar10, tmp_path):
    cifar10.cut_after = [5_000, 0]
    download(tmp_path / "data", "cifar10")
    assert cifar10.requests == [None, "bytes=5000-", "bytes=5000-"]


def test_a_connection_that_stays_cut_is_one_line_and_a_later_run_goes_on(cifar10, tmp_path):
    folder = tmp_path / "data"
    cifar10.cut_after = [5_000] + [0] * 5
    assert refusal(folder, "cifar10") == (
        f"{cifar10.url}: cannot be fetched (the connection was cut); get {ARCHIVE} from elsewhere and put it into "
        f"{folder}"
    )
    assert (folder / f"{ARCHIVE}.part").stat().st_size == 5_000
    cifar10.cut_after, cifar10.requests = [], []
    download(folder, "cifar10")
    assert cifar10.requests == ["bytes=5000-"] and ARCHIVE not in str(visible(folder))


def test_404(mnist, tmp_path):
    mnist.name, url = "moved.gz", mnist.url
    assert refusal(tmp_path / "data", "mnist") == (
        f"{url}: the server answers 404 Not Found; get {IMAGES} from elsewhere and put it into {tmp_path}/data"
    )
    assert visible(tmp_path / "data") == []


def test_wrong_checksum(mnist, tmp_path):
    expected, mnist.content = md5(mnist.content), mnist.content[:-1] + b"?"
    assert refusal(tmp_path / "data", "mnist") == (
        f"{mnist.url}: MD5 is {md5(mnist.content)}, expected {expected}; the file is not the original one and was "
        "removed"
    )
    assert visible(tmp_path / "data") == []


def test_a_folder_that_cannot_be_written(mnist, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/.mnist.lock").mkdir()
    assert refusal(tmp_path / "data", "mnist") == (
        f"{tmp_path}/data: cannot be written (Is a directory); choose another data_dir"
    )


def test_several_processes_fetch_once(mnist, tmp_path):
    code = (
        "from dataclasses import replace; from mindcv_hrnet.recipe.config import DataConfig; "
        "from mindcv_hrnet.data.sources.cifar_mnist import ORIGINALS; "
        "from mindcv_hrnet.data.sources.open_split import open_split; "
        "from mindcv_hrnet.data.sources.dataset_download import download_dataset; "
        f"ORIGINALS['mnist'] = replace(ORIGINALS['mnist'], address={mnist.address!r}, md5={ORIGINALS['mnist'].md5!r}); "
        f"download_dataset(DataConfig(dataset='mnist', data_dir={str(tmp_path / 'data')!r}, dataset_download=True)); "
        f"print(len(open_split({str(tmp_path / 'data')!r}, 'train', dataset='mnist')))"
    )
    jobs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)
    ]
    assert [job.communicate()[0].strip() for job in jobs] == ["20"] * 3
    assert mnist.requests == [None] * 4
