"""Draws the learning rate of a recipe over its epochs as SVG, by default docs/learning_rate.svg.

Usage: python scripts/draw_schedule.py RECIPE.yaml [--images 1281167] [--ranks 8] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from mindcv_hrnet.engine.schedules import build_schedule
from mindcv_hrnet.recipe.config import parse_config

ROOT = Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 760, 320
LEFT, RIGHT, TOP, BOTTOM = 84, 734, 56, 262
INK, MUTED, PANEL, EDGE, CURVE = "#1f2937", "#5b6675", "#ffffff", "#d5dbe3", "#2563eb"
FONT = "Inter, 'Segoe UI', Helvetica, Arial, sans-serif"
POINTS = 600


def text(x: float, y: float, words: str, size: float = 12, colour: str = MUTED, anchor: str = "middle") -> str:
    """One line of text with its base at y."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def ticks(end: float, wanted: int = 6) -> np.ndarray:
    """Round numbers from 0 to `end`, about as many as wanted."""
    scale = 10 ** np.floor(np.log10(end / wanted))
    step = next(scale * factor for factor in (1, 2, 5, 10) if end / (scale * factor) <= wanted)
    return np.arange(0, end * (1 + 1e-9), step)


def draw(rates: np.ndarray, epochs: int, title: str) -> str:
    """The rate of every step of `epochs` epochs as an SVG."""
    top = float(rates.max())

    def place(epoch: float, rate: float) -> tuple[float, float]:
        return LEFT + (RIGHT - LEFT) * epoch / epochs, BOTTOM - (BOTTOM - TOP) * rate / top

    shown = np.unique(np.linspace(0, len(rates) - 1, POINTS).round().astype(int))
    # the peak is a single step, which even spacing would miss
    shown = np.union1d(shown, rates.argmax())
    points = " ".join("{:.1f},{:.1f}".format(*place(step / len(rates) * epochs, rates[step])) for step in shown)
    elements = [
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="12" fill="{PANEL}" stroke="{EDGE}"/>',
        text(LEFT, 32, title, size=15, colour=INK, anchor="start"),
        text((LEFT + RIGHT) / 2, HEIGHT - 18, "epoch"),
    ]
    for rate in ticks(top):
        _, y = place(0, rate)
        elements.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{RIGHT}" y2="{y:.1f}" stroke="{EDGE}"/>')
        elements.append(text(LEFT - 10, y + 4, f"{rate:.3g}", anchor="end"))
    for epoch in ticks(epochs, 12):
        elements.append(text(place(epoch, 0)[0], BOTTOM + 20, f"{epoch:g}"))
    elements.append(f'<polyline points="{points}" fill="none" stroke="{CURVE}" stroke-width="2.2"/>')
    body = "\n".join(elements)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-labelledby="title" font-family="{FONT}">\n<title id="title">{escape(title)}</title>\n'
        f"{body}\n</svg>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--images", type=int, default=1_281_167, help="training images (default ImageNet-1K's)")
    parser.add_argument("--ranks", type=int, default=8, help="devices that train together")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "learning_rate.svg")
    options = parser.parse_args()
    config = parse_config(["-c", str(options.recipe)])
    batch, epochs = config.data.batch_size * options.ranks, config.train.epoch_size
    steps = options.images // batch
    rates = build_schedule(config.scheduler, epochs, steps, config.train.gradient_accumulation_steps)
    title = f"{options.recipe.stem}: learning rate, {epochs} epochs of {steps} steps, global batch {batch}"
    options.out.write_text(draw(rates, epochs, title), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
