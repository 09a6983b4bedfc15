"""What every request passes: its id, the key, the limits on body and time, one log line, the counters."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextlib import suppress
from typing import Any

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mindcv_hrnet.serving import logs, metrics
from mindcv_hrnet.serving.answers import refusal
from mindcv_hrnet.serving.limits import Places, Refused, check_headers, check_key, declared_length, too_long
from mindcv_hrnet.serving.settings import Settings

logger = logging.getLogger(logs.LOGGER)

REQUEST_ID = "x-request-id"
_GOOD_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
# Nothing here tells of the model or makes it work
OPEN_PATHS = ("/", "/page.css", "/page.js", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready")
OPEN_FOLDER = "/static-offline-docs/"
BODIES_AT_ONCE = 16
"""Times the largest body: what may lie in memory of requests that are still arriving or being worked on."""
DISCARDED = 4
"""Times the largest body: how much of one that is too long is read, so that its client hears why."""
CLIENT_LEFT = 499
"""Logged as nginx does; nobody is there to get it."""


class ClientLeft(Exception):
    """The connection ended before the request did."""


class _Body:
    """A request's body, in the pieces in which it arrives, until it has `ended`."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.ended = receive, False

    async def piece(self) -> bytes:
        """The next one. Raises ClientLeft."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        self.ended = not message.get("more_body")
        piece: bytes = message.get("body", b"")
        return piece


class Gate:
    """ASGI middleware around the application."""

    def __init__(self, app: ASGIApp, settings: Settings, key: str) -> None:
        self.app, self.settings, self.key = app, settings, key
        self.bytes = Places(BODIES_AT_ONCE * settings.max_body, "bytes of requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens on the way."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, headers = time.perf_counter(), Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        request_id = given if _GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        fields: dict[str, Any] = {}
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "fields": fields}
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(REQUEST_ID.encode(), request_id.encode()), (b"x-content-type-options", b"nosniff")]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        response: Response | None = None
        try:
            await self._answer(scope, headers, receive, send_noted)
        except ClientLeft:
            status = CLIENT_LEFT
        except Refused as error:
            fields["reason"] = error.reason
            response = refusal(error)
        except Exception:
            logger.exception("request failed", extra={"fields": {"request_id": request_id}})
            response = refusal(Refused(500, "the server failed here; its log tells why, under the request id"))
        if response and not status:
            await response(scope, receive, send_noted)
        self._note(scope, request_id, status, time.perf_counter() - began, fields)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Read the body, then let the application answer. Raises Refused."""
        if scope["http_version"] not in ("1.0", "1.1"):
            raise Refused(400, "this server speaks HTTP/1.1 and 1.0")
        check_headers(scope["headers"])
        path = scope["path"]
        if path not in OPEN_PATHS and not path.startswith(OPEN_FOLDER):
            check_key(self.key, headers)
        body = _Body(receive)
        try:
            length = declared_length(headers, self.settings.max_body)
            # One in chunks may become as long as any
            with self.bytes.take(self.settings.max_body if length is None and _has_body(headers) else length or 0):
                whole = await self._read(body)
                with anyio.move_on_after(self.settings.timeout_s) as working:
                    await self.app(scope, _replay(whole, receive), send)
        except Refused as error:
            if error.status == 413:
                await self._discard(headers, body)
            raise
        if working.cancelled_caught:
            raise Refused(504, f"no answer within {self.settings.timeout_s:g} s; try again later")

    async def _read(self, body: _Body) -> bytes:
        parts, total, patience = [], 0, self.settings.read_timeout_s
        with anyio.move_on_after(patience):
            while not body.ended:
                parts.append(await body.piece())
                total += len(parts[-1])
                if total > self.settings.max_body:
                    raise too_long(self.settings.max_body)
            return b"".join(parts)
        raise Refused(408, f"the request did not arrive within {patience:g} s; send it faster, or see --read-timeout-s")

    async def _discard(self, headers: Headers, body: _Body) -> None:
        """Read on, within reason: most clients listen only after they have sent all. With Expect they ask first."""
        if "expect" in headers:
            return
        rest = DISCARDED * self.settings.max_body
        with anyio.move_on_after(self.settings.read_timeout_s), suppress(ClientLeft):
            while rest > 0 and not body.ended:
                rest -= len(await body.piece())

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float, fields: dict[str, Any]) -> None:
        route = getattr(scope.get("route"), "path", "other")
        metrics.REQUESTS.labels(route, str(status)).inc()
        metrics.REQUEST_SECONDS.labels(route).observe(seconds)
        client = scope.get("client")
        content = {
            "request_id": request_id,
            "client": client[0] if client else "",
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(1e3 * seconds, 1),
            **fields,
        }
        logger.info("request", extra={"fields": content})


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the whole body once, then waits for the client to leave."""
    handed_out = False

    async def once() -> Message:
        nonlocal handed_out
        if handed_out:
            return await receive()
        handed_out = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
