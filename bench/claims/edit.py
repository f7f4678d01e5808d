"""One source of 10,000 stages edited, in the last layer and in the first, against ninja. Also checks what is executed."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.graph import Graph, Work
from harness.measure import Command, Failed, Measured, alternate, ratios, run
from harness.outcome import expect, outcomes

LIMIT = 2.0


def measure(bench: Bench) -> Result:
    ninja = peers.ninja()
    rounds = bench.rounds_or(2, 15)
    graph = Graph(bench.scratch, bench.pick(200, 10_000), Work.SIZE)
    graph.write()
    names = graph.names()
    print(f"  executing {graph.stages:,} stages", file=sys.stderr)
    expect("the first run", outcomes(bench.pipe.path, graph.pipe), ran=set(names))
    run(Command("pipe run", [bench.pipe.path, "run"], graph.pipe))
    if ninja is not None:
        run(Command("ninja", [ninja.path], graph.ninja))

    parts = [
        f"{graph.stages:,} command stages (`{Work.SIZE.value.format(src='source', out='output')}`) in layers of 100, each reading a file "
        "of its own and two outputs of the layer before; ninja with `restat`. Before each run one source is given another content.",
    ]
    raw = {}
    for what, name, is_longer in [
        ("one of the last layer, and its output becomes another", names[-1], True),
        ("one of the first layer, and its output stays as it is", names[0], False),
    ]:
        measured = _edits(bench, graph, ninja, name, is_longer, rounds)
        parts += [f"**The source is {what}.**", page.table(measured)]
        if ninja is not None:
            median = ratios(measured[0], measured[1]).median
            parts.append(page.ratio(measured[0], measured[1]))
            parts.append(page.verdict(f"at most twice ninja's time: median ratio ≤ {LIMIT}", median <= LIMIT))
        raw[name] = {one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in measured}
        _check(bench, graph, name, is_longer)
    parts.append(
        "Checked in the same run: after each of these edits the stage that reads the source ran, every other one was fresh, and its output "
        "is what its source says."
    )
    return Result(
        f"One edit in {graph.stages:,} stages", parts, [ninja] if ninja else [], rounds, raw
    )


def _edits(
    bench: Bench, graph: Graph, ninja: peers.Program | None, name: str, is_longer: bool, rounds: int
) -> list[Measured]:
    commands = [
        Command("pipe run", [bench.pipe.path, "run"], graph.pipe, before=_editing(graph.source(name), is_longer))
    ]
    if ninja is not None:
        source = graph.ninja / "src" / name
        commands.append(Command("ninja", [ninja.path], graph.ninja, before=_editing(source, is_longer)))
    return alternate(commands, rounds)


def _editing(source: Path, is_longer: bool) -> Callable[[], None]:
    numbers = itertools.count()

    def edit() -> None:
        number = next(numbers)
        source.write_text("x" * (20 + number) + "\n" if is_longer else f"{number:018} \n")

    return edit


def _check(bench: Bench, graph: Graph, name: str, is_longer: bool) -> None:
    """The same edit again, with the events of the run, and a run after it."""
    text = "checked" * 30 if is_longer else f"{'checked':18} \n"
    graph.source(name).write_text(text)
    run(Command("pipe run", [bench.pipe.path, "run"], graph.pipe))
    if int(graph.output(name).read_text()) != len(text):
        raise Failed(f"the output of {name} is stale")
    names = set(graph.names())
    graph.source(name).write_text(text.upper())
    expect("a run after an edit", outcomes(bench.pipe.path, graph.pipe), ran={name}, fresh=names - {name})
    expect("a run after that", outcomes(bench.pipe.path, graph.pipe), fresh=names)
