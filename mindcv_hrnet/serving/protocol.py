"""Open Inference Protocol v2 over HTTP, with its binary tensor and classification extensions: bytes <-> arrays.

https://github.com/kserve/open-inference-protocol, and Triton's documents "binary tensor data" and "classification".
One input, named `input`, in the type that suits the client: FP32 or UINT8 tensors, or BYTES, one encoded image each.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from mindcv_hrnet.deploy.metadata import Metadata
from mindcv_hrnet.deploy.runner import SMALLEST_SIDE
from mindcv_hrnet.serving.limits import Refused

INPUT, LOGITS, PROBABILITIES = "input", "logits", "probabilities"
OUTPUTS = (LOGITS, PROBABILITIES)
HEADER_LENGTH = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "classification")
DATATYPES = {"float32": "FP32", "uint8": "UINT8"}
_DTYPES: dict[str, np.dtype] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
LARGEST_SIDE = 4096
"""Of a tensor, for a model that takes any height and width."""

Size = Annotated[int, Field(ge=0, le=2**31)]


class _Strict(BaseModel):
    """Numbers are numbers, not words that look like some; unknown keys are passed over, as the protocol asks."""

    model_config = ConfigDict(strict=True)


class TensorParameters(_Strict):
    """`binary_data_size`: bytes of this tensor that follow the JSON."""

    binary_data_size: Size | None = None


class InputTensor(_Strict):
    """The images: [n, channels, height, width] numbers, or [n] encoded images."""

    name: Literal["input"]
    shape: Annotated[list[Size], Field(min_length=1, max_length=4)]
    datatype: Literal["FP32", "UINT8", "BYTES"]
    parameters: TensorParameters = TensorParameters()
    data: list[Any] | None = Field(
        default=None, description="flat or nested numbers; for BYTES base64 of an image file each"
    )


class OutputParameters(_Strict):
    """The form of one output."""

    binary_data: bool | None = None
    classification: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="the k best as 'value:index:label'"
    )


class RequestedOutput(_Strict):
    """[n, classes] FP32."""

    name: Literal["logits", "probabilities"]
    parameters: OutputParameters = OutputParameters()


class RequestParameters(_Strict):
    """`binary_data_output`: the form of outputs that do not say theirs."""

    binary_data_output: bool = False


class InferenceRequest(_Strict):
    """The JSON of /v2/models/NAME/infer."""

    id: Annotated[str, Field(max_length=128)] = ""
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=8)] = []
    parameters: RequestParameters = RequestParameters()


@dataclass(frozen=True)
class Received:
    """A request taken apart. `images`: (n, C, H, W) float32 or uint8, or n encoded images."""

    request: InferenceRequest
    images: np.ndarray | list[bytes]


def parse(body: bytes, header_length: str | None, metadata: Metadata, max_batch: int) -> Received:
    """Take a body apart. Refuses broken JSON and lengths with 400, all else that does not fit with 422."""
    end = len(body) if header_length is None else _length(header_length, len(body))
    request = _read_json(body[:end])
    (tensor,) = request.inputs
    rest = memoryview(body)[end:]
    size = tensor.parameters.binary_data_size
    if (size or 0) != len(rest):
        raise Refused(400, f"binary_data_size says {size or 0} bytes, but {len(rest)} follow the JSON")
    if (size is None) == (tensor.data is None):
        raise Refused(400, "inputs.0: send either data or binary_data_size")
    if not 1 <= tensor.shape[0] <= max_batch:
        raise Refused(422, f"a batch of {tensor.shape[0]} images is not accepted; send 1 to {max_batch} in a request")
    if tensor.datatype == "BYTES":
        if tensor.shape[1:] not in ([], [1]):
            raise Refused(422, f"shape {tensor.shape} of BYTES is not accepted; it must be [n], one image each")
        images = list(_split(rest) if tensor.data is None else map(_from_base64, tensor.data))
        if len(images) != tensor.shape[0]:
            raise Refused(400, f"shape {tensor.shape} promises {tensor.shape[0]} images, {len(images)} came")
        return Received(request, images)
    _check_shape(tensor, metadata)
    return Received(request, _array(tensor, rest))


def _length(text: str, longest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= longest):
        raise Refused(400, f"{HEADER_LENGTH}: {text[:20]!r} is not a length within the body's {longest} bytes")
    return int(text)


def _read_json(text: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise Refused(400, f"the request is not JSON ({first['msg']})") from None
        raise Refused(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_shape(tensor: InputTensor, metadata: Metadata) -> None:
    wanted = metadata.input_shape[1:]
    fits = len(tensor.shape) == 4 and all(
        own == there if there is not None else SMALLEST_SIDE <= own <= LARGEST_SIDE
        for own, there in zip(tensor.shape[1:], wanted, strict=True)
    )
    if not fits:
        sides = ", ".join(f"{SMALLEST_SIDE} to {LARGEST_SIDE}" if side is None else str(side) for side in wanted)
        raise Refused(422, f"shape {tensor.shape} is not accepted; it must be [n, {sides}]")
    if tensor.datatype == "FP32" and metadata.input_dtype == "uint8":
        raise Refused(422, "this model normalises by itself; send UINT8 pixels, not FP32")


def _array(tensor: InputTensor, rest: memoryview) -> np.ndarray:
    dtype, count = _DTYPES[tensor.datatype], int(np.prod(tensor.shape, dtype=np.int64))
    if tensor.data is None:
        if len(rest) != count * dtype.itemsize:
            raise Refused(400, f"shape {tensor.shape} needs {count * dtype.itemsize} bytes, {len(rest)} came")
        values = np.frombuffer(rest, dtype)
    else:
        values = _numbers(tensor, dtype, count)
    if dtype.kind == "f" and not np.isfinite(values).all():
        raise Refused(422, "the tensor holds values that are not finite float32 numbers")
    return values.reshape(tensor.shape)


def _numbers(tensor: InputTensor, dtype: np.dtype, count: int) -> np.ndarray:
    try:
        values = np.asarray(tensor.data)
    except ValueError:  # lists of different lengths
        values = np.empty(0, object)
    flat: Iterable[Any] = tensor.data or ()
    for _ in range(values.ndim - 1):
        flat = chain.from_iterable(flat)
    # NumPy would take True for 1
    if values.dtype.kind not in "iuf" or not set(map(type, flat)) <= ({int} if dtype.kind == "u" else {int, float}):
        raise Refused(422, f"data of {tensor.datatype} must be {'integers' if dtype.kind == 'u' else 'numbers'} only")
    if values.size != count:
        raise Refused(422, f"shape {tensor.shape} needs {count} values, {values.size} came")
    if dtype.kind == "u" and (values.min() < 0 or values.max() > 255):
        raise Refused(422, "data of UINT8 must be from 0 to 255")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return values.astype(dtype)


def _split(data: memoryview) -> Iterator[bytes]:
    """Elements of a BYTES tensor: a little-endian uint32 length and so many bytes each."""
    position = 0
    while position < len(data):
        start = position + 4
        (length,) = struct.unpack_from("<I", data, position) if start <= len(data) else (len(data),)
        position = start + length
        if position > len(data):
            raise Refused(400, "a BYTES element is longer than the data that came")
        yield bytes(data[start:position])


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Refused(422, "in JSON each BYTES element must be base64 of an image file") from None


@dataclass(frozen=True)
class Answer:
    """Body and headers of an inference response."""

    body: bytes
    headers: dict[str, str]


def compose(
    request: InferenceRequest, name: str, version: str, logits: np.ndarray, class_names: Sequence[str]
) -> Answer:
    """The response to `request`; both outputs where it names none. `logits`: (n, K) float32."""
    values = {LOGITS: logits, PROBABILITIES: softmax(logits)}
    outputs: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for wanted in request.outputs or [RequestedOutput(name="logits"), RequestedOutput(name="probabilities")]:
        array = values[wanted.name]
        output: dict[str, Any] = {"name": wanted.name, "datatype": "FP32", "shape": list(array.shape)}
        texts: list[bytes] = []
        if wanted.parameters.classification:
            texts = _best(array, wanted.parameters.classification, class_names)
            output |= {"datatype": "BYTES", "shape": [len(array), len(texts) // len(array)]}
        as_binary = wanted.parameters.binary_data
        if request.parameters.binary_data_output if as_binary is None else as_binary:
            raw = b"".join(struct.pack("<I", len(text)) + text for text in texts) or array.astype("<f4").tobytes()
            output["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            output["data"] = [text.decode() for text in texts] or array.ravel().tolist()
        outputs.append(output)
    content = {"model_name": name, "model_version": version, "outputs": outputs}
    if request.id:
        content["id"] = request.id
    text = to_json(content)
    if not binary:
        return Answer(text, {"content-type": "application/json"})
    headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}
    return Answer(b"".join([text, *binary]), headers)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, K) float32, each row summing to 1."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _best(array: np.ndarray, count: int, class_names: Sequence[str]) -> list[bytes]:
    """`value:index:label` of the best of each row, row after row; without the label where nobody named the classes."""
    order = np.argsort(-array, axis=1, kind="stable")[:, :count]
    return [
        ":".join([f"{row[index]:f}", str(index), *class_names[index : index + 1]]).encode()
        for row, best in zip(array, order, strict=True)
        for index in map(int, best)
    ]


def model_metadata(name: str, version: str, platform: str, metadata: Metadata, classes: int) -> dict[str, Any]:
    """What /v2/models/NAME tells; the input's type is the file's own, the others are accepted as well."""
    shape = [-1 if side is None else side for side in (None, *metadata.input_shape[1:])]
    outputs = [{"name": output, "datatype": "FP32", "shape": [-1, classes]} for output in OUTPUTS]
    datatype = DATATYPES[metadata.input_dtype]
    return {
        "name": name,
        "versions": [version],
        "platform": platform,
        "inputs": [{"name": INPUT, "datatype": datatype, "shape": shape}],
        "outputs": outputs,
        # beyond the protocol, for people: how to make the tensor
        "preprocessing": json.loads(metadata.to_json()),
    }
