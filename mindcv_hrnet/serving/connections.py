"""uvicorn's HTTP/1.1 connection with what it lacks against hostile clients: patience that ends, and our form of errors.

uvicorn waits for headers for ever, and says nothing to a client that closes its side in the middle of a body. Headers
that grow beyond `limits.LARGEST_HEADERS` end with 400 in h11 while they arrive, with 431 where they came at once.
"""

from __future__ import annotations

import asyncio
import json

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mindcv_hrnet.serving.settings import Settings


def connection_class(settings: Settings) -> type[H11Protocol]:
    """A class for uvicorn's `http` option."""
    patience = settings.read_timeout_s

    class Connection(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._timer = self.loop.call_later(patience, self._too_slow)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._forget_timer()
            elif self._timer is None:  # the first bytes of a further request
                self._timer = self.loop.call_later(patience, self._too_slow)

        def eof_received(self) -> None:
            cycle = self.cycle
            if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
                self._refuse(400, "the headers are cut off")
            elif cycle is not None and cycle.more_body and not cycle.response_started:
                self._refuse(400, "the body is shorter than its headers say")

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget_timer()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            """Not through the application: there is no request that it could be given."""
            self._refuse(400, msg)

        def _too_slow(self) -> None:
            self._timer = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self._refuse(408, f"the headers did not arrive within {patience:g} s")

        def _refuse(self, status: int, reason: str) -> None:
            body = json.dumps({"error": reason}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            events = (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())
            for event in events if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) else ():
                self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _forget_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    return Connection
