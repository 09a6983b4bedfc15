"""POST /classify: an image file in, labels out, for people and scripts."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from mindcv_hrnet.serving.answers import REFUSALS
from mindcv_hrnet.serving.limits import Refused
from mindcv_hrnet.serving.protocol import softmax
from mindcv_hrnet.serving.service import Service


class Guess(BaseModel):
    """A class and how likely it is, from 0 to 1."""

    label: str
    index: int
    probability: float


class Milliseconds(BaseModel):
    """`compute`: with waiting for the executor."""

    prepare: float
    compute: float


class Classification(BaseModel):
    """The likeliest classes, best first."""

    name: str
    version: str
    predictions: list[Guess]
    milliseconds: Milliseconds


_FILE = {"type": "string", "format": "binary"}
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _FILE}, "required": ["image"]}},
        "image/*": {"schema": _FILE},
    },
}


def classify_router(service: Service) -> APIRouter:
    """The route /classify."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/classify",
        summary="An image file -> labels",
        responses=REFUSALS,
        openapi_extra={"requestBody": _REQUEST_BODY},
    )
    async def classify(request: Request, top: Annotated[int, Query(ge=1, le=1000)] = 5) -> Classification:
        servable = service.servable
        result = await service(servable, [await _image_of(request)])
        (probabilities,) = softmax(result.logits)
        best = np.argsort(-probabilities, kind="stable")[:top]
        milliseconds = Milliseconds(prepare=round(result.prepare_ms, 1), compute=round(result.compute_ms, 1))
        request.state.fields.update(
            images=1, prepare_ms=milliseconds.prepare, compute_ms=milliseconds.compute, label=servable.label(best[0])
        )
        return Classification(
            name=service.settings.served_name,
            version=servable.version,
            predictions=[
                Guess(label=servable.label(k), index=int(k), probability=float(probabilities[k])) for k in best
            ],
            milliseconds=milliseconds,
        )

    return router


async def _image_of(request: Request) -> bytes:
    """The one file of a form, or the body itself."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        data = await request.body()
    else:
        async with request.form(max_files=1, max_fields=8) as form:
            files = [value for value in form.values() if isinstance(value, UploadFile)]
            if len(files) != 1:
                raise Refused(422, "the form holds no file; send one, for example curl -F image=@cat.jpg")
            data = await files[0].read()
    if not data:
        raise Refused(422, "the body is empty; send an image file, for example curl --data-binary @cat.jpg")
    return data
