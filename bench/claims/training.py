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

from claims.recipe import recipe

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
    dataset = bench.only(bench.datasets, "--dataset")
    python = peers.torch(bench.tools)
    peers.plugins(bench.pipe, "pipe-torch")
    rounds, steps, threads = bench.rounds_or(1, 5), bench.pick(3, STEPS), os.cpu_count()

    def torch(name: str, setting: str, *environment: str) -> Contender:
        argv = ["env", *environment, python.path, PEER, setting, dataset, str(steps), str(threads)]
        return Contender(name, Command(name, argv, bench.scratch))

    def pipe(name: str, folder: str, params: dict) -> Contender:
        project = _pipeline(bench, folder, dataset, steps, params)
        return Contender(name, Command("pipe run", [bench.pipe.path, "run", "--force", "train"], project))

    # The peer's settings are those of the op where nothing is said.
    ours = pipe("pipe, torch/train", "plain", {"network": recipe(1, {}, dropout=0.1)["network"], "device": "cpu"})
    ours_by_recipe = pipe("pipe, torch/train by the recipe of pipeline.yaml", "recipe", recipe(1, {}))
    contenders = [
        ours,
        ours_by_recipe,
        torch("PyTorch, as in a notebook", "notebook"),
        torch("PyTorch at its best", "best", *KEEP_BLOCKS),
    ]
    speeds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    peaks = {contender.name: peak_memory(contender.command) for contender in contenders}
    for number in range(1, rounds + 1):
        for contender in contenders:
            printed = run(contender.command)
            is_pipe = contender in (ours, ours_by_recipe)
            found = latest(bench.pipe, contender.command.cwd) if is_pipe else json.loads(printed)
            speeds[contender.name].append(found["train.images_per_second" if is_pipe else "images_per_second"])
        shown = "  ".join(f"{name} {each[-1]:,.0f} img/s" for name, each in speeds.items())
        print(f"  round {number}/{rounds}: {shown}", file=sys.stderr, flush=True)

    ratios = {
        contender.name: Spread.of([one / other for one, other in zip(speeds[ours.name], speeds[contender.name], strict=True)])
        for contender in contenders
        if contender is not ours
    }
    lines = ["| | images a second | range | peak memory | the first is faster by |", "|---|--:|--:|--:|--:|"]
    for name, each in speeds.items():
        spread, ratio = Spread.of(each), ratios.get(name)
        faster = f"×{page.factor(ratio.median)} (×{page.factor(ratio.least)} to ×{page.factor(ratio.most)})" if ratio else ""
        lines.append(
            f"| {name} | {spread.median:,.0f} | {spread.least:,.0f}–{spread.most:,.0f} | {page.size(peaks[name])} | {faster} |"
        )
    peer_names = [contender.name for contender in contenders[2:]]
    notebook, best = (ratios[name].median for name in peer_names)
    least = min(peaks[name] for name in peer_names)
    parts = [
        f"TinyNet on `{dataset.name}`, {BATCH} images a step, {steps} steps a process, {threads} threads, 32-bit floats; reading, "
        "augmenting and normalising included, loading the file, compiling and the first ten steps of PyTorch not. As in a "
        "notebook: a DataLoader with two workers, eager, channel by channel, glibc as it is. At its best: compiled, channels "
        "last, batches augmented whole, glibc told to keep large blocks. All by plain SGD but the second row, which is what `pipe run` "
        "does: its convolutions learn by Muon.",
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


def _pipeline(bench: Bench, folder: str, dataset: Path, steps: int, params: dict) -> Path:
    """A project that trains by `params` for one epoch of so many steps."""
    project = bench.scratch / folder
    project.mkdir()
    held_out = _training_images(dataset) - steps * BATCH
    shortened = {**params, "epochs": 1, "batch_size": BATCH, "validation": held_out, "select_on": "last"}
    (project / "pipeline.yaml").write_text(
        f"version: 1\nname: training\nstages:\n  train:\n    uses: torch/train\n    inputs: {{ dataset: {dataset} }}\n"
        f"    with: {json.dumps(shortened)}\n"
    )
    return project


def _training_images(dataset: Path) -> int:
    with dataset.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(length))["train.labels"]["shape"][0]

