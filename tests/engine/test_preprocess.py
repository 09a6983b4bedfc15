import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from mindcv_hrnet.engine.preprocess import Normalize, Preprocess

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
N, S, K = 4, 12, 5


@pytest.fixture(
    params=[
        pytest.param(ms.GRAPH_MODE, id="graph", marks=pytest.mark.slow),
        pytest.param(ms.PYNATIVE_MODE, id="pynative"),
    ]
)
def mode(request):
    before = ms.get_context("mode")
    ms.set_context(mode=request.param)
    yield
    ms.set_context(mode=before)


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (N, 3, S, S)).astype(np.uint8)
    erase = np.array([[0, 0, 0, 0], [2, 3, 7, 12], [0, 0, 12, 1], [5, 5, 5, 9]], np.int32)
    return images, np.array([0, 4, 2, 2], np.int32), erase


def reference(batch, mix, smoothing=0.0, erased=0.0):
    """The same in NumPy, by loops over samples."""
    images, labels, erase = batch
    x = (images - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    targets = np.full((N, K), smoothing / K)
    targets[np.arange(N), labels] += 1 - smoothing
    for image, (y0, x0, y1, x1) in zip(x, erase, strict=True):
        image[:, y0:y1, x0:x1] = erased
    mixed, mixed_targets = x.copy(), targets.copy()
    for n, (y0, x0, y1, x1, keep) in enumerate(mix):
        area = np.s_[:, int(y0) : int(y1), int(x0) : int(x1)]
        mixed[n][area] = keep * x[n][area] + (1 - keep) * x[N - 1 - n][area]
        weight = 1 - (1 - keep) * (y1 - y0) * (x1 - x0) / S**2
        mixed_targets[n] = weight * targets[n] + (1 - weight) * targets[N - 1 - n]
    return mixed, mixed_targets


NONE, MIXUP, CUTMIX = (0, 0, 0, 0, 1), (0, 0, S, S, 0.3), (2, 4, 9, 12, 0)


@pytest.mark.parametrize("mix", [NONE, MIXUP, CUTMIX], ids=["none", "mixup", "cutmix"])
@pytest.mark.parametrize("erased", [0.0, 0.5])
def test_equals_numpy(mix, erased, mode, batch):
    mix = np.tile(np.array(mix, np.float32), (N, 1))
    cell = Preprocess(MEAN, STD, S, K, label_smoothing=0.1, erase=True, erase_value=erased, mix=True)
    images, targets = cell(*(Tensor(part) for part in (*batch, mix)))
    expected_images, expected_targets = reference(batch, mix, smoothing=0.1, erased=erased)
    assert images.dtype == targets.dtype == ms.float32
    np.testing.assert_allclose(images.asnumpy(), expected_images, atol=2e-6)
    np.testing.assert_allclose(targets.asnumpy(), expected_targets, atol=1e-6)
    np.testing.assert_allclose(targets.asnumpy().sum(axis=1), 1, atol=1e-6)


def test_rows_may_be_mixed_differently(mode, batch):
    mix = np.array([NONE, MIXUP, CUTMIX, MIXUP], np.float32)
    images, targets = Preprocess(MEAN, STD, S, K, mix=True)(*(Tensor(part) for part in (*batch, mix)))
    expected_images, expected_targets = reference((*batch[:2], np.zeros((N, 4), int)), mix)
    np.testing.assert_allclose(images.asnumpy(), expected_images, atol=2e-6)
    np.testing.assert_allclose(targets.asnumpy(), expected_targets, atol=1e-6)


def test_what_is_off_changes_nothing(mode, batch):
    mix = np.tile(np.array(MIXUP, np.float32), (N, 1))
    images, targets = Preprocess(MEAN, STD, S, K)(*(Tensor(part) for part in (*batch, mix)))
    assert (images.asnumpy() == Normalize(MEAN, STD)(Tensor(batch[0])).asnumpy()).all()
    assert (targets.asnumpy() == np.eye(K)[batch[1]]).all()


def test_one_channel(mode):
    images = np.arange(N * S * S, dtype=np.uint8).reshape(N, 1, S, S)
    boxes = np.tile(np.array(CUTMIX, np.float32), (N, 1))
    cell = Preprocess((128.0,), (64.0,), S, K, erase=True, mix=True)
    labels, erase = Tensor(np.zeros(N, np.int32)), Tensor(np.zeros((N, 4), np.int32))
    out, _ = cell(Tensor(images), labels, erase, Tensor(boxes))
    expected = (images.astype(np.float32) - 128) / 64
    expected[:, :, 2:9, 4:12] = expected[::-1, :, 2:9, 4:12].copy()
    np.testing.assert_allclose(out.asnumpy(), expected, atol=1e-6)


def test_normalize_exports_with_any_batch_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    placeholder = Tensor(shape=[None, 3, S, S], dtype=ms.uint8)
    ms.export(Normalize(MEAN, STD), placeholder, file_name=str(tmp_path / "normalize"), file_format="MINDIR")
    graph = ms.nn.GraphCell(ms.load(str(tmp_path / "normalize.mindir")))
    graph.set_inputs(placeholder)
    for count in (1, 5):
        images = np.random.default_rng(count).integers(0, 256, (count, 3, S, S)).astype(np.uint8)
        expected = (images - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
        np.testing.assert_allclose(graph(Tensor(images)).asnumpy(), expected, atol=2e-6)
    ms.set_context(mode=before)
