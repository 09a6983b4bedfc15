"""What Prometheus may ask: requests, waiting, batches, the model. In several processes the numbers are added up.

`prometheus_client` decides at its import whether it shares numbers between processes, by PROMETHEUS_MULTIPROC_DIR.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from mindcv_hrnet.serving.settings import METRICS_VARIABLE

PREFIX = "mindcv_hrnet"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter(f"{PREFIX}_requests", "Requests answered, by route and status.", ["route", "status"])
REQUEST_SECONDS = Histogram(
    f"{PREFIX}_request_seconds", "From the first byte to the answer.", ["route"], buckets=SECONDS
)
IN_HAND = Gauge(f"{PREFIX}_images_in_hand", "Images waiting or being computed.", multiprocess_mode="livesum")
BATCH_IMAGES = Histogram(f"{PREFIX}_batch_images", "Images computed together.", buckets=(1, 2, 4, 8, 16, 32, 64, 128))
WAIT_SECONDS = Histogram(f"{PREFIX}_wait_seconds", "Of a batch's oldest image, for the executor.", buckets=SECONDS)
COMPUTE_SECONDS = Histogram(f"{PREFIX}_compute_seconds", "Of one batch.", buckets=SECONDS)
MODEL = Gauge(
    f"{PREFIX}_model_workers",
    "Workers that serve this version.",
    ["name", "version", "format"],
    multiprocess_mode="livesum",
)
REPLACEMENTS = Counter(f"{PREFIX}_model_replacements", "Attempts to take a new model file.", ["outcome"])


def observe_batch(images: int, waited_s: float, computed_s: float) -> None:
    """Count a batch that was computed."""
    BATCH_IMAGES.observe(images)
    WAIT_SECONDS.observe(waited_s)
    COMPUTE_SECONDS.observe(computed_s)


def render() -> tuple[bytes, str]:
    """(page, content type) of /metrics."""
    registry = REGISTRY
    if METRICS_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST
