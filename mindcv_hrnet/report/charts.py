"""Charts as inline SVG, drawn by hand: they scale, print, follow the page's colours, and speak to a screen reader.

Every function returns Markup. Colours are classes that the page's style sheet knows: `s0` to `s5` for series.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape

from mindcv_hrnet.engine.predictions import BINS, Calibration

WIDTH, HEIGHT = 400, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 10, 26
SERIES = 6
DOTS = 40  # more points than these are drawn without dots
MOST_POINTS = 400


@dataclass(frozen=True)
class Series:
    """A line: its name and its points, (n,) float64 both; a NaN in `y` is a point that was not measured."""

    name: str
    x: np.ndarray
    y: np.ndarray
    color: int = 0

    def drawn(self) -> tuple[np.ndarray, np.ndarray]:
        """The points that were measured; means of neighbours where there are more than a screen can show."""
        there = ~np.isnan(self.y)
        x, y = self.x[there], self.y[there]
        if len(x) <= MOST_POINTS:
            return x, y
        parts = np.array_split(np.arange(len(x)), MOST_POINTS)
        return np.array([x[part[-1]] for part in parts]), np.array([y[part].mean() for part in parts])


@dataclass(frozen=True)
class Axis:
    """Numbers on a line of the picture, from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Pixel of a number."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks_between(low: float, high: float, most: int, *, whole: bool = False) -> tuple[float, ...]:
    """Round numbers in [low, high], at most `most` of them, one step of 1, 2 or 5 times a power of ten apart."""
    rough = max((high - low) / most, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if (high - low) / step < most + 1e-9)
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(step * k for k in range(first, last + 1))


def number(value: float) -> str:
    """Four digits, as short as they can be."""
    if 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:.3e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.4g}"


def line_chart(
    series: Sequence[Series],
    title: str,
    x_name: str,
    *,
    limits: tuple[float, float] | None = None,
    from_zero: bool = False,
) -> Markup:
    """Lines over epochs or steps. `limits`: what the y axis never goes beyond, such as 0 and 100."""
    points = [each.drawn() for each in series]
    every_x, every_y = (np.concatenate([pair[k] for pair in points]) for k in (0, 1))
    x, y = _axis_x(every_x), _axis_y(np.append(every_y, 0) if from_zero else every_y, limits)
    parts = [_grid(x, y, x_name)]
    for each, (xs, ys) in zip(series, points, strict=True):
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in zip(xs.tolist(), ys.tolist(), strict=True))
        parts.append(Markup('<polyline class="line s{}" points="{}"/>').format(each.color % SERIES, path))
        if len(xs) <= DOTS:
            parts.extend(
                Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(
                    each.color % SERIES, x.at(a), y.at(b)
                )
                for a, b in zip(xs.tolist(), ys.tolist(), strict=True)
            )
    parts.append(_readings(series, points, x, x_name))
    said = "; ".join(
        f"{each.name} from {number(ys[0])} to {number(ys[-1])}" for each, (_, ys) in zip(series, points, strict=True)
    )
    return _svg(title, f"{title} by {x_name}: {said}.", HEIGHT, parts)


def _axis_x(values: np.ndarray) -> Axis:
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 1, high + 1
    return Axis(low, high, LEFT, WIDTH - RIGHT, ticks_between(low, high, 7, whole=True))


def _axis_y(values: np.ndarray, limits: tuple[float, float] | None) -> Axis:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    least, most = limits or (0.0 if low >= 0 else -math.inf, math.inf)
    low, high = max(low - margin, least), min(high + margin, most)
    return Axis(low, high, HEIGHT - BOTTOM, TOP, ticks_between(low, high, 5))


def _grid(x: Axis, y: Axis, x_name: str) -> Markup:
    lines = [
        Markup('<path class="grid" d="M{} {:.1f}H{}"/><text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LEFT, y.at(tick), WIDTH - RIGHT, LEFT - 6, y.at(tick) + 4, number(tick)
        )
        for tick in y.ticks
    ]
    bottom = max(y.start, y.end)
    # the axis' name stands where the last number would, so no number comes near it
    room = WIDTH - RIGHT - 7 * len(x_name) - 14
    for tick in x.ticks:
        if x.at(tick) < room:
            label = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="middle">{}</text>')
            lines.append(label.format(x.at(tick), bottom + 17, number(tick)))
    lines.append(
        Markup('<text class="name" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            WIDTH - RIGHT, bottom + 17, x_name
        )
    )
    lines.append(Markup('<path class="axis" d="M{} {:.1f}H{}"/>').format(LEFT, bottom, WIDTH - RIGHT))
    return Markup("").join(lines)


