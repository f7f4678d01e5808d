"""10,000 stages and nothing to do, against ninja. Also checks that nothing runs, and after an edit exactly what must."""

import sys

from harness import page, peers
from harness.bench import Bench, Result
from harness.graph import Graph, Work
from harness.measure import Command, Failed, alternate, ratios, run
from harness.outcome import executed, expect, identity, outcomes


def measure(bench: Bench) -> Result:
    ninja = peers.ninja()
    rounds = bench.rounds_or(3, 30)
    graph = Graph(bench.scratch, bench.pick(200, 10_000), Work.COPY)
    graph.write()
    names = set(graph.names())

    print(f"  executing {graph.stages:,} stages", file=sys.stderr)
    expect("the first run", outcomes(bench.pipe.path, graph.pipe), ran=names)
    for name in graph.names():
        if graph.output(name).read_bytes() != graph.source(name).read_bytes():
            raise Failed(f"the output of {name} is not its source")
    checks = [_edits(bench, graph), _nothing(bench, graph)]

    commands = [Command("pipe run", [bench.pipe.path, "run"], graph.pipe)]
    if ninja is not None:
        run(Command("ninja", [ninja.path], graph.ninja))
        commands.append(Command("ninja", [ninja.path], graph.ninja))
    measured = alternate(commands, rounds)

    ours = measured[0]
    parts = [
        f"{graph.stages:,} command stages in layers of 100, each reading a file of its own and two outputs of the layer before; "
        "the same graph for both, everything up to date. `pipe` compares digests of contents, `ninja` times of change.",
        page.table(measured),
    ]
    verdicts = [page.verdict(f"memory below 100 MB: {page.size(ours.peak_bytes)}", ours.peak_bytes < 100e6)]
    if ninja is not None:
        parts.append(page.ratio(ours, measured[1]))
        verdicts.insert(
            0,
            page.verdict("no slower than ninja: median ratio ≤ 1.0", ratios(ours, measured[1]).median <= 1.0),
        )
    parts += ["\\\n".join(verdicts), "Checked in the same run: " + "; ".join(checks) + "."]
    raw = {one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in measured}
    return Result(f"Nothing to do, {graph.stages:,} stages", parts, [ninja] if ninja else [], rounds, raw)


def _nothing(bench: Bench, graph: Graph) -> str:
    """A run with nothing to do neither executes nor writes an output."""
    names = graph.names()
    outputs = [graph.output(name) for name in names]
    before = identity(outputs)
    expect("a run with nothing to do", outcomes(bench.pipe.path, graph.pipe), fresh=set(names))
    if identity(outputs) != before:
        raise Failed("a run with nothing to do wrote to an output")
    strace = peers.strace()
    if strace is None:
        return "a run with nothing to do reports every stage as fresh and leaves every output untouched"
    started = executed(strace, [bench.pipe.path, "run"], graph.pipe)
    if started != 1:
        raise Failed(f"a run with nothing to do started {started - 1} programs")
    return "a run with nothing to do starts no program and leaves every output untouched"


def _edits(bench: Bench, graph: Graph) -> str:
    """An edited source runs its stage, whose output changes, and the two that read that; no further, for their outputs
    stay the same. A touched one runs nothing, and an edit taken back restores."""
    names = set(graph.names())
    edited = graph.names()[42]
    source = graph.source(edited)
    original = source.read_text()
    readers = set(graph.readers(edited))
    changed = {edited, *readers}

    source.write_text("edited\n")
    expect("a run after an edit", outcomes(bench.pipe.path, graph.pipe), ran=changed, fresh=names - changed)
    if graph.output(edited).read_text() != "edited\n":
        raise Failed(f"the output of {edited} is stale")
    source.touch()
    expect("a run after a touch", outcomes(bench.pipe.path, graph.pipe), fresh=names)
    source.write_text(original)
    found = outcomes(bench.pipe.path, graph.pipe)
    if found["ran"] or edited not in found["restored"]:
        raise Failed(
            f"an edit taken back ran {sorted(found['ran'])} and restored {sorted(found['restored'])}"
        )
    if graph.output(edited).read_text() != original:
        raise Failed(f"the output of {edited} is not restored")
    return (
        f"after an edit of one source {len(changed)} stages ran, its own and the {len(readers)} that read its output, and no "
        "other; after a touch none; with the edit taken back none, its outputs were restored"
    )
