#!/usr/bin/env python
"""Draw docs/benchmark.svg from what benchmark.py has written: each measure as a share of the slowest package's.

python scripts/draw_benchmark.py docs/benchmark.json docs/benchmark.svg
"""

import json
import sys
from pathlib import Path

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


def bars(table: dict, packages: list[str]) -> list[str]:
    lines, top = [], 40
    for name, title in ROWS.items():
        largest = max(table[name][who]["median"] for who in packages)
        middle = top + len(packages) * BAR / 2 + 4
        lines.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" text-anchor="end">{title}</text>')
        for who in packages:
            value = table[name][who]["median"]
            length = WIDTH * value / largest
            said = f"{value / 1000:.1f} GB" if name.endswith("mb") else f"{value:.3g} s"
            lines.append(f'<rect x="{LEFT}" y="{top}" width="{length:.1f}" height="{BAR - 2}" fill="{COLOURS[who]}"/>')
            lines.append(f'<text class="value" x="{LEFT + length + 5:.1f}" y="{top + BAR - 3}">{said}</text>')
            top += BAR
        top += GAP
    return lines


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    found = json.loads(source.read_text(encoding="utf-8"))
    packages = list(next(iter(found["table"].values())))
    drawn = bars(found["table"], packages)
    legend = []
    for place, who in enumerate(packages):
        x = LEFT + 110 * place
        legend.append(f'<rect x="{x}" y="14" width="10" height="10" fill="{COLOURS[who]}"/>')
        legend.append(f'<text x="{x + 16}" y="23">{"this package" if who == "ours" else who}</text>')
    height = 40 + len(ROWS) * (len(packages) * BAR + GAP)
    width = LEFT + WIDTH + RIGHT
    style = "text{font:13px sans-serif;fill:#1e293b}.value{font-size:10px}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    words = f"<title>{found['settings']['model']} on a CPU: starts, steps, forwards and memory beside others</title>"
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    parts = [head, words, f"<style>{style}</style>", paper, *legend, *drawn, "</svg>"]
    target.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
