"""What the pipeline's recipe comes to beside the notebook's: TinyNet trained by both for ten epochs, and by ours for five."""

import json
import math
import re
import sys
from collections.abc import Iterable
from statistics import fmean

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, run
from harness.metrics import latest

EPOCHS = 10
SEED = 42
"""Of the first training; `--rounds` says with how many seeds."""
HELD_OUT = 5000
"""Training images that choose the epoch, as pipeline.yaml has it."""
TRAINED_ON = 45_000
TESTED = 10_000
"""Training images that do not, and test images."""
BLOCKS = [(24, 48, 1), (24, 48, 1), (32, 72, 2), (32, 72, 1), (48, 96, 2), (48, 96, 1), (64, 128, 2)]
"""TinyNet's, as pipeline.yaml has them: channels, channels within, stride."""
NOTEBOOK = {
    "lr": 0.05,
    "schedule": "cosine",
    "warmup": 0,
    "nesterov": False,
    "decay_norms": True,
    "muon": None,
    "augment": {"crop_padding": 4, "flip": True},
}
"""The notebook's recipe, where it differs from the pipeline's; and a dropout of 0.1."""


def measure(bench: Bench, epochs: int = EPOCHS) -> Result:
    epochs = bench.pick(2, epochs)
    seeds = range(SEED, SEED + bench.rounds_or(1, 1))
    trainings = {
        "notebook": ("the notebook's", epochs, NOTEBOOK, 0.1),
        "ours": ("the pipeline's", epochs, {}, 0),
        "half": ("the pipeline's", epochs // 2, {}, 0),
    }
    stages = [
        train(f"{name}_{seed}", recipe(length, {**changes, "seed": seed}, dropout))
        + f"  test_{name}_{seed}:\n    uses: torch/evaluate\n    inputs: {{ dataset: download.dataset, weights: {name}_{seed}.weights }}\n"
        + "    with: { device: cpu }\n"
        for seed in seeds
        for name, (_, length, changes, dropout) in trainings.items()
    ]
    metrics = trained(bench, stages)
    each = {name: [metrics[f"test_{name}_{seed}.accuracy"] for seed in seeds] for name in trainings}
    accuracy = {name: fmean(found) for name, found in each.items()}
    minutes = {
        name: fmean(TRAINED_ON * length / metrics[f"{name}_{seed}.images_per_second"] for seed in seeds) / 60
        for name, (_, length, _, _) in trainings.items()
    }
    lines = ["| recipe | epochs | accuracy | best epoch | training took |", "|---|--:|--:|--:|--:|"]
    for name, (title, length, _, _) in trainings.items():
        best = ", ".join(f"{metrics[f'{name}_{seed}.best_epoch']:.0f}" for seed in seeds)
        by_seed = f" ({', '.join(f'{found:.2f}' for found in each[name])})" if len(seeds) > 1 else ""
        lines.append(f"| {title} | {length} | {accuracy[name]:.2f} %{by_seed} | {best} | {minutes[name]:.1f} min |")
    parts = [
        f"TinyNet on the {TRAINED_ON:,} training images of `{bench.images.name}` that are not held out; the best of the epochs by the 5,000 "
        f"held out is tested, once, on all {TESTED:,} test images. {seeds_named(seeds)}. On a CPU, where the outcome does not depend on "
        "threads. The time is that of the steps, without validation, on a machine that may have done other things as well. ±: half of the 95 % interval of a difference, as "
        "if both had test images of their own; how seeds differ is not in it.",
        "\n".join(lines),
        "\n\n".join(
            [
                page.verdict(
                    f"after {epochs} epochs at least one point better than the notebook's "
                    f"({apart(accuracy['ours'], accuracy['notebook'], TESTED)})",
                    accuracy["ours"] >= accuracy["notebook"] + 1,
                ),
                page.verdict(
                    f"after half the epochs as good as the notebook's ({apart(accuracy['half'], accuracy['notebook'], TESTED)})",
                    accuracy["half"] >= accuracy["notebook"],
                ),
            ]
        ),
    ]
    return Result(f"Recipes, {epochs} epochs", parts, [], len(seeds), metrics)


def apart(one: float, other: float, images: int) -> str:
    """The difference of two accuracies in percent, each of so many images, and how far from it the true one may be."""
    return f"{one - other:+.2f} ± {margin((one, other), images):.2f}"


def margin(accuracies: Iterable[float], images: int) -> float:
    """Half of the 95 % interval of a difference of two such accuracies, in points, the widest for any two of them. Both as if of
    images of their own: errors on the same images go together, so it is rather too wide; how seeds differ is not in it."""
    return max(1.96 * math.sqrt(2 * accuracy * (100 - accuracy) / images) for accuracy in accuracies)


def seeds_named(seeds: range) -> str:
    """In words, for a section."""
    return f"Seed {seeds[0]}" if len(seeds) == 1 else f"Mean over seeds {', '.join(map(str, seeds))}"


def train(name: str, params: dict, teacher: str | None = None) -> str:
    """A stage."""
    taught = f", teacher: {teacher}.weights" if teacher else ""
    return f"  {name}:\n    uses: torch/train\n    inputs: {{ dataset: download.dataset{taught} }}\n    with: {json.dumps(params)}\n"


def trained(bench: Bench, stages: list[str]) -> dict[str, float]:
    """Metrics of the stages, which are run unless they are in the cache."""
    if bench.images is None:
        raise Failed("recipes want `--images ARCHIVE`, labelled images in the layout of `image-folder`")
    peers.plugins(bench.pipe, "pipe-torch")
    (bench.scratch / "pipeline.yaml").write_text(
        "version: 1\nname: recipes\nstages:\n  download:\n    uses: data/download\n"
        f"    with: {{ source: {bench.images.resolve()}, format: image-folder }}\n" + "".join(stages)
    )
    # Beside the scratch folder, so that a second run trains nothing anew.
    cache = bench.scratch.parent / "recipe-cache"
    print("  training, unless it is in the cache", file=sys.stderr, flush=True)
    run(Command("pipe run", [bench.pipe.path, "run", "--cache", cache], bench.scratch))
    return latest(bench.pipe, bench.scratch, "--cache", cache)


def recipe(epochs: int, changes: dict, dropout: float = 0, widening: int = 1) -> dict:
    """The params of `train` in the project's own pipeline, with its vars put in, and `changes`; the network's channels
    `widening` times as many."""
    text = (peers.ROOT / "pipeline.yaml").read_text()
    layers = [
        {"conv": {"out": 16 * widening, "kernel": 3, "norm": "batch", "activation": "relu6", "name": "stem"}},
        *[
            {"inverted_residual": {"out": out * widening, "expand": expand * widening, "stride": stride, "se": 4}}
            for out, expand, stride in BLOCKS
        ],
        {"global_average_pool": {}},
        {"dropout": {"p": dropout}},
        {"linear": {}},
    ]
    ours = {
        "batch_size": int(_var(text, "batch_size")),
        "lr": float(_var(text, "lr")),
        "schedule": _var(text, "schedule"),
        "warmup": float(_var(text, "warmup")),
        "momentum": float(_var(text, "momentum")),
        "nesterov": _var(text, "nesterov") == "true",
        "weight_decay": float(_var(text, "weight_decay")),
        "decay_norms": _var(text, "decay_norms") == "true",
        "label_smoothing": float(_var(text, "label_smoothing")),
        "muon": json.loads(re.sub(r"(\w+):", r'"\1":', _var(text, "muon"))),
        "augment": {"crop_padding": 4, "flip": "alternating"},
    }
    for name, wanted in {"ema": "null", "clip_grad": "null", "dropout": "0", "validation": str(HELD_OUT), "select_on": "validation"}.items():
        if _var(text, name) != wanted:
            raise Failed(f"`{name}` of pipeline.yaml is {_var(text, name)}, which this script does not have")
    if "augment: { crop_padding: 4, flip: alternating }" not in text:
        raise Failed("the augmentation of pipeline.yaml is another than this script has")
    lines = [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().startswith("- inverted_residual")]
    if lines != [f"inverted_residual: {{ out: {out}, expand: {expand}, stride: {stride}, se: 4 }}" for out, expand, stride in BLOCKS]:
        raise Failed("the network of pipeline.yaml is another than this script has")
    network = {"input": [3, 32, 32], "layers": layers}
    return {"network": network, "epochs": epochs, "seed": SEED, "device": "cpu", **ours, **changes}


def _var(text: str, name: str) -> str:
    """A var of the pipeline, without its comment."""
    line = next(line for line in text.splitlines() if line.startswith(f"  {name}: "))
    return line.split(": ", 1)[1].split(" #")[0].strip()

