"""Open Inference Protocol v2: health, metadata, inference."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from mindcv_hrnet import __version__
from mindcv_hrnet.serving import protocol
from mindcv_hrnet.serving.answers import REFUSALS
from mindcv_hrnet.serving.limits import Refused
from mindcv_hrnet.serving.servable import Servable
from mindcv_hrnet.serving.service import Service

PLATFORMS = {"ONNX": "onnx_onnxv1", "MINDIR": "mindspore_mindir"}

_REQUEST_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/InferenceRequest"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}


def v2_router(service: Service) -> APIRouter:
    """Routes under /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"], responses=REFUSALS)
    name = service.settings.served_name

    def model_of(given: str, version: str | None = None) -> Servable:
        servable = service.servable
        if given != name:
            raise Refused(404, f"no model {given[:80]!r} here; this server has {name!r}")
        if version not in (None, servable.version):
            raise Refused(404, f"no version {version[:80]!r} of {name!r} here; it is {servable.version!r} now")
        return servable

    @router.get("", summary="The server")
    async def server() -> dict[str, Any]:
        return {"name": "mindcv-hrnet", "version": __version__, "extensions": list(protocol.EXTENSIONS)}

    @router.get("/health/live", summary="Whether the process works")
    async def live() -> dict[str, bool]:
        if not service.healthy:
            raise Refused(503, "a batch has been at work for far too long")
        return {"live": True}

    @router.get("/health/ready", summary="Whether the model answers")
    async def ready() -> dict[str, bool]:
        return await live()

    @router.get("/models/{model}", summary="Inputs, outputs, preprocessing")
    @router.get("/models/{model}/versions/{version}", include_in_schema=False)
    async def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        servable = model_of(model, version)
        platform = PLATFORMS[servable.model.format]
        return protocol.model_metadata(
            name, servable.version, platform, servable.model.metadata, classes=servable.classes
        )

    @router.get("/models/{model}/ready", summary="Whether this model answers")
    @router.get("/models/{model}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(model: str, version: str | None = None) -> dict[str, Any]:
        model_of(model, version)
        await live()
        return {"name": name, "ready": True}

    @router.post(
        "/models/{model}/infer",
        summary="Tensors or encoded images -> logits, probabilities",
        response_class=JSONResponse,
        openapi_extra={"requestBody": _REQUEST_BODY},
    )
    @router.post("/models/{model}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        servable = model_of(model, version)
        header_length = request.headers.get(protocol.HEADER_LENGTH)
        max_batch = service.settings.max_batch
        received = protocol.parse(await request.body(), header_length, servable.model.metadata, max_batch)
        result = await service(servable, received.images)
        request.state.fields.update(
            images=len(result.logits), prepare_ms=round(result.prepare_ms, 1), compute_ms=round(result.compute_ms, 1)
        )
        answer = protocol.compose(
            received.request, name, servable.version, result.logits, servable.model.metadata.class_names
        )
        return Response(answer.body, headers=answer.headers)

    return router
