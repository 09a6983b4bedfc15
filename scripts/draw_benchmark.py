#!/usr/bin/env python
"""Draw what benchmark.py has written as SVG: each measure as a share of the slowest package's.

    python scripts/draw_benchmark.py docs/benchmark.json docs/benchmark.svg

Measures that the file lacks, such as forwards where there were none, are left out.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from one_line_errors import one_line_errors

# measure in the JSON: its name in the figure
ROWS = {
    "first_start_s": "first start to the first step",
    "second_start_s": "second start to the first step",
    "step_s": "training step",
    "forward_1_s": "forward, batch 1",
    "forward_32_s": "forward, batch 32",
    "train_peak_mb": "peak memory of training",
}
COLOURS = {"ours": "#2563eb", "mindcv": "#94a3b8", "timm": "#f59e0b"}
LEFT, WIDTH, BAR, GAP, RIGHT = 210, 420, 12, 16, 90


def medians_of(found: dict) -> dict[str, dict[str, float]]:
    """{measure: {package: median}} of the measures that are there; errors of many kinds where it is damaged."""
    table = found["table"]
    medians = {
        name: {who: float(cell["median"]) for who, cell in table[name].items()} for name in ROWS if name in table
    }
    for row in medians.values():
        if not row or any(who not in COLOURS or not 0 < value < math.inf for who, value in row.items()):
            raise ValueError(f"{row} are no medians of packages")
    return medians


def bars(medians: dict[str, dict[str, float]]) -> list[str]:
    lines, top = [], 40
    for name, row in medians.items():
        largest = max(row.values())
        middle = top + len(row) * BAR / 2 + 4
        lines.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{ROWS[name]}</text>')
        for who, value in row.items():
            length = WIDTH * value / largest
            said = f"{value / 1000:.1f} GB" if name.endswith("mb") else f"{value:.3g} s"
            lines.append(f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[who]}"/>')
            lines.append(f'<text class="value" x="{LEFT + length + 5:.1f}" y="{top + BAR - 3}">{said}</text>')
            top += BAR
        top += GAP
    return lines


def draw(medians: dict[str, dict[str, float]], model: str) -> str:
    """The figure as SVG."""
    packages = [who for who in COLOURS if any(who in row for row in medians.values())]
    legend = []
    for place, who in enumerate(packages):
        x = LEFT + 110 * place
        legend.append(f'<rect x="{x}" y="14" width="10" height="10" fill="{COLOURS[who]}"/>')
        legend.append(f'<text x="{x + 16}" y="23">{"this package" if who == "ours" else who}</text>')
    height = 40 + len(medians) * (len(packages) * BAR + GAP)
    width = LEFT + WIDTH + RIGHT
    style = "text{font:13px sans-serif;fill:#1e293b}.value{font-size:10px}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    words = f"<title>{escape(model)} on a CPU: starts, steps, forwards and memory beside others</title>"
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, words, f"<style>{style}</style>", paper, *legend, *bars(medians), "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="JSON that benchmark.py has written")
    parser.add_argument("target", type=Path, help="SVG to write")
    options = parser.parse_args()
    if options.target.resolve() == options.source.resolve():
        parser.error(f"{options.target}: is the file to read; name another one to write")
    with one_line_errors():
        content = options.source.read_bytes()
    try:
        found = json.loads(content)
        medians, model = medians_of(found), str(found["settings"]["model"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sys.exit(f"error: {options.source}: not what benchmark.py writes, or damaged; measure again")
    if not medians:
        sys.exit(f"error: {options.source}: has none of the measures that are drawn: {', '.join(ROWS)}")
    with one_line_errors():
        options.target.write_text(draw(medians, model), encoding="utf-8")


if __name__ == "__main__":
    main()
