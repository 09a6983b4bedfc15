"""One process that serves: a model, an event loop, a listening socket that it shares with the other workers."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection

import uvicorn

from mindcv_hrnet.errors import UserError
from mindcv_hrnet.serving import logs
from mindcv_hrnet.serving.app import build_app
from mindcv_hrnet.serving.connections import connection_class
from mindcv_hrnet.serving.limits import LARGEST_HEADERS
from mindcv_hrnet.serving.service import Service
from mindcv_hrnet.serving.settings import KEY_VARIABLE, Settings

logger = logging.getLogger(logs.LOGGER)


def run_worker(settings: Settings, listening: socket.socket, ready: Connection) -> None:
    """Entry of a worker process. `ready` gets "" when it serves, or what the user must mend."""
    logs.set_up()
    # Ctrl-C reaches the whole group; the supervisor alone tells workers to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_with_parent()
    try:
        service = Service.load(settings)
    except UserError as error:
        ready.send((error.exit_code, str(error)))
        sys.exit(error.exit_code)
    asyncio.run(_serve(settings, service, listening, ready))


async def _serve(settings: Settings, service: Service, listening: socket.socket, ready: Connection) -> None:
    server = build_server(settings, service, os.environ.get(KEY_VARIABLE, ""))
    # uvicorn raises the signal that ended it once more when all is done
    signal.signal(signal.SIGTERM, lambda *_: None)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.replace_soon)
    ready.send((0, ""))
    logger.info(
        "worker serves",
        extra={"fields": {"model": settings.served_name, "version": service.servable.version}},
    )
    await server.serve(sockets=[listening])
    logger.info("worker ends")


def build_server(settings: Settings, service: Service, key: str) -> uvicorn.Server:
    """uvicorn over the application, with the limits of a connection."""
    return uvicorn.Server(
        uvicorn.Config(
            build_app(service, key),
            http=connection_class(settings),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=LARGEST_HEADERS,
            timeout_graceful_shutdown=max(1, round(settings.timeout_s)),
        )
    )


def _leave_with_parent() -> None:
    """End in order when the supervisor is gone, however it went: nobody would restart or stop this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()
