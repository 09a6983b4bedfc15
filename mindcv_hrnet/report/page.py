"""The page: templates filled with what the chapters say. Everything it needs is inside it."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mindcv_hrnet import __version__
from mindcv_hrnet.deploy.labels import IMAGENET_CLASSES
from mindcv_hrnet.models import VARIANTS, describe
from mindcv_hrnet.recipe.config import Config
from mindcv_hrnet.report.chapters import (
    NONE,
    answers_of,
    data_of,
    evaluated,
    figure,
    labels_of,
    results_of,
    speed_of,
    speed_rows,
    tiles_of,
)
from mindcv_hrnet.report.differences import KeyRow, differing
from mindcv_hrnet.report.figures import empty, figures_of, figures_of_all, step_figures, unchanged
from mindcv_hrnet.report.findings import Findings
from mindcv_hrnet.report.run_files import RunRecord

TEMPLATE = Path(__file__).parent / "template"


def write_page(
    runs: Sequence[RunRecord], findings: Sequence[Findings], references: Sequence[tuple[str, Config] | None]
) -> str:
    """The whole HTML file. `references`: for each run the shipped recipe that it is compared with."""
    chapters = [
        _chapter(place, *parts) for place, parts in enumerate(zip(runs, findings, references, strict=True), start=1)
    ]
    script = (TEMPLATE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    first = runs[0]
    text = (
        _environment()
        .get_template("page.html")
        .render(
            title=f"Report: {first.name}" if len(runs) == 1 else f"Report: {len(runs)} runs of {first.manifest.model}",
            chapters=chapters,
            comparison=_comparison(runs, findings) if len(runs) > 1 else None,
            version=__version__,
            written=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            style=Markup((TEMPLATE / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            # The browser holds the page to what it says: nothing comes from elsewhere, no other script runs
            policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        )
    )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # file names need not be UTF-8


@lru_cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = lambda value, column="": figure(column, value)
    return environment


def _chapter(place: int, run: RunRecord, findings: Findings, reference: tuple[str, Config] | None) -> dict[str, Any]:
    names, config = labels_of(run), run.config
    done, planned = int(run.epochs["epoch"][-1]), config.train.epoch_size
    return {
        "id": f"run{place}",
        "run": run,
        "model": run.manifest.model,
        "parameters": f"{_parameters(run.manifest.model, len(names)) / 1e6:.2f} M",
        "classes": len(names),
        "published": _published(run.manifest.model) if len(names) == IMAGENET_CLASSES else "",
        "unfinished": f"The run has done {done} of {planned} epochs." if done < planned else "",
        "tiles": tiles_of(run, findings),
        "results": results_of(run, findings),
        "figures": figures_of(run),
        "step_figures": step_figures([run]),
        "level": ", ".join(unchanged(run.steps)),
        "empty": ", ".join(dict.fromkeys([*empty(run.epochs), *empty(run.steps)])),
        "findings": findings,
        "answers": answers_of(run, findings),
        "data": data_of(findings, names),
        "speed": speed_rows(run),
        "state": run.manifest.states[-1] if run.manifest.states else None,
        "recipe": _recipe(config, reference),
        "text": config.to_yaml(),
    }


def _parameters(model: str, classes: int) -> int:
    """Trainable ones of a network with so many classes."""
    return describe(model).parameters + (classes - IMAGENET_CLASSES) * (VARIANTS[model].head_features + 1)


def _published(model: str) -> str:
    top1, top5 = describe(model).top1, describe(model).top5
    return "" if top1 is None else f"{top1:.2f} % top-1 and {top5:.2f} % top-5"


def _recipe(config: Config, reference: tuple[str, Config] | None) -> dict[str, Any]:
    """Keys that differ from the defaults or from the reference: run, default, reference."""
    others = [Config()] + ([reference[1]] if reference else [])
    rows = differing(config, *others)
    return {"reference": reference[0] if reference else "", "sections": _by_section(rows)}


def _by_section(rows: Sequence[KeyRow]) -> list[tuple[str, list[KeyRow]]]:
    sections = dict.fromkeys(row.section for row in rows)
    return [(section, [row for row in rows if row.section == section]) for section in sections]


def _comparison(runs: Sequence[RunRecord], findings: Sequence[Findings]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    known = []
    for run, found in zip(runs, findings, strict=True):
        best, last = run.best_row, len(run.epochs["epoch"]) - 1
        calibration = found.predictions.calibration() if found.predictions else None
        speed = speed_of(run)
        known.append(run.cell("top1", best))
        rows.append(
            {
                "run": run,
                "top1": run.cell("top1", best),
                "cells": [
                    NONE if best is None else f"{run.epochs['epoch'][best]:.0f} of {run.config.train.epoch_size}",
                    figure("top5", run.cell("top5", best)),
                    figure("val_loss", run.cell("val_loss", best)),
                    figure("top1", run.cell("top1", last)),
                    figure("train_loss", run.cell("train_loss", last)),
                    evaluated(found).get("top1", NONE),
                    f"{100 * calibration.error:.2f} %" if calibration else NONE,
                    speed.get("median", NONE),
                    speed.get("total", NONE),
                ],
            }
        )
    heads = [
        "Best epoch",
        "Top-5",
        "Val. loss",
        "Last top-1",
        "Last train loss",
        "Evaluated now",
        "ECE",
        "Images/s",
        "Time",
    ]
    return {
        "heads": heads,
        "rows": rows,
        "highest": max((each for each in known if each is not None), default=None),
        "keys": differing(*(run.config for run in runs)),
        "default": Config().to_dict(),
        "figures": figures_of_all(runs),
        "step_figures": step_figures(runs),
    }
