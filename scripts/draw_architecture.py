"""Draws docs/architecture.svg: HRNet as boxes and arrows. Needs the standard library only.

Usage: python scripts/draw_architecture.py [--out docs/architecture.svg]

The figure carries its own light panel, so that it is legible on white and on dark pages alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1240, 560
INK, MUTED, PANEL, EDGE = "#1f2937", "#5b6675", "#ffffff", "#d5dbe3"
FONT = "Inter, 'Segoe UI', Helvetica, Arial, sans-serif"

# One colour for each branch, from fine to coarse: (fill, border).
BRANCH = (("#dbeafe", "#2563eb"), ("#d7f5ee", "#0d9488"), ("#fef0cd", "#c27803"), ("#fde2e4", "#d1495b"))
NEUTRAL = ("#eef1f5", "#64748b")
ROWS = (150, 238, 326, 414)
BOX_HEIGHTS = (56, 46, 38, 32)
STRIDES = (4, 8, 16, 32)


class Drawing:
    """SVG elements in the order in which they are painted."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def box(self, x: float, y: float, width: float, height: float, colours: tuple[str, str], label: str = "") -> None:
        """A rounded box with its middle left at (x, y)."""
        fill, border = colours
        self.elements.append(
            f'<rect x="{x:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" '
            f'stroke="{border}" stroke-width="1.6"/>'
        )
        if label:
            self.text(x + width / 2, y, label, size=13, weight=600)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 12,
        weight: int = 400,
        colour: str = INK,
        anchor: str = "middle",
    ) -> None:
        """One line, centred on y."""
        self.elements.append(
            f'<text x="{x:g}" y="{y + size * 0.35:g}" font-size="{size:g}" font-weight="{weight}" fill="{colour}" '
            f'text-anchor="{anchor}">{escape(text)}</text>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str = MUTED, width: float = 1.6) -> None:
        """A straight arrow; its head has the line's colour."""
        self.elements.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}" '
            f'marker-end="url(#head-{colour[1:]})"/>'
        )

    def svg(self, title: str, description: str) -> str:
        colours = [MUTED, *(border for _, border in BRANCH)]
        heads = "".join(
            f'<marker id="head-{c[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0.5,0.8 L7.5,4 L0.5,7.2 z" fill="{c}"/></marker>'
            for c in colours
        )
        body = "\n".join(self.elements)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'role="img" aria-labelledby="title description" font-family="{FONT}">\n'
            f'<title id="title">{escape(title)}</title>\n<desc id="description">{escape(description)}</desc>\n'
            f"<defs>{heads}</defs>\n{body}\n</svg>\n"
        )


def exchange(drawing: Drawing, x1: float, x2: float, sources: int, targets: int) -> None:
    """Every branch to every branch; each arrow has the colour of the branch that it comes from."""
    for source in range(sources):
        for target in range(targets):
            drawing.arrow(x1, ROWS[source], x2, ROWS[target], BRANCH[source][1], 1.8 if source == target else 1.2)


def channels(branch: int) -> str:
    """C, 2C, 4C or 8C."""
    return f"{2**branch}C" if branch else "C"


def draw() -> str:
    """The whole figure as SVG."""
    drawing = Drawing()
    drawing.elements.append(
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{HEIGHT - 2}" rx="14" fill="{PANEL}" stroke="{EDGE}" '
        'stroke-width="2"/>'
    )
    drawing.text(28, 34, "HRNet", size=21, weight=700, anchor="start")
    drawing.text(
        104,
        36,
        "keeps the fine branch alive from stem to head, and lets all resolutions talk after every module",
        size=14,
        colour=MUTED,
        anchor="start",
    )

    # Image, stem and stage 1.
    drawing.box(28, ROWS[0], 58, 76, NEUTRAL, "image")
    drawing.arrow(86, ROWS[0], 110, ROWS[0])
    drawing.box(110, ROWS[0], 66, 66, NEUTRAL, "stem")
    drawing.arrow(176, ROWS[0], 204, ROWS[0])
    drawing.box(204, ROWS[0], 84, BOX_HEIGHTS[0], BRANCH[0], "4 blocks")
    for x, title, note in (
        (57, "", "H × W"),
        (143, "", "two 3×3, s 2"),
        (246, "Stage 1", "bottlenecks"),
    ):
        drawing.text(x, 78, title, size=14, weight=700)
        drawing.text(x, ROWS[0] - 50, note, size=11.5, colour=MUTED)

    # Stages 2 to 4: the modules of each, and between them the transition that opens a branch.
    left, block_width, gap = 348, 104, 62
    end = 288.0
    for stage, repeats in ((2, 1), (3, 4), (4, 3)):
        sources = stage - 1
        if stage == 2:
            drawing.arrow(end, ROWS[0], left, ROWS[0], BRANCH[0][1], 1.8)
            drawing.arrow(end, ROWS[0], left, ROWS[1], BRANCH[0][1], 1.2)
        else:
            for branch in range(sources):
                drawing.arrow(end, ROWS[branch], left, ROWS[branch], BRANCH[branch][1], 1.8)
            drawing.arrow(end, ROWS[sources - 1], left, ROWS[sources], BRANCH[sources - 1][1], 1.2)
        for branch in range(stage):
            drawing.box(left, ROWS[branch], block_width, BOX_HEIGHTS[branch], BRANCH[branch], "4 blocks")
        exchange(drawing, left + block_width, left + block_width + gap, stage, stage)
        middle = left + (block_width + gap) / 2
        drawing.text(middle, 78, f"Stage {stage}", size=14, weight=700)
        modules = "1 module" if repeats == 1 else f"{repeats} modules"
        drawing.text(middle, ROWS[0] - 50, f"{modules} of {stage} branches", size=11.5, colour=MUTED)
        end = left + block_width + gap
        for branch in range(stage):
            drawing.elements.append(
                f'<circle cx="{end + 4:g}" cy="{ROWS[branch]}" r="4.5" fill="{BRANCH[branch][1]}"/>'
            )
        end += 8
        left = end + 46
    drawing.elements.append("")
    return drawing.svg("HRNet", "placeholder")
