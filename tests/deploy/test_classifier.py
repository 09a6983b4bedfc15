"""Images of any kind to labels, in order, in any batch; and the ten lines of the documentation, which do the same."""

import io
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from repository import ROOT

import mindcv_hrnet
from mindcv_hrnet.deploy.classifier import Classifier
from mindcv_hrnet.deploy.compare import natural_images
from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.onnx_file import write_onnx
from mindcv_hrnet.deploy.runner import load_model
from mindcv_hrnet.errors import UserError


@pytest.fixture(scope="module")
def classifier(tiny_onnx):
    return mindcv_hrnet.load_classifier(tiny_onnx)


def picture(seed, height=50, width=70):
    return natural_images(1, 3, height, width, seed)[0].transpose(1, 2, 0)


def encoded(pixels, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.slow
def test_paths_bytes_and_pixels_give_the_same(classifier, tmp_path):
    pixels = picture(0)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(pixels))
    of_path, of_text, of_bytes, of_pixels = classifier([path, str(path), path.read_bytes(), pixels])
    assert of_path == of_text and of_path.image == str(path) and of_bytes.image == ""
    assert of_path.probabilities == of_bytes.probabilities == of_pixels.probabilities
    assert len(of_path.labels) == 5 and abs(sum(of_path.probabilities) - 1) < 1e-6
    assert [classifier.model.metadata.class_names[k] for k in of_path.classes] == list(of_path.labels)
    for one in (path, path.read_bytes(), pixels):
        assert [answer.labels for answer in classifier(one)] == [of_path.labels]


def test_probabilities_are_those_of_the_logits(classifier):
    pixels = Preprocessor(classifier.model.metadata).of_pixels(picture(1))
    logits = classifier.model(classifier.preprocess.as_input(pixels[None]))[0].astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum()
    (answer,) = classifier(picture(1), top=2)
    assert answer.classes == tuple(np.argsort(-expected)[:2])
    np.testing.assert_allclose(answer.probabilities, np.sort(expected)[::-1][:2], rtol=1e-6)


def test_batches_and_damaged_images_change_no_other(classifier):
    images = [encoded(picture(seed, 40 + seed, 60)) for seed in range(7)]
    images[3] = images[3][:100]
    images[5] = np.zeros((4, 4), np.uint8)
    answers = classifier(images, batch_size=3)
    assert [bool(answer.error) for answer in answers] == [False] * 3 + [True, False, True, False]
    assert answers[3].error == "it is truncated: its end marker is missing" and answers[3].labels == ()
    assert answers[5].error == "it is (4, 4) uint8, not (H, W, 3) uint8 RGB"
    for answer, image in zip(answers, images, strict=True):
        (alone,) = classifier(image)
        assert alone.labels == answer.labels
        np.testing.assert_allclose(alone.probabilities, answer.probabilities, rtol=1e-5)
    assert [bool(answer.error) for answer in classifier([images[3]] * 2)] == [True, True]


def test_a_stream_may_be_endless(classifier):
    pulled = []

    def endless():
        while True:
            pulled.append(threading.get_ident())
            yield picture(0)

    stream = classifier.stream(endless(), batch_size=2)
    assert next(stream).labels == next(stream).labels
    stream.close()
    assert len(pulled) < 20 and set(pulled) == {threading.get_ident()}


def test_a_backbone_has_no_labels(tiny_mindir, tiny_onnx):
    model = load_model(tiny_onnx)
    model.metadata = replace(model.metadata, outputs=("stride4",))
    with pytest.raises(UserError, match=r"^the model gives stride4, not logits; export a classifier"):
        Classifier(model)


def documented():
    """The function in the page's first block of Python that imports Pillow."""
    page = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    return next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "from PIL" in block)


def photographs(count):
    """Encoded crops of two photographs, of all sizes, as PNG and as JPEG of many qualities."""
    datasets = pytest.importorskip("sklearn.datasets")
    photos = [datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    draw = np.random.default_rng(0)
    for number in range(count):
        photo = photos[number % 2]
        height, width = (int(draw.integers(20, side + 1)) for side in photo.shape[:2])
        top, left = (int(draw.integers(0, space + 1)) for space in (photo.shape[0] - height, photo.shape[1] - width))
        pixels = np.ascontiguousarray(photo[top : top + height, left : left + width])
        if number % 3:
            yield encoded(pixels, "JPEG", quality=int(draw.integers(40, 97)), subsampling=number % 3)
        else:
            yield encoded(pixels)


@pytest.mark.slow
def test_the_documented_lines_equal_predict(tiny_mindir, tmp_path, monkeypatch):
    _, network, metadata = tiny_mindir
    metadata = replace(metadata, image_resize=64)
    write_onnx(network, metadata, tmp_path / "hrnet_w32.onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image.jpg").write_bytes(next(photographs(1)))
    page: dict = {}
    exec(documented(), page)  # the page's own text, with the names of its files
    classifier = mindcv_hrnet.load_classifier("hrnet_w32.onnx")
    images = list(photographs(300))
    answers = classifier(images, top=1)
    for number, (data, answer) in enumerate(zip(images, answers, strict=True)):
        (tmp_path / "image.jpg").write_bytes(data)
        inputs = page["as_input"]("image.jpg")
        np.testing.assert_allclose(
            inputs[0],
            classifier.preprocess.normalize(classifier.preprocess(data)),
            rtol=0,
            atol=2e-6,
            err_msg=str(number),
        )
        if number % 10 == 0:
            probabilities = page["softmax"](page["session"].run(None, {"images": inputs})[0])[0]
            assert int(probabilities.argmax()) == answer.classes[0]
            assert abs(float(probabilities.max()) - answer.probabilities[0]) < 1e-5
