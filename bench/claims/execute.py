"""10,000 trivial stages from nothing, two at a time, against ninja. Also checks that every output and log is kept."""

import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import run as execute

from harness import page, peers
from harness.bench import Bench, Result
from harness.graph import Graph, Work
from harness.measure import ENVIRONMENT, Command, Failed, alternate, ratios
from harness.outcome import expect, outcomes

JOBS = "-j2"


def measure(bench: Bench) -> Result:
    ninja = peers.ninja()
    rounds = bench.rounds_or(2, 7)
    graph = Graph(bench.scratch, bench.pick(200, 10_000), Work.COPY)
    graph.write()

    def forget() -> None:
        graph.forget()
        # What the last round left to be written to disk is not this one's burden.
        os.sync()

    commands = [Command(f"pipe run {JOBS}", [bench.pipe.path, "run", JOBS], graph.pipe, before=forget)]
    if ninja is not None:
        commands.append(Command(f"ninja {JOBS}", [ninja.path, JOBS], graph.ninja, before=forget))
    measured = alternate(commands, rounds)
    graph.forget()
    expect("a run from nothing", outcomes(bench.pipe.path, graph.pipe, JOBS), ran=set(graph.names()))
    checks = [_outputs(bench, graph), _logs(bench, graph)]

    parts = [
        f"{graph.stages:,} command stages (`{Work.COPY.value.format(src='source', out='output')}`) in layers of 100, two at a time, with "
        "neither cache nor outputs at the start of any round. `pipe` hashes and keeps every output and log; `ninja` keeps neither.",
        page.table(measured),
    ]
    if ninja is not None:
        median = ratios(measured[0], measured[1]).median
        parts.append(page.ratio(measured[0], measured[1]))
        parts.append(page.verdict("no slower than 1.3 times ninja: median ratio ≤ 1.3", median <= 1.3))
    parts.append("Checked in the same run: " + "; ".join(checks) + ".")
    raw = {one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in measured}
    return Result(f"Executing {graph.stages:,} stages", parts, [ninja] if ninja else [], rounds, raw)


def _outputs(bench: Bench, graph: Graph) -> str:
    """Without artifacts, all of them come back from the cache."""
    shutil.rmtree(graph.pipe / "artifacts")
    expect("a run without artifacts", outcomes(bench.pipe.path, graph.pipe), restored=set(graph.names()))
    for name in graph.names():
        if graph.output(name).read_bytes() != graph.source(name).read_bytes():
            raise Failed(f"the restored output of {name} is not what it was")
    return f"with all artifacts deleted a run executed nothing and restored all {graph.stages:,} outputs, each byte for byte"


def _logs(bench: Bench, graph: Graph) -> str:
    """`pipe log` prints what each stage said: the name of its source."""
    print(f"  reading {graph.stages:,} logs", file=sys.stderr)

    def log(name: str) -> str:
        said = execute(
            [bench.pipe.path, "log", name], cwd=graph.pipe, env=ENVIRONMENT, capture_output=True, check=False
        )
        return said.stdout.decode()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, said in zip(graph.names(), pool.map(log, graph.names()), strict=False):
            if f"src/{name}" not in said:
                raise Failed(f"`pipe log {name}` prints {said!r}")
    return f"`pipe log` printed what each of the {graph.stages:,} stages had said"
