"""The notebook's TinyNet beside one of the same size that is made for INT8: `examples/int8`, trained by one recipe, on the same
images, each quantized and timed against its own FP32 form."""

import os
import shutil
import sys

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, run
from harness.metrics import latest

EXAMPLE = peers.ROOT / "examples" / "int8" / "pipeline.yaml"
EPOCHS = 8
ROUNDS = 7
"""As the example has it."""
NETWORKS = {"notebook": "the notebook's", "made": "made for INT8"}
STAGES = {"notebook": "notebook", "made": "int8"}
"""Name in the bench stage → end of the names of the network's stages."""


def measure(bench: Bench) -> Result:
    if bench.images is None:
        raise Failed("int8-network wants `--images ARCHIVE`, labelled images in the layout of `image-folder`")
    peers.plugins(bench.pipe, "pipe-torch")
    epochs = bench.pick(1, EPOCHS)
    # Beside the scratch folder, so that a second run trains nothing anew.
    cache = bench.scratch.parent / "int8-network-cache"
    shutil.copy(EXAMPLE, bench.scratch / "pipeline.yaml")
    variables = [f"source={bench.images.resolve()}", "format=image-folder", f"epochs={epochs}"]
    settings = [part for variable in variables for part in ("--set", variable)]
    argv = [bench.pipe.path, "run", "--cache", cache, *settings]
    print("  training, unless it is in the cache", file=sys.stderr, flush=True)
    run(Command("pipe run", argv, bench.scratch))
    # With nothing else at work; and once more, so that the latest run has everything.
    for more in (["--force", "bench"], []):
        run(Command("pipe run", [*argv, *more], bench.scratch))
    metrics = latest(bench.pipe, bench.scratch, "--cache", cache)

    speeds = {name: {b: metrics[f"bench.{name}_int8.batch{b}.median_ms"] for b in (1, 128)} for name in NETWORKS}
    floats = {name: {b: metrics[f"bench.{name}_fp32.batch{b}.median_ms"] for b in (1, 128)} for name in NETWORKS}
    accuracy = {
        (name, form): metrics[f"evaluate_{STAGES[name]}.{form}.accuracy"] for name in NETWORKS for form in ("fp32", "int8")
    }
    sizes = {name: metrics[f"evaluate_{STAGES[name]}.int8.size_kb"] for name in NETWORKS}
    ratio = {name: {b: floats[name][b] / speeds[name][b] for b in (1, 128)} for name in NETWORKS}
    lines = [
        "| network | INT8 size | FP32 accuracy | INT8 accuracy | INT8 batch 1 | INT8 batch 128 |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, title in NETWORKS.items():
        times = [f"{speeds[name][b]:.3g} ms (×{ratio[name][b]:.3g} of its FP32)" for b in (1, 128)]
        lines.append(
            f"| {title} | {sizes[name]:.1f} KB | {accuracy[name, 'fp32']:.2f} % | {accuracy[name, 'int8']:.2f} % | {' | '.join(times)} |"
        )
    made = ratio["made"]
    parts = [
        f"`examples/int8`: both networks trained for {epochs} epochs by the same recipe (seed 42) on the 45,000 training images of "
        f"`{bench.images.name}` that are not held out for validation, the best epoch of which is taken; tested on all 10,000 test "
        "images. Latencies are medians over rounds in which FP32 and INT8 of both take turns, each in a process of its own, with "
        f"{os.cpu_count()} threads.",
        "\n".join(lines),
        "\n\n".join(
            [
                page.verdict(f"made for INT8: at most 100 KB ({sizes['made']:.1f})", sizes["made"] * 1024 <= 100_000),
                page.verdict(f"at least 2.5 times its FP32's speed at batch 128 (×{made[128]:.3g})", made[128] >= 2.5),
                page.verdict(f"at least 1.5 times at batch 1 (×{made[1]:.3g})", made[1] >= 1.5),
                page.verdict(
                    "faster than the notebook's network in INT8: "
                    + ", ".join(f"×{speeds['notebook'][b] / speeds['made'][b]:.3g} at batch {b}" for b in (1, 128)),
                    all(speeds["made"][b] < speeds["notebook"][b] for b in (1, 128)),
                ),
                page.verdict(
                    f"no less accurate than the notebook's: {accuracy['made', 'int8']:.2f} % against "
                    f"{accuracy['notebook', 'int8']:.2f} %",
                    accuracy["made", "int8"] >= accuracy["notebook", "int8"],
                ),
            ]
        ),
    ]
    return Result("A network made for INT8", parts, [], ROUNDS, metrics)

