"""Draws docs/architecture.svg: HRNet as boxes and arrows. Needs the standard library only.

Usage: python scripts/draw_architecture.py [--out docs/architecture.svg]

The figure carries its own light panel, so that it is legible on white and on dark pages alike.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1240, 548
TIMES = "\N{MULTIPLICATION SIGN}"
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

    def dot(self, x: float, y: float, colour: str) -> None:
        """Where what arrives is summed."""
        self.elements.append(f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="{colour}"/>')

    def frame(self, x: float, y: float, width: float, height: float, label: str = "", panel: bool = False) -> None:
        """The ground of the figure, or the dashed outline of what is repeated, with its label below it."""
        style = f'fill="{PANEL}" stroke="{EDGE}"' if panel else 'fill="#f7f8fa" stroke="#b6bfca" stroke-dasharray="5 4"'
        self.elements.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="12" {style} stroke-width="1.3"/>'
        )
        if label:
            self.text(x + 6, y + height + 14, label, size=15, weight=700, anchor="start")

    def heading(self, x: float, title: str, note: str) -> None:
        """A title and a smaller line under it, above what they name."""
        self.text(x, 70, title, size=14.5, weight=700)
        self.text(x, 90, note, size=11.5, colour=MUTED)

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


def exchange(drawing: Drawing, x1: float, x2: float, branches: int) -> None:
    """Every branch to every branch; each arrow has the colour of the branch that it comes from."""
    # The thick identities come last, on top.
    for source, target in sorted(
        ((s, t) for s in range(branches) for t in range(branches)), key=lambda pair: pair[0] == pair[1]
    ):
        drawing.arrow(x1, ROWS[source], x2, ROWS[target], BRANCH[source][1], 2.2 if source == target else 1.2)
    for branch in range(branches):
        drawing.dot(x2 + 5, ROWS[branch], BRANCH[branch][1])


def draw_start(drawing: Drawing) -> float:
    """Image, stem and stage 1. Gives back where they end."""
    drawing.box(28, ROWS[0], 60, 72, NEUTRAL, "image")
    drawing.arrow(88, ROWS[0], 112, ROWS[0])
    drawing.box(112, ROWS[0], 66, 64, NEUTRAL, "stem")
    drawing.arrow(178, ROWS[0], 206, ROWS[0])
    drawing.box(206, ROWS[0], 84, BOX_HEIGHTS[0], BRANCH[0], "4 blocks")
    drawing.heading(145, "Stem", f"3{TIMES}3, twice, stride 2")
    drawing.heading(248, "Stage 1", "bottlenecks")
    return 290


def draw_stages(drawing: Drawing, end: float) -> float:
    """Stages 2 to 4, each after the transition that opens its coarsest branch. Gives back where they end."""
    blocks, arrows, transition = 84, 76, 48
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        left = end + transition
        newest = stage - 1
        bottom = ROWS[newest] + BOX_HEIGHTS[newest] / 2 + 16
        drawing.frame(left - 10, 104, blocks + arrows + 30, bottom - 104, "" if modules == 1 else f"{TIMES} {modules}")
        drawing.arrow(end, ROWS[newest - 1], left, ROWS[newest], BRANCH[newest - 1][1], 1.2)
        for branch in range(newest):
            drawing.arrow(end, ROWS[branch], left, ROWS[branch], BRANCH[branch][1], 2.2)
        for branch in range(stage):
            drawing.box(left, ROWS[branch], blocks, BOX_HEIGHTS[branch], BRANCH[branch], "4 blocks")
        exchange(drawing, left + blocks, left + blocks + arrows, stage)
        count = "1 module" if modules == 1 else f"{modules} modules"
        drawing.heading(left + (blocks + arrows) / 2 + 5, f"Stage {stage}", f"{count}, {stage} branches")
        end = left + blocks + arrows + 10
    return end


def draw_head(drawing: Drawing, end: float) -> None:
    """The widened branches, folded from fine to coarse, then pooled and classified."""
    left, width = end + 44, 78
    for branch, channels in enumerate((128, 256, 512, 1024)):
        drawing.arrow(end, ROWS[branch], left, ROWS[branch], BRANCH[branch][1], 2.2)
        drawing.box(left, ROWS[branch], width, BOX_HEIGHTS[branch], BRANCH[branch], str(channels))
        if branch:
            above = ROWS[branch - 1] + BOX_HEIGHTS[branch - 1] / 2
            below = ROWS[branch] - BOX_HEIGHTS[branch] / 2
            drawing.arrow(left + width / 2, above, left + width / 2, below, BRANCH[branch - 1][1], 1.8)
    drawing.heading(left + width / 2, "Head", "widen, then fold down")

    last, last_width = left + width + 36, 88
    drawing.arrow(left + width, ROWS[3], last, ROWS[3], BRANCH[3][1], 1.8)
    drawing.box(last, ROWS[3], last_width, BOX_HEIGHTS[2], NEUTRAL, "2048")
    drawing.box(last, ROWS[2], last_width, BOX_HEIGHTS[2], NEUTRAL, "mean")
    drawing.box(last, ROWS[1], last_width, BOX_HEIGHTS[2], NEUTRAL, "classifier")
    for lower, upper in ((3, 2), (2, 1)):
        drawing.arrow(
            last + last_width / 2, ROWS[lower] - BOX_HEIGHTS[2] / 2, last + last_width / 2, ROWS[upper] + 19 + 1
        )
    drawing.arrow(last + last_width / 2, ROWS[1] - BOX_HEIGHTS[2] / 2, last + last_width / 2, ROWS[0] + 14)
    drawing.text(last + last_width / 2, ROWS[0], "logits", size=13, weight=600)


def draw_legend(drawing: Drawing) -> None:
    """What the colours and the arrows mean."""
    drawing.text(28, 250, "Branches", size=13, weight=700, anchor="start")
    for branch, stride in enumerate(STRIDES):
        y = 278 + 27 * branch
        drawing.box(28, y, 20, 16, BRANCH[branch])
        channels = f"{2**branch}C" if branch else "C"
        drawing.text(58, y, f"stride {stride}, {channels} channels", anchor="start")
    drawing.text(28, 388, "C is the number in the name: 18 to 64.", size=11.5, colour=MUTED, anchor="start")
    drawing.text(
        28, 407, "w18_small has C = 16; both small ones, fewer blocks.", size=11.5, colour=MUTED, anchor="start"
    )

    y = 485
    drawing.text(28, y, "Exchange", size=13, weight=700, anchor="start")
    drawing.arrow(122, y + 9, 154, y - 9, BRANCH[2][1])
    drawing.text(166, y, f"to a finer branch: 1{TIMES}1 convolution, then nearest upsampling", anchor="start")
    drawing.arrow(122, y + 26, 154, y + 44, BRANCH[1][1])
    drawing.text(166, y + 35, f"to a coarser branch: one 3{TIMES}3 convolution of stride 2 per halving", anchor="start")
    drawing.arrow(640, y, 672, y, BRANCH[0][1], 2.2)
    drawing.text(684, y, "to itself: unchanged", anchor="start")
    drawing.dot(656, y + 35, MUTED)
    drawing.text(684, y + 35, "what arrives is added up, then ReLU", anchor="start")


def draw() -> str:
    """The whole figure as SVG."""
    drawing = Drawing()
    drawing.frame(1, 1, WIDTH - 2, HEIGHT - 2, panel=True)
    drawing.text(28, 34, "HRNet", size=21, weight=700, anchor="start")
    claim = (
        "The fine branch lives on from stem to head, and after every module all resolutions exchange what they know."
    )
    drawing.text(112, 36, claim, size=13.5, colour=MUTED, anchor="start")
    draw_head(drawing, draw_stages(drawing, draw_start(drawing)))
    draw_legend(drawing)
    return drawing.svg(
        "HRNet architecture",
        "Image, stem and stage 1 at stride 4; stages 2, 3 and 4 with two, three and four parallel branches at strides "
        "4, 8, 16 and 32 and C, 2C, 4C and 8C channels, exchanging after each of 1, 4 and 3 modules; a head that "
        "widens the branches to 128, 256, 512 and 1024 channels, folds them downwards to 2048, and classifies.",
    )


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=root / "docs" / "architecture.svg")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(), encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
