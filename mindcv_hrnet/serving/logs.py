"""One line of JSON for each event, on standard output."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

LOGGER = "mindcv_hrnet.serving"


class JsonLines(logging.Formatter):
    """A record as one JSON object; what `extra={"fields": {...}}` names stands beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        content: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "pid": record.process,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


def set_up() -> None:
    """Our events and uvicorn's warnings as JSON lines; its access log is left out, ours says more."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    for name, level in ((LOGGER, logging.INFO), ("uvicorn.error", logging.WARNING), ("mindcv_hrnet", logging.INFO)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [] if name == LOGGER else [handler]
        logger.setLevel(level)
        logger.propagate = name == LOGGER  # to mindcv_hrnet
