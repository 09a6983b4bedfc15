"""Open Inference Protocol: the bytes of a request to arrays and back, and what is refused, with its reason."""

import base64
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from tiny_onnx import METADATA

from mindcv_hrnet.serving import protocol
from mindcv_hrnet.serving.limits import Refused


def request(changes=(), binary=b"", **whole):
    """(body, header length) of one image of zeros."""
    tensor = {"name": "input", "shape": [1, 3, 32, 32], "datatype": "UINT8", "data": [0] * 3072, **dict(changes)}
    text = json.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not ...}], **whole}).encode()
    return text + binary, str(len(text)) if binary else None


def parse(body, header_length=None, metadata=METADATA):
    return protocol.parse(body, header_length, metadata, max_batch=4)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", np.float32), ("UINT8", np.uint8)])
def test_numbers_in_json(nested, datatype, dtype):
    values = np.arange(2 * 3072).reshape(2, 3, 32, 32) % 251
    data = values.tolist() if nested else values.ravel().tolist()
    received = parse(*request({"shape": [2, 3, 32, 32], "datatype": datatype, "data": data}))
    assert received.images.dtype == dtype and np.array_equal(received.images, values)


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("UINT8", "u1")])
def test_binary_tensor(datatype, dtype):
    values = (np.arange(3072).reshape(1, 3, 32, 32) % 251).astype(dtype)
    parameters = {"binary_data_size": values.nbytes}
    body = request({"datatype": datatype, "data": ..., "parameters": parameters}, values.tobytes())
    assert np.array_equal(parse(*body).images, values)


def test_encoded_images_binary_and_base64():
    images = [b"first", b"", b"third\0"]
    raw = b"".join(struct.pack("<I", len(image)) + image for image in images)
    tensor = {"shape": [3, 1], "datatype": "BYTES", "data": ..., "parameters": {"binary_data_size": len(raw)}}
    assert parse(*request(tensor, raw)).images == images
    tensor = {"shape": [3], "datatype": "BYTES", "data": [base64.b64encode(image).decode() for image in images]}
    assert parse(*request(tensor)).images == images


def test_any_size_where_the_model_takes_it():
    metadata = replace(METADATA, dynamic_size=True)
    body = request({"shape": [1, 3, 40, 64], "data": [0] * 3 * 40 * 64})
    assert parse(*body, metadata).images.shape == (1, 3, 40, 64)
    with pytest.raises(Refused) as refused:
        parse(*request({"shape": [1, 3, 31, 64]}), metadata)
    assert refused.value.reason == ("shape [1, 3, 31, 64] is not accepted; it must be [n, 3, 32 to 4096, 32 to 4096]")


BINARY = {"data": ..., "parameters": {"binary_data_size": 5}}


@pytest.mark.parametrize(
    ("changes", "binary", "status", "reason"),
    [
        ({"name": "images"}, b"", 422, "inputs.0.name: Input should be 'input'"),
        ({"datatype": "FP64"}, b"", 422, "inputs.0.datatype: Input should be 'FP32', 'UINT8' or 'BYTES'"),
        ({"shape": [1, 3, 32, 33]}, b"", 422, "shape [1, 3, 32, 33] is not accepted; it must be [n, 3, 32, 32]"),
        ({"shape": [1, 3, 32]}, b"", 422, "shape [1, 3, 32] is not accepted"),
        ({"shape": ["1", 3, 32, 32]}, b"", 422, "inputs.0.shape.0: Input should be a valid integer"),
        ({"shape": [2**62, 3, 32, 32]}, b"", 422, "inputs.0.shape.0: Input should be less than or equal to"),
        ({"shape": [5, 3, 32, 32]}, b"", 422, "a batch of 5 images is not accepted; send 1 to 4 in a request"),
        ({"shape": [0, 3, 32, 32]}, b"", 422, "a batch of 0 images is not accepted"),
        ({"data": [0] * 3071}, b"", 422, "shape [1, 3, 32, 32] needs 3072 values, 3071 came"),
        ({"data": [0] * 3071 + [256]}, b"", 422, "data of UINT8 must be from 0 to 255"),
        ({"data": [0] * 3071 + [0.5]}, b"", 422, "data of UINT8 must be integers only"),
        ({"data": [0] * 3071 + [True]}, b"", 422, "data of UINT8 must be integers only"),
        ({"data": [0] * 3071 + ["1"], "datatype": "FP32"}, b"", 422, "data of FP32 must be numbers only"),
        ({"data": [0] * 3071 + [None], "datatype": "FP32"}, b"", 422, "data of FP32 must be numbers only"),
        ({"data": [[0], [0, 0]]}, b"", 422, "data of UINT8 must be integers only"),
        ({"data": [0] * 3071 + [1e300], "datatype": "FP32"}, b"", 422, "values that are not finite float32 numbers"),
        ({"data": ...}, b"", 400, "inputs.0: send either data or binary_data_size"),
        ({"parameters": {"binary_data_size": 5}}, b"12345", 400, "send either data or binary_data_size"),
        (BINARY, b"1234", 400, "binary_data_size says 5 bytes, but 4 follow the JSON"),
        (BINARY, b"12345", 400, "shape [1, 3, 32, 32] needs 3072 bytes, 5 came"),
        ({}, b"12345", 400, "binary_data_size says 0 bytes, but 5 follow the JSON"),
        ({"datatype": "BYTES", "shape": [1], "data": ["%"]}, b"", 422, "must be base64 of an image file"),
        ({"datatype": "BYTES", "shape": [1], "data": [5]}, b"", 422, "must be base64 of an image file"),
        ({"datatype": "BYTES", "shape": [1, 2], "data": ["", ""]}, b"", 422, "it must be [n], one image each"),
        ({"datatype": "BYTES", "shape": [2], "data": [""]}, b"", 400, "shape [2] promises 2 images, 1 came"),
        ({"datatype": "BYTES", "shape": [1], **BINARY}, b"\2\0\0\0a", 400, "longer than the data that came"),
        ({"datatype": "BYTES", "shape": [1], **BINARY}, b"\1\0\0\0a", 0, ""),
    ],
)
def test_what_does_not_fit_is_refused(changes, binary, status, reason):
    if not status:
        assert parse(*request(changes, binary)).images == [b"a"]
        return
    with pytest.raises(Refused) as refused:
        parse(*request(changes, binary))
    assert refused.value.status == status and reason in refused.value.reason
    assert "\n" not in refused.value.reason


