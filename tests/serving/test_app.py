"""The server as its clients see it: routes, refusals, the key, ids, log lines, pages without outside resources."""

import json
import logging
import re
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tritonclient.http as triton
from tiny_onnx import write_tiny_onnx

from mindcv_hrnet.deploy.images import Preprocessor
from mindcv_hrnet.deploy.metadata import Metadata


@pytest.fixture(scope="module")
def running(serve_module, tiny_onnx):
    """A server that tests share which leave it as it was."""
    return serve_module(tiny_onnx, name="colours")


@pytest.fixture
def client(running):
    with running.client() as client:
        yield client


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_classify_a_file(client, picture, kind):
    data = picture((20, 60, 240), kind)
    answer = client.post("/classify", content=data)
    assert answer.status_code == 200
    content = answer.json()
    assert [guess["label"] for guess in content["predictions"]] == ["blue", "grün", "red"]
    assert [guess["index"] for guess in content["predictions"]] == [2, 1, 0]
    assert sum(guess["probability"] for guess in content["predictions"]) == pytest.approx(1, abs=1e-5)
    assert content["name"] == "colours" and re.fullmatch("[0-9a-f]{12}", content["version"])
    assert content["milliseconds"]["compute"] > 0
    form = client.post("/classify", params={"top": 1}, files={"image": ("a", data)}).json()
    assert form["predictions"] == content["predictions"][:1]


def test_all_ways_to_send_an_image_give_the_same(client, picture):
    data = picture((200, 90, 30), size=(97, 55))
    probabilities = {
        guess["index"]: guess["probability"] for guess in client.post("/classify", content=data).json()["predictions"]
    }
    connection = triton.InferenceServerClient(str(client.base_url.netloc.decode()))
    encoded = triton.InferInput("input", [1], "BYTES")
    encoded.set_data_from_numpy(np.array([data], object))
    by_bytes = connection.infer("colours", [encoded]).as_numpy("probabilities")[0]
    assert by_bytes.tolist() == pytest.approx([probabilities[k] for k in range(3)])
    metadata = connection.get_model_metadata("colours")
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 32, 32]}]
    preprocess = Preprocessor(Metadata(**metadata["preprocessing"]))
    for pixels in (preprocess(data)[None], preprocess.normalize(preprocess(data)[None])):
        tensor = triton.InferInput("input", pixels.shape, "UINT8" if pixels.dtype == np.uint8 else "FP32")
        tensor.set_data_from_numpy(pixels)
        again = connection.infer("colours", [tensor]).as_numpy("probabilities")[0]
        np.testing.assert_allclose(again, by_bytes, rtol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
def test_triton_client(running, pixels, binary, datatype):
    connection = triton.InferenceServerClient(running.address)
    assert connection.is_server_live() and connection.is_server_ready() and connection.is_model_ready("colours")
    version = connection.get_model_metadata("colours")["versions"][0]
    assert connection.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
    values = pixels(3, np.float32 if datatype == "FP32" else np.uint8)
    tensor = triton.InferInput("input", values.shape, datatype)
    tensor.set_data_from_numpy(values, binary_data=binary)
    outputs = [
        triton.InferRequestedOutput("logits", binary_data=binary),
        triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2),
    ]
    result = connection.infer("colours", [tensor], outputs=outputs, request_id="mine", model_version=version)
    assert result.get_response()["id"] == "mine"
    expected = (pixels(3, np.float32)).mean(axis=(2, 3))
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)
    texts = [text if isinstance(text, str) else text.decode() for text in result.as_numpy("probabilities")[:, 0]]
    assert [text.split(":", 1)[1] for text in texts] == ["0:red", "1:grün", "2:blue"]


