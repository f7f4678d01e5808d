"""A log-log plot as SVG, readable on light and on dark ground. Pure: numbers in, text out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 84, 36, 40, 52
GAP = 20
LIGHT = ("#0969da", "#bc4c00", "#6e7781")
DARK = ("#58a6ff", "#f0883e", "#9198a1")
"""Colours of the lines, in their order."""


def _style() -> str:
    def ground(text: str, grid: str, colors: Sequence[str]) -> str:
        lines = [f"text {{ fill: {text} }}", f".grid {{ stroke: {grid} }}"]
        for index, color in enumerate(colors):
            lines.append(
                f".line.c{index} {{ stroke: {color} }} .dot.c{index}, .name.c{index} {{ fill: {color} }}"
            )
        return "\n".join(lines)

    return (
        "text { font: 13px system-ui, sans-serif }\n.title, .name { font-weight: 600 }\n"
        ".line { fill: none; stroke-width: 2 }\n"
        + ground("#24292f", "#d0d7de", LIGHT)
        + "\n@media (prefers-color-scheme: dark) {\n"
        + ground("#e6edf3", "#3d444d", DARK)
        + "\n}\n"
    )


@dataclass(frozen=True)
class Line:
    """Points by x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One pair of axes with at most three lines. All numbers are above zero."""

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
        f"<title>{escape(description)}</title>\n<style>{_style()}</style>\n" + "\n".join(drawn) + "\n</svg>\n"
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
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{_number(power)}</text>'
        )
    for power in up.powers():
        y = up.at(10**power)
        parts.append(
            f'<line class="grid" x1="{offset + LEFT:.1f}" x2="{offset + width - RIGHT:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        label = f"{_number(power)} {panel.unit}"
        parts.append(f'<text x="{offset + LEFT - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    middle = (offset + LEFT + offset + width - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{escape(panel.x)}</text>')
    for index, line in enumerate(panel.lines):
        color = f"c{index}"
        places = [(across.at(x), up.at(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line {color}" points="{path}"/>')
        parts += [f'<circle class="dot {color}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places]
        parts.append(
            f'<text class="name {color}" x="{offset + LEFT + 8:.1f}" y="{TOP + 4 + 20 * index}">{escape(line.name)}</text>'
        )
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
