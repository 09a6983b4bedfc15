"""Responses that several routes share."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from mindcv_hrnet.serving.limits import Refused


class Reason(BaseModel):
    """What stands in every refusal, in one line."""

    error: str


def refusal(error: Refused) -> JSONResponse:
    """The protocol's form of an error. After 408 and 413 the connection's next bytes belong to no request."""
    headers = {**error.headers, **({"connection": "close"} if error.status in (408, 413) else {})}
    return JSONResponse({"error": error.reason}, error.status, headers)


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Reason, "description": description}
    for status, description in {
        400: "broken JSON, broken lengths",
        401: "the key is missing or wrong",
        408: "the request arrived too slowly",
        413: "the body is too long",
        415: "the body is compressed",
        422: "a value that does not fit, an image that cannot be used",
        429: "too much is waiting already",
        503: "not ready",
        504: "no answer in time",
    }.items()
}
"""For the OpenAPI page."""
