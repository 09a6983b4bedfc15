"""The application: what a server answers, whoever runs it (uvicorn's workers, Ray Serve)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from mindcv_hrnet import __version__
from mindcv_hrnet.serving import metrics
from mindcv_hrnet.serving.answers import refusal
from mindcv_hrnet.serving.gate import Gate
from mindcv_hrnet.serving.limits import Refused
from mindcv_hrnet.serving.page import page_router
from mindcv_hrnet.serving.protocol import InferenceRequest
from mindcv_hrnet.serving.routes_classify import classify_router
from mindcv_hrnet.serving.routes_v2 import v2_router
from mindcv_hrnet.serving.service import Service
from mindcv_hrnet.serving.settings import KEY_VARIABLE

SCHEMAS = "#/components/schemas/{model}"


def build_app(service: Service, key: str) -> FastAPI:
    """The FastAPI application over `service`, which starts and ends with it. `key`: what clients must send; "" none."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.close()

    app = FastAPIOffline(
        redoc_url=None,
        title=f"mindcv-hrnet: {service.settings.served_name}",
        version=__version__,
        description=f"Image classification. Where the server has a key ({KEY_VARIABLE}), every route but the health "
        "checks needs the header `Authorization: Bearer KEY`.",
        lifespan=lifespan,
    )
    app.add_middleware(Gate, settings=service.settings, key=key)
    for router in (v2_router(service), classify_router(service), page_router()):
        app.include_router(router)

    @app.get("/metrics", tags=["operation"], summary="Counters for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        content, kind = metrics.render()
        return Response(content, media_type=kind)

    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    _describe_requests(app)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    request.state.fields["reason"] = error.reason
    return refusal(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path, wrong method, a broken form: FastAPI's reasons in the form of ours."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        error.detail = f"no such path: {request.url.path[:80]}; /docs lists them"
    return await _refused(request, Refused(error.status_code, str(error.detail), dict(error.headers or {})))


async def _invalid(request: Request, error: Exception) -> Response:
    """A query parameter of a wrong type or size."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return await _refused(request, Refused(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}"))


def _describe_requests(app: FastAPI) -> None:
    """Add the body of inference requests, which FastAPI does not parse, to the schemas of the OpenAPI page."""
    schema = InferenceRequest.model_json_schema(ref_template=SCHEMAS)
    inner = schema.pop("$defs")
    own = app.openapi

    def openapi() -> dict[str, Any]:
        content = own()
        content["components"]["schemas"].update({**inner, InferenceRequest.__name__: schema})
        return content

    app.openapi = openapi  # type: ignore[method-assign]