@pytest.mark.parametrize(
    ("body", "header_length", "status", "reason"),
    [
        (b"{", None, 400, "the request is not JSON (Invalid JSON: EOF"),
        (b"[" * 100_000, None, 400, "the request is not JSON (Invalid JSON: recursion limit exceeded"),
        (b'{"inputs": "\xff"}', None, 400, "the request is not JSON"),
        (b"null", None, 422, "Input should be an object"),
        (b'{"inputs": []}', None, 422, "inputs: List should have at least 1 item"),
        (b"{}", "-1", 400, "inference-header-content-length: '-1' is not a length within the body's 2 bytes"),
        (b"{}", "3", 400, "'3' is not a length within the body's 2 bytes"),
        (b"{}", "9" * 5000, 400, "'99999999999999999999' is not a length"),
    ],
)
def test_broken_bodies_are_refused(body, header_length, status, reason):
    with pytest.raises(Refused) as refused:
        parse(body, header_length)
    assert refused.value.status == status and reason in refused.value.reason


def test_a_model_that_normalises_takes_no_float():
    with pytest.raises(Refused) as refused:
        parse(*request({"datatype": "FP32"}), replace(METADATA, input_dtype="uint8"))
    assert refused.value.reason == "this model normalises by itself; send UINT8 pixels, not FP32"


LOGITS = np.float32([[0, 1, 2], [3, 1, 0]])


def compose(outputs=(), **whole):
    parsed = parse(*request(outputs=list(outputs), **whole)).request
    return protocol.compose(parsed, "m", "v", LOGITS, ("red", "grün", "blue"))


def test_both_outputs_where_none_is_named():
    answer = compose(id="seven")
    assert answer.headers == {"content-type": "application/json"}
    content = json.loads(answer.body)
    assert {key: content[key] for key in ("id", "model_name", "model_version")} == {
        "id": "seven",
        "model_name": "m",
        "model_version": "v",
    }
    logits, probabilities = content["outputs"]
    assert logits == {"name": "logits", "datatype": "FP32", "shape": [2, 3], "data": [0, 1, 2, 3, 1, 0]}
    assert (probabilities["name"], probabilities["shape"]) == ("probabilities", [2, 3])
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    np.testing.assert_allclose(np.reshape(probabilities["data"], (2, 3)), expected, rtol=1e-5)


def test_binary_answer():
    answer = compose([{"name": "logits", "parameters": {"binary_data": True}}, {"name": "probabilities"}])
    length = int(answer.headers["inference-header-content-length"])
    content = json.loads(answer.body[:length])
    assert content["outputs"][0]["parameters"] == {"binary_data_size": 24} and "data" in content["outputs"][1]
    assert np.array_equal(np.frombuffer(answer.body[length:], "<f4").reshape(2, 3), LOGITS)
    # as a default for every output, which one may refuse
    outputs = [{"name": "logits"}, {"name": "probabilities", "parameters": {"binary_data": False}}]
    again = compose(outputs, parameters={"binary_data_output": True})
    assert again.body.endswith(LOGITS.tobytes()) and b'"data":[' in again.body


def test_classification_extension():
    wanted = {"name": "logits", "parameters": {"classification": 2}}
    (output,) = json.loads(compose([wanted]).body)["outputs"]
    assert output == {
        "name": "logits",
        "datatype": "BYTES",
        "shape": [2, 2],
        "data": ["2.000000:2:blue", "1.000000:1:grün", "3.000000:0:red", "1.000000:1:grün"],
    }
    wanted["parameters"] |= {"binary_data": True, "classification": 99}
    assert b'"shape":[2,3]' in compose([wanted]).body
    assert b"\x10\0\0\0" + "1.000000:1:grün".encode() in compose([wanted]).body


def test_softmax_of_large_logits():
    np.testing.assert_allclose(protocol.softmax(np.float32([[1000, 1000]])), [[0.5, 0.5]])
