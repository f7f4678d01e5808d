"""Training TinyNet on a CPU: ours against PyTorch, as notebooks have it and at its best. The same network, images, batch size
and augmentation."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, Spread, peak_memory, run
from harness.metrics import latest

PEER = Path(__file__).resolve().parents[1] / "harness" / "training_peer.py"
BATCH = 128
STEPS = 100
"""Of each process and round: an epoch of ours."""
KEEP_BLOCKS = ["MALLOC_MMAP_THRESHOLD_=4294967296", "MALLOC_TRIM_THRESHOLD_=17179869184"]
"""For glibc, which otherwise gives every large block back to the system and clears it anew: half of an eager step."""


@dataclass(frozen=True)
class Contender:
    """Who trains."""

    name: str
    command: Command


def measure(bench: Bench) -> Result:
    if not bench.datasets:
        raise Failed("training wants `--dataset FILE.safetensors`, which data/download made")
    dataset = bench.datasets[0].resolve()
    python = peers.torch(bench.tools)
    peers.plugins(bench.pipe, "pipe-torch")
    rounds, steps, threads = bench.rounds_or(1, 5), bench.pick(3, STEPS), os.cpu_count()
    pipeline = _pipeline(bench, dataset, steps)

    def torch(name: str, setting: str, *environment: str) -> Contender:
        argv = ["env", *environment, python.path, PEER, setting, dataset, str(steps), str(threads)]
        return Contender(name, Command(name, argv, bench.scratch))

    ours = Contender("pipe, torch/train", Command("pipe run", [bench.pipe.path, "run", "--force", "train"], pipeline))
    contenders = [
        ours,
        torch("PyTorch, as in a notebook", "notebook"),
        torch("PyTorch at its best", "best", *KEEP_BLOCKS),
    ]
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    peaks = {contender.name: peak_memory(contender.command) for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            printed = run(contender.command)
            speed = latest(bench.pipe, pipeline)["train.images_per_second"] if contender is ours else json.loads(printed)["images_per_second"]
            speeds[contender.name].append(speed)
        shown = "  ".join(f"{name} {each[-1]:,.0f} img/s" for name, each in speeds.items())
        print(f"  round {number}/{rounds}: {shown}", file=sys.stderr, flush=True)

    ratios = {
        contender.name: Spread.of([one / other for one, other in zip(speeds[ours.name], speeds[contender.name], strict=True)])
        for contender in contenders[1:]
    }
    lines = ["| | images a second | range | peak memory | ours is faster by |", "|---|--:|--:|--:|--:|"]
    for name, each in speeds.items():
        spread, ratio = Spread.of(each), ratios.get(name)
        faster = f"×{page.factor(ratio.median)} (×{page.factor(ratio.least)} to ×{page.factor(ratio.most)})" if ratio else ""
        lines.append(
            f"| {name} | {spread.median:,.0f} | {spread.least:,.0f}–{spread.most:,.0f} | {page.size(peaks[name])} | {faster} |"
        )
    notebook, best = (ratios[contender.name].median for contender in contenders[1:])
    least = min(peaks[contender.name] for contender in contenders[1:])
    parts = [
        f"TinyNet on `{dataset.name}`, {BATCH} images a step, {steps} steps a process, {threads} threads, 32-bit floats; reading, "
        "augmenting and normalising included, loading the file, compiling and the first ten steps of PyTorch not. As in a "
        "notebook: a DataLoader with two workers, eager, channel by channel, glibc as it is. At its best: compiled, channels "
        "last, batches augmented whole, glibc told to keep large blocks.",
        "\n".join(lines),
        "\n\n".join(
            [
                page.verdict(f"at least 3 times as fast as the notebook's loop (×{page.factor(notebook)})", notebook >= 3),
                page.verdict(f"at least 1.3 times as fast as PyTorch at its best (×{page.factor(best)})", best >= 1.3),
                page.verdict(f"in no more memory ({page.size(peaks[ours.name])} against {page.size(least)})", peaks[ours.name] <= least),
            ]
        ),
    ]
    return Result("Training", parts, [python], rounds, {"images_per_second": speeds, "peak_bytes": peaks})


def _pipeline(bench: Bench, dataset: Path, steps: int) -> Path:
    """The project's own recipe for TinyNet with PyTorch's settings of the peer, an epoch of so many steps."""
    folder = bench.scratch / "ours"
    folder.mkdir()
    network = (peers.ROOT / "pipeline.yaml").read_text().split("      network:\n")[1].split("      epochs:")[0]
    network = network.replace('"${vars.dropout}"', "0.1")
    held_out = _training_images(dataset) - steps * BATCH
    (folder / "pipeline.yaml").write_text(
        f"version: 1\nname: training\nstages:\n  train:\n    uses: torch/train\n    inputs: {{ dataset: {dataset} }}\n    with:\n"
        f"      network:\n{network}      epochs: 1\n      batch_size: {BATCH}\n      validation: {held_out}\n"
        "      select_on: last\n      device: cpu\n"
    )
    return folder


def _training_images(dataset: Path) -> int:
    with dataset.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length))["train.labels"]["shape"][0]

