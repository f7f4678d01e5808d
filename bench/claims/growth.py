"""How time and memory grow from 100 to 100,000 stages: nothing to do, and planning after an edit."""

import sys

from harness import page, peers, plot
from harness.bench import Bench, Result
from harness.graph import Graph, Work
from harness.measure import Command, Measured, alternate, run
from harness.outcome import expect, outcomes

SIZES = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
PLOT = page.PAGE.with_name("growth.svg")


def measure(bench: Bench) -> Result:
    ninja = peers.ninja()
    most = bench.most or bench.pick(300, SIZES[-1])
    sizes = [size for size in SIZES if size <= most]
    rounds = bench.rounds_or(2, 5)
    found: dict[int, list[Measured]] = {}
    for stages in sizes:
        print(f"  {stages:,} stages", file=sys.stderr)
        found[stages] = _measure(bench, Graph(bench.scratch, stages, Work.ECHO), ninja, rounds)

    drawing = _plot(found)
    if not bench.quick:
        PLOT.write_text(drawing)
    names = [one.command.name for one in found[sizes[0]]]
    parts = [
        "A generated pipeline like those above, except that its stages only write their name (`echo`, which starts no program beside "
        "the shell), so that the largest can be made at all. `pipe run` and `ninja` find nothing to do; `pipe status` finds one "
        "source edited, and plans.",
        f"![Time and memory by number of stages]({PLOT.name})",
        _table(
            "median time",
            names,
            {size: [page.duration(one.spread.median) for one in all] for size, all in found.items()},
        ),
        _table(
            "peak memory",
            names,
            {size: [page.size(one.peak_bytes) for one in all] for size, all in found.items()},
        ),
    ]
    raw = {
        size: {one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in all}
        for size, all in found.items()
    }
    return Result("Growth", parts, [ninja] if ninja else [], rounds, raw)


def _measure(bench: Bench, graph: Graph, ninja: peers.Program | None, rounds: int) -> list[Measured]:
    graph.write()
    expect("the first run", outcomes(bench.pipe.path, graph.pipe), ran=set(graph.names()))
    commands = [Command("pipe run", [bench.pipe.path, "run"], graph.pipe)]
    if ninja is not None:
        run(Command("ninja", [ninja.path], graph.ninja))
        commands.append(Command("ninja", [ninja.path], graph.ninja))
    measured = alternate(commands, rounds)
    # The last commands of all: an edit would give the others something to do.
    graph.source(graph.names()[0]).write_text("edited\n")
    status = Command("pipe status, after an edit", [bench.pipe.path, "status"], graph.pipe)
    return measured + alternate([status], rounds)


def _plot(found: dict[int, list[Measured]]) -> str:
    def lines(value) -> list[plot.Line]:
        by_command = zip(*found.values(), strict=False)
        return [
            plot.Line(
                row[0].command.name, [(size, value(one)) for size, one in zip(found, row, strict=False)]
            )
            for row in by_command
        ]

    panels = [
        plot.Panel("Time", "stages", lines(lambda one: one.spread.median * 1e3), "ms"),
        plot.Panel("Peak memory", "stages", lines(lambda one: one.peak_bytes / 1e6), "MB"),
    ]
    return plot.svg(panels, "Wall time and peak memory by number of stages, both axes logarithmic")


def _table(what: str, names: list[str], rows: dict[int, list[str]]) -> str:
    lines = [
        f"| {what}, stages | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|--:|" + "--:|" * len(names),
    ]
    lines += [f"| {size:,} | " + " | ".join(cells) + " |" for size, cells in rows.items()]
    return "\n".join(lines)
