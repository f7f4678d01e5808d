"""A log-log plot as SVG, readable on light and on dark ground. Pure: numbers in, text out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 40, 52
GAP = 70
COLORS = ("c0", "c1", "c2")

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 2 }
.c0 { --color: #0969da } .c1 { --color: #bc4c00 } .c2 { --color: #6e7781 }
.line { stroke: var(--color) } .dot { fill: var(--color) } .name { fill: var(--color); font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .grid { stroke: #3d444d }
  .c0 { --color: #58a6ff } .c1 { --color: #f0883e } .c2 { --color: #9198a1 }
}
"""


@dataclass(frozen=True)
class Line:
    """Points by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes. All numbers are above zero."""

    title: str
    x: str
    lines: Sequence[Line]
    unit: str


def svg(panels: Sequence[Panel], description: str) -> str:
    """Panels side by side."""
    width = (WIDTH - GAP * (len(panels) - 1)) / len(panels)
    drawn = [_panel(panel, index * (width + GAP), width) for index, panel in enumerate(panels)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">\n'
        f"<title>{escape(description)}</title>\n<style>{STYLE}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
    )


def _panel(panel: Panel, offset: float, width: float) -> str:
    points = [point for line in panel.lines for point in line.points]
    across = _Scale([x for x, _ in points], offset + LEFT, offset + width - RIGHT)
    # Names of lines stand at the top left, where lines that rise leave room.
    up = _Scale([y for _, y in points], HEIGHT - BOTTOM, TOP + 22 * len(panel.lines))
    parts = [f'<text class="title" x="{offset + LEFT:.1f}" y="18">{escape(panel.title)}</text>']
    for power in across.powers():
        x = across.at(10**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_number(power)}</text>')
    for power in up.powers():
        y = up.at(10**power)
        parts.append(f'<line class="grid" x1="{offset + LEFT:.1f}" x2="{offset + width - RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        label = f"{_number(power)} {panel.unit}"
        parts.append(f'<text x="{offset + LEFT - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (offset + LEFT + offset + width - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.x)}</text>')
    for index, (line, color) in enumerate(zip(panel.lines, COLORS)):
        places = [(across.at(x), up.at(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line {color}" points="{path}"/>')
        parts += [f'<circle class="dot {color}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        parts.append(f'<text class="name {color}" x="{offset + LEFT + 8:.1f}" y="{TOP + 4 + 20 * index}">{escape(line.name)}</text>')
    return "\n".join(parts)


class _Scale:
    """Positions of logarithms: whole powers of ten from one end to the other."""

    def __init__(self, values: Sequence[float], start: float, end: float):
        logs = [math.log10(value) for value in values]
        self.low, self.high = math.floor(min(logs)), math.ceil(max(logs))
        self.high = max(self.high, self.low + 1)
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def powers(self) -> range:
        return range(self.low, self.high + 1)


def _number(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:g}"
