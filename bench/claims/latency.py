"""Latency as `onnx/bench` measures it, beside a plain loop in Python over the same models, in the manner of
`onnxruntime_perf_test`: what ours has around a call must not show in its figures. The same ONNX Runtime, session options,
input shape and numbers of threads, a process for each measurement, in turn."""

import json
import os
import random
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, Spread, run
from harness.metrics import latest

PEER = Path(__file__).resolve().parents[1] / "harness" / "int8_peer.py"
BATCHES = {1: 400, 128: 15}
"""Batch size → timed calls in a round."""
CLOSE = 0.05
"""Share by which the medians may differ."""
PIPELINE = """\
version: 1
name: latency
stages:
  bench:
    uses: onnx/bench
    inputs: {inputs}
    with:
      batches: {batches}
      calls: {calls}
      warmup_calls: {warmup_calls}
      threads: {threads}
      rounds: 1
      max_others: 1000000
"""
"""A round each time it runs, and nothing measured again: the peer does not do that either."""


@dataclass(frozen=True)
class Case:
    """What is timed."""

    model: str
    batch: int
    threads: int

    def metric(self, cores: int) -> str:
        """Name of ours in the record of a run; without a number of threads where they are the stage's."""
        threads = "" if self.threads == cores else f".threads{self.threads}"
        return f"bench.{self.model}.batch{self.batch}{threads}.median_ms"


def measure(bench: Bench) -> Result:
    if not bench.models:
        raise Failed("latency wants `--model FILE.onnx`, and `--int8 FILE.onnx` to time another form of it, too")
    models = {"fp32": bench.only(bench.models, "--model")}
    if bench.int8 is not None:
        models["int8"] = bench.int8.resolve()
    python = peers.onnxruntime(bench.tools)
    peers.plugins(bench.pipe)
    cores = len(os.sched_getaffinity(0))
    rounds = bench.rounds_or(2, 15)
    calls = {batch: bench.pick(3, count) for batch, count in BATCHES.items()}
    cases = [Case(model, batch, threads) for threads in sorted({1, cores}) for model in models for batch in BATCHES]
    project = _project(bench, models, calls, sorted({1, cores}))
    order = random.Random(0)
    ours: dict[Case, list[float]] = {case: [] for case in cases}
    theirs: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(1, rounds + 1):
        print(f"  round {number}/{rounds}", file=sys.stderr, flush=True)

        def by_pipe() -> None:
            run(Command("pipe run", [bench.pipe.path, "run", "--force", "bench"], project))
            metrics = latest(bench.pipe, project)
            for case in cases:
                ours[case].append(metrics[case.metric(cores)])

        def by_python() -> None:
            for case in order.sample(cases, len(cases)):
                argv = [python.path, PEER, "latency", models[case.model], str(case.batch), str(calls[case.batch]), str(case.threads)]
                taken = json.loads(run(Command("latency", argv, bench.scratch)))
                theirs[case].append(statistics.median(taken))

        for one in (by_pipe, by_python) if number % 2 else (by_python, by_pipe):
            one()

    files = ", ".join(f"{name} is `{path.name}` ({page.size(path.stat().st_size)})" for name, path in models.items())
    parts = [
        f"{files}. Each round: `pipe run` times every row once, and Python does, by turns first; the median of {calls[1]} calls at batch 1 and of "
        f"{calls[128]} at batch 128, after a warm-up. Medians over {rounds} rounds.",
        table(ours, theirs),
        "\n\n".join(verdicts(ours, theirs)),
    ]
    raw = [
        {"model": case.model, "batch": case.batch, "threads": case.threads, "pipe_ms": ours[case], "python_ms": theirs[case]}
        for case in cases
    ]
    return Result("Latency", parts, [python], rounds, raw)


def table(ours: dict[Case, list[float]], theirs: dict[Case, list[float]]) -> str:
    lines = ["| model | batch | threads | pipe | Python | pipe / Python, by round |", "|---|--:|--:|--:|--:|--:|"]
    for case, times in ours.items():
        ratio = Spread.of([one / other for one, other in zip(times, theirs[case], strict=True)])
        lines.append(
            f"| {case.model} | {case.batch} | {case.threads} | {_milliseconds(times)} | {_milliseconds(theirs[case])} "
            f"| ×{page.factor(ratio.median)} (×{page.factor(ratio.low_quartile)} to ×{page.factor(ratio.high_quartile)}) |"
        )
    return "\n".join(lines)


def verdicts(ours: dict[Case, list[float]], theirs: dict[Case, list[float]]) -> list[str]:
    """A line for each batch size: whether all medians agree, and the one that does least."""
    lines = []
    for batch in BATCHES:
        apart = {
            case: statistics.median(times) / statistics.median(theirs[case]) - 1
            for case, times in ours.items()
            if case.batch == batch
        }
        worst = max(apart, key=lambda case: abs(apart[case]))
        lines.append(
            page.verdict(
                f"medians within {100 * CLOSE:.0f} % of Python's at batch {batch}: at most {100 * apart[worst]:+.1f} % "
                f"({worst.model}, threads {worst.threads})",
                abs(apart[worst]) <= CLOSE,
            )
        )
    return lines


def _milliseconds(times: list[float]) -> str:
    spread = Spread.of(times)
    return f"{spread.median:.3g} ms ({spread.low_quartile:.3g} to {spread.high_quartile:.3g})"


def _project(bench: Bench, models: dict[str, Path], calls: dict[int, int], threads: list[int]) -> Path:
    folder = bench.scratch / "ours"
    folder.mkdir()
    text = PIPELINE.format(
        inputs=json.dumps({name: str(path) for name, path in models.items()}),
        batches=list(calls),
        calls=list(calls.values()),
        warmup_calls=[bench.pick(1, 50), bench.pick(1, 3)],
        threads=threads,
    )
    (folder / "pipeline.yaml").write_text(text)
    return folder