@pytest.mark.parametrize(
    ("model", "version", "reason"),
    [
        ("other", "", "no model 'other' here; this server has 'colours'"),
        ("colours", "7", "no version '7' of 'colours'"),
    ],
)
def test_triton_client_reads_our_reasons(running, pixels, model, version, reason):
    connection = triton.InferenceServerClient(running.address)
    tensor = triton.InferInput("input", [1, 3, 32, 32], "UINT8")
    tensor.set_data_from_numpy(pixels(1))
    with pytest.raises(triton.InferenceServerException, match=re.escape(reason)):
        connection.infer(model, [tensor], model_version=version)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_curl(running, picture, tmp_path):
    (tmp_path / "blue.png").write_bytes(picture("blue"))

    def curl(*words):
        command = ["curl", "-sS", "--max-time", "20", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    url = f"http://{running.address}"
    for way in (["-F", "image=@blue.png"], ["--data-binary", "@blue.png"], ["-T", "blue.png", "-X", "POST"]):
        assert json.loads(curl(*way, f"{url}/classify"))["predictions"][0]["label"] == "blue"
    tensor = {"name": "input", "shape": [1, 3, 32, 32], "datatype": "UINT8", "data": [0] * 3072}
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    answer = json.loads(curl("-d", "@request.json", f"{url}/v2/models/colours/infer"))
    assert answer["outputs"][0]["data"] == pytest.approx([-5, -5, -5])
    # longer than curl sends without asking
    (tmp_path / "long").write_bytes(bytes(17 * 2**20))
    answer = curl("-w", "%{http_code}", "--data-binary", "@long", f"{url}/classify")
    assert answer.startswith('{"error":"the body is longer than the 16777216 bytes') and answer.endswith("413")


def error_of(answer, status):
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    content = answer.json()
    assert list(content) == ["error"] and "\n" not in answer.text
    return content["error"]


def test_too_long_a_body(serve, tiny_onnx):
    with serve(tiny_onnx, max_body_mb=0.01).client() as client:
        reason = "the body is longer than the 10485 bytes that are accepted; see --max-body-mb"
        assert error_of(client.post("/classify", content=bytes(10486)), 413) == reason
        # in chunks, whose sum no header tells; once they are all there, nothing is waited for
        begun = time.monotonic()
        assert error_of(client.post("/classify", content=iter([bytes(9000)] * 2)), 413) == reason
        assert time.monotonic() - begun < 8
        assert client.post("/classify", content=bytes(10485)).status_code == 422


def test_too_many_pixels(serve, tiny_onnx, picture):
    with serve(tiny_onnx, max_pixels=2000).client() as client:
        assert client.post("/classify", content=picture("red", size=(50, 40))).status_code == 200
        for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF"):
            answer = client.post("/classify", content=picture("red", kind, size=(51, 40)))
            assert error_of(answer, 422) == (
                "the image cannot be used: its 51 x 40 pixels are more than the 2000 that are accepted"
            )


@pytest.mark.parametrize(
    ("send", "status", "reason"),
    [
        ({"content": b""}, 422, "the body is empty; send an image file, for example curl --data-binary @cat.jpg"),
        ({"content": b"no image"}, 422, "the image cannot be used: it is not an image in a known format"),
        ({"data": {"image": "text"}, "files": {}}, 422, "the image cannot be used"),
        ({"files": [("a", b"1"), ("b", b"2")]}, 400, "Too many files. Maximum number of files is 1."),
        ({"content": b"x", "params": {"top": 0}}, 422, "query.top: Input should be greater than or equal to 1"),
        ({"content": b"x", "headers": {"content-encoding": "gzip"}}, 415, "a body in content-encoding 'gzip'"),
        ({"content": b"x", "headers": {"x-long": "a" * 20000}}, 431, "the headers are 201"),
    ],
)
def test_refused_images(client, send, status, reason):
    assert reason in error_of(client.post("/classify", **send), status)


def test_paths_and_methods(client):
    assert error_of(client.get("/nope"), 404) == "no such path: /nope; /docs lists them"
    assert error_of(client.get("/classify"), 405) == "Method Not Allowed"


class Held:
    """A model that waits before each batch, after it was let in."""

    def __init__(self, model):
        self.model, self.format, self.metadata = model, model.format, model.metadata
        self.began, self.gate = threading.Event(), threading.Event()

    def __call__(self, images):
        self.began.set()
        assert self.gate.wait(20)
        return self.model(images)


def hold(running):
    """Make the server's model wait for its `gate`."""
    from dataclasses import replace

    held = Held(running.service.servable.model)
    running.service.servable = replace(running.service.servable, model=held)
    return held


def test_a_full_queue_and_a_late_answer(serve, tiny_onnx, picture, monkeypatch):
    running = serve(tiny_onnx, queue=2, max_batch=1, timeout_s=2)
    held = hold(running)
    data = picture("red")
    answers = []

    def ask():
        with running.client() as client:
            answers.append(client.post("/classify", content=data))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert held.began.wait(10)
    with running.client() as client:
        until = time.monotonic() + 1.5  # before the first of the two gives up
        while running.service.places.taken < 2:
            assert time.monotonic() < until
            time.sleep(0.01)
        refused = client.post("/classify", content=data)
        assert refused.headers["retry-after"] == "1"
        assert error_of(refused, 429) == "2 of 2 images are in hand already; try again in a moment"
        for thread in threads:
            thread.join()
        assert [error_of(answer, 504) for answer in answers] == ["no answer within 2 s; try again later"] * 2
        # its batch is still at work: after twice the time the process counts as sick
        assert client.get("/v2/health/ready").json() == {"live": True}
        # the service's own clock: the server's timers go by the real one
        clock = SimpleNamespace(monotonic=lambda: 1e9, perf_counter=time.perf_counter)
        monkeypatch.setattr("mindcv_hrnet.serving.service.time", clock)
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready"):
            assert error_of(client.get(path), 503) == "a batch has been at work for far too long"
        monkeypatch.undo()
        held.gate.set()
        assert client.post("/classify", content=data).status_code == 200


def test_a_defect_is_500_with_its_id_in_the_log(serve, tiny_onnx, picture, caplog):
    running = serve(tiny_onnx)
    held = hold(running)
    held.gate = None
    with caplog.at_level(logging.ERROR), running.client() as client:
        answer = client.post("/classify", content=picture("red"), headers={"x-request-id": "abc-1"})
    assert error_of(answer, 500) == "the server failed here; its log tells why, under the request id"
    record = next(record for record in caplog.records if record.getMessage() == "request failed")
    assert record.fields == {"request_id": "abc-1"} and "AttributeError" in record.exc_text


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_the_key(serve, tiny_onnx, picture, header):
    running = serve(tiny_onnx, key="sesame ä")
    value = "sesame ä" if header == "X-API-Key" else "Bearer sesame ä"
    with running.client() as client:
        for path in ("/", "/page.js", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200, path
        for path in ("/metrics", "/v2", "/v2/models/tiny", "/v2/models/tiny/ready", "/nope"):
            answer = client.get(path)
            assert error_of(answer, 401) == "this server needs its key; send it as 'Authorization: Bearer KEY'"
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("sesame", "x", "sesame ö"):
            word = wrong.encode() if header == "X-API-Key" else b"Bearer " + wrong.encode()
            assert client.post("/classify", content=b"x", headers={header: word}).status_code == 401
        right = {header: value.encode()}
        assert client.post("/classify", content=picture("red"), headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200


def noted_requests(caplog, count):
    """A request is noted after its answer is sent, so its client may be ahead."""
    until = time.monotonic() + 10
    while True:
        noted = [record.fields for record in caplog.records if record.getMessage() == "request"]
        if len(noted) >= count or time.monotonic() > until:
            return noted
        time.sleep(0.01)


def test_one_line_of_log_for_each_request(running, client, picture, caplog):
    with caplog.at_level(logging.INFO, "mindcv_hrnet.serving"):
        logging.getLogger("mindcv_hrnet").propagate = True
        good = client.post("/classify", content=picture("red"), headers={"x-request-id": "order:66"})
        bad = client.post("/classify", content=b"no", headers={"x-request-id": 'x"\tinjected'})
        first, second = noted_requests(caplog, 2)
    assert good.headers["x-request-id"] == "order:66"
    assert re.fullmatch("[0-9a-f]{32}", bad.headers["x-request-id"])
    assert first.pop("ms") > 0 and first.pop("prepare_ms") > 0 and first.pop("compute_ms") > 0
    assert first == {
        "request_id": "order:66",
        "client": "127.0.0.1",
        "method": "POST",
        "path": "/classify",
        "status": 200,
        "images": 1,
        "label": "red",
    }
    assert second["status"] == 422 and second["reason"].startswith("the image cannot be used")


def test_log_lines_are_json():
    from mindcv_hrnet.serving.logs import JsonLines

    record = logging.makeLogRecord({"msg": "request\n%s", "args": ("ü",), "levelname": "INFO", "fields": {"a": "\n"}})
    (line,) = JsonLines().format(record).splitlines()
    content = json.loads(line)
    assert (content["event"], content["level"], content["a"]) == ("request\nü", "info", "\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", content["time"])


def test_metrics(client, picture):
    def value(name):
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    before = {
        name: value(name)
        for name in (
            'mindcv_hrnet_requests_total{route="/classify",status="200"}',
            'mindcv_hrnet_requests_total{route="/classify",status="422"}',
            "mindcv_hrnet_batch_images_sum",
            "mindcv_hrnet_compute_seconds_count",
        )
    }
    for _ in range(3):
        client.post("/classify", content=picture("red"))
    client.post("/classify", content=b"no")
    assert [value(name) - old for name, old in before.items()] == [3, 1, 3, 3]
    assert value("mindcv_hrnet_images_in_hand") == 0


def test_pages_load_nothing_from_elsewhere(client):
    # A link that a reader may follow is no resource
    outside = re.compile(r"""(?:src|href|url\(|@import|fetch\()\s*=?\s*["'(]?\s*(?:https?:)?//""")
    for path in ("/", "/page.css", "/page.js", "/docs"):
        answer = client.get(path)
        assert answer.status_code == 200 and not outside.search(answer.text), path
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    for file in re.findall(r'(?:src|href)="(/static-offline-docs/[^"]+)"', client.get("/docs").text):
        assert client.get(file).status_code == 200


def test_the_api_page_describes_every_route(client):
    content = client.get("/openapi.json").json()
    assert set(content["paths"]) == {
        "/classify",
        "/metrics",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
    }
    names = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(content)))
    assert (
        {"InferenceRequest", "InputTensor", "Classification", "Reason"}
        <= names
        <= set(content["components"]["schemas"])
    )


def test_a_uint8_file(serve, tmp_path, picture, pixels):
    running = serve(write_tiny_onnx(tmp_path / "tiny8.onnx", input_dtype="uint8"))
    with running.client() as client:
        answer = client.post("/classify", content=picture((10, 240, 10))).json()
        assert answer["predictions"][0]["label"] == "grün"
        inputs = client.get("/v2/models/tiny8").json()["inputs"]
    assert inputs == [{"name": "input", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]


def test_unnamed_classes_are_numbers(serve, tmp_path, picture):
    running = serve(write_tiny_onnx(tmp_path / "t.onnx", class_names=()))
    with running.client() as client:
        assert client.post("/classify", content=picture("blue")).json()["predictions"][0]["label"] == "2"