def _readings(
    series: Sequence[Series], points: Sequence[tuple[np.ndarray, np.ndarray]], x: Axis, x_name: str
) -> Markup:
    """A column over each x that shows a line and says the values there while the pointer is on it."""
    known = [dict(zip(xs.tolist(), ys.tolist(), strict=True)) for xs, ys in points]
    places = sorted(set().union(*known))
    edges = [x.start, *((x.at(a) + x.at(b)) / 2 for a, b in pairwise(places)), x.end]
    columns = []
    for place, (left, right) in zip(places, pairwise(edges), strict=True):
        lines = [f"{x_name} {number(place)}"]
        lines += [f"{each.name}: {number(of[place])}" for each, of in zip(series, known, strict=True) if place in of]
        columns.append(
            Markup(
                '<g class="at"><title>{}</title><rect x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>'
                '<path d="M{:.1f} {}V{}"/></g>'
            ).format(
                "\n".join(lines), left, TOP, right - left, HEIGHT - TOP - BOTTOM, x.at(place), TOP, HEIGHT - BOTTOM
            )
        )
    return Markup("").join(columns)


def reliability_chart(calibration: Calibration, title: str) -> Markup:
    """Accuracy of each bin of confidence, the gap to the confidence, and how many answers are in the bin."""
    height, split = 300, 236
    x = Axis(0, 1, LEFT, WIDTH - RIGHT, (0, 0.25, 0.5, 0.75, 1))
    y = Axis(0, 1, split - BOTTOM, TOP, (0, 0.25, 0.5, 0.75, 1))
    wide = (x.end - x.start) / BINS
    most = max(int(calibration.counts.max()), 1)
    total = max(int(calibration.counts.sum()), 1)
    parts = [_grid(x, y, "confidence")]
    for k in range(BINS):
        count = int(calibration.counts[k])
        if not count:
            continue
        left, right, confidence = x.start + k * wide, wide - 2, float(calibration.confidence[k])
        accuracy = float(calibration.accuracy[k])
        reached, kind = min(accuracy, confidence), "over" if confidence > accuracy else "under"
        tall = (height - split - 8) * count / most
        said = (
            f"confidence {k / BINS:.2f} to {(k + 1) / BINS:.2f}\n{count:,} answers ({100 * count / total:.1f} %)\n"
            f"mean confidence {confidence:.3f}\naccuracy {accuracy:.3f}"
        )
        parts.append(
            Markup(
                '<g class="bin"><title>{}</title>'
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                '<rect class="count" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/></g>'
            ).format(
                *(said, left + 1, y.at(reached), right, y.start - y.at(reached)),
                *(kind, left + 1, y.at(max(accuracy, confidence)), right, abs(y.at(accuracy) - y.at(confidence))),
                *(left + 1, height - 2 - tall, right, max(tall, 0.8)),
            )
        )
    diagonal = Markup('<path class="ideal" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>')
    parts.append(diagonal.format(x.start, y.start, x.end, y.end))
    parts.append(Markup('<text class="name" x="{}" y="{}">accuracy</text>').format(LEFT + 4, TOP + 10))
    parts.append(Markup('<text class="name" x="{}" y="{}">answers</text>').format(LEFT + 4, split + 14))
    said = f"Expected calibration error {100 * calibration.error:.2f} %; the table below has the figures of every bin."
    return _svg(title, said, height, parts)


def histogram(values: np.ndarray, edges: np.ndarray, title: str, x_name: str, unit: str) -> Markup:
    """How many of `values` lie between neighbouring `edges`; `unit` is what is counted."""
    counts, _ = np.histogram(values, edges)
    x = Axis(float(edges[0]), float(edges[-1]), LEFT, WIDTH - RIGHT, ticks_between(edges[0], edges[-1], 6))
    most = max(int(counts.max()), 1)
    y = Axis(0, most, HEIGHT - BOTTOM, TOP, ticks_between(0, most, 4, whole=True))
    parts = [_grid(x, y, x_name)]
    for count, (low, high) in zip(counts.tolist(), pairwise(edges.tolist()), strict=True):
        said = f"{number(low)} to {number(high)}: {count:,} {unit}"
        parts.append(
            Markup(
                '<g class="bin"><title>{}</title>'
                '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/></g>'
            ).format(said, x.at(low) + 0.5, y.at(count), max(x.at(high) - x.at(low) - 1, 1), y.start - y.at(count))
        )
    said = f"{len(values):,} {unit}, from {number(float(values.min()))} to {number(float(values.max()))}."
    return _svg(title, said, HEIGHT, parts)


def _svg(title: str, said: str, height: int, parts: Sequence[Markup]) -> Markup:
    # an inner text of its own would show while the pointer is anywhere on the picture, so the name is an attribute
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, escape(f"{title}. {said}"), Markup("").join(parts)
    )
