"""`docs/benchmarks.md`: a fixed introduction and a section of each claim, each written by its script alone."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from .machine import Machine
from .measure import Measured, ratios
from .peers import ROOT, Program

PAGE = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

Every figure here was written by a script of `bench/`; nothing is typed in by hand. Each section states the
machine, the versions, the number of rounds and the command that reproduces it. Whole processes are timed, from
just before the process is created until it has exited. In each round every command runs once, one after the other
(A B A B …), and ratios are taken within a round, so that a disturbance longer than a round affects both sides.
Memory is the peak resident set of the process, in a separate run before the rounds. Terms are in the
[glossary](glossary.md).
"""

ORDER = (
    "null-run",
    "null-run-real",
    "hashing",
    "execute",
    "edit",
    "growth",
    "download-memory",
    "int8",
    "int8-accuracy",
    "latency",
    "runtimes",
    "processors",
    "int8-network",
    "report-opens",
    "training",
    "recipe",
    "recipe-long",
    "recipe-changes",
)
"""Sections from top to bottom, by the name of their script."""


def section(
    name: str, title: str, parts: Sequence[str], machine: Machine, versions: Sequence[Program], rounds: int
) -> str:
    """The text of a section: its parts, and how it came about."""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    came = (
        f"<sub>{machine} · {' · '.join(program.version for program in versions)} · {rounds} rounds · {date} · "
        f"`python3 bench/run.py {name}`</sub>"
    )
    return "\n\n".join([f"## {title}", *(part.strip() for part in parts), came]) + "\n"


def update(name: str, text: str, page: Path = PAGE) -> None:
    """Puts a section in the place of the one of the same name, and leaves the others as they are."""
    sections = read(page.read_text()) if page.exists() else {}
    sections[name] = text
    page.write_text(render(sections))


def render(sections: dict[str, str]) -> str:
    """The page. A section that is not there yet says how to write it."""
    parts = [INTRODUCTION]
    for name in ORDER:
        text = sections.get(name) or f"Not measured yet: `python3 bench/run.py {name}`\n"
        parts.append(f"<!-- {name} -->\n{text}<!-- /{name} -->\n")
    return "\n".join(parts)


def read(page: str) -> dict[str, str]:
    """The sections of a page."""
    return {name: text for name, text in re.findall(r"<!-- (\S+) -->\n(.*?)<!-- /\1 -->", page, re.S)}


def table(measured: Sequence[Measured]) -> str:
    """Times and memory of each command."""
    lines = ["| | median | quartiles | range | peak memory |", "|---|--:|--:|--:|--:|"]
    for one in measured:
        spread = one.spread
        lines.append(
            f"| `{one.command.name}` | {duration(spread.median)} | {between(spread.low_quartile, spread.high_quartile)} "
            f"| {between(spread.least, spread.most)} | {size(one.peak_bytes)} |"
        )
    return "\n".join(lines)


def ratio(ours: Measured, peer: Measured) -> str:
    """A sentence on ours against a peer."""
    found = ratios(ours, peer)
    return (
        f"`{ours.command.name}` takes **×{factor(found.median)}** the time of `{peer.command.name}` (median of "
        f"{found.count} rounds; quartiles ×{factor(found.low_quartile)} to ×{factor(found.high_quartile)}, "
        f"range ×{factor(found.least)} to ×{factor(found.most)})."
    )


def verdict(target: str, met: bool) -> str:
    """A line that holds a claim against what was found."""
    return f"{'✔' if met else '✖'} {target}"


def duration(seconds: float) -> str:
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms"


def between(low: float, high: float) -> str:
    """Two durations in the unit of the second."""
    scale, unit = (1e3, "ms") if high < 1 else (1, "s")
    digits = 1 if unit == "ms" else 2
    return f"{low * scale:.{digits}f}–{high * scale:.{digits}f} {unit}"


def size(count: float) -> str:
    """Bytes with a decimal unit."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} B"


def factor(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
