"""What a server is told when it starts, in one place for the command line, the workers and Ray."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mindcv_hrnet.errors import ConfigError

KEY_VARIABLE = "MINDCV_HRNET_API_KEY"
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where workers share their counters; prometheus_client reads it when it is imported."""


def _option(default: Any, text: str) -> Any:
    """A field with its line in --help."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """Defaults suit a CPU; docs/deployment.md says how to choose. Sent to the worker processes, so it must pickle."""

    model: str
    name: str = _option("", "in the addresses, /v2/models/NAME (default: the file's name without its suffix)")
    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for every network of this machine")
    port: int = _option(8080, "0 takes a free one")
    workers: int = _option(1, "processes, each with the model")
    threads: int = _option(0, "cores that one worker computes with; 0: all of them, divided among the workers")
    executors: int = _option(1, "batches that a worker computes at the same time, on an equal share of its cores; ONNX")
    max_batch: int = _option(16, "images that are computed together, and that one request may hold")
    max_wait_ms: float = _option(2.0, "how long an idle executor waits for company")
    queue: int = _option(128, "images in hand of one worker; further ones are refused with 429")
    timeout_s: float = _option(30.0, "from a request's last byte to its answer, else 504; also the time after SIGTERM")
    read_timeout_s: float = _option(10.0, "for a request to arrive, headers and body, else 408")
    max_body_mb: float = _option(16.0, "longest body, else 413")
    max_pixels: int = _option(50_000_000, "of one encoded image, known before it is decoded, else 422")
    watch_s: float = _option(1.0, "how often to look for a new model file; 0: on SIGHUP alone")

    def __post_init__(self) -> None:
        lowest = {
            "port": 0,
            "workers": 1,
            "threads": 0,
            "executors": 1,
            "max_batch": 1,
            "max_wait_ms": 0,
            "queue": 1,
            "watch_s": 0,
        }
        for key, low in lowest.items():
            if getattr(self, key) < low:
                raise ConfigError(f"{option_name(key)}: {getattr(self, key)} is not accepted; must be >= {low}")
        for key in ("timeout_s", "read_timeout_s", "max_body_mb", "max_pixels"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"{option_name(key)}: {getattr(self, key)} is not accepted; must be > 0")
        if self.port > 65535:
            raise ConfigError(f"--port: {self.port} is not accepted; must be <= 65535")
        if self.queue < self.max_batch:
            raise ConfigError(f"--queue: {self.queue} is less than --max-batch {self.max_batch}; one batch must fit")

    @property
    def served_name(self) -> str:
        """The model's name in addresses."""
        return self.name or Path(self.model).stem

    @property
    def max_body(self) -> int:
        """Bytes."""
        return int(self.max_body_mb * 2**20)

    @property
    def threads_per_worker(self) -> int:
        """Cores that one worker computes with."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // self.workers)

    @property
    def threads_per_batch(self) -> int:
        """Cores that one batch is computed with."""
        return max(1, self.threads_per_worker // self.executors)


def option_name(key: str) -> str:
    """As on the command line."""
    return f"--{key.replace('_', '-')}"
