"""What each part of the pipeline's recipe is worth, and what was tried beside it: TinyNet trained with one thing changed."""

from statistics import fmean

from harness.bench import Bench, Result

from claims.recipe import HELD_OUT, SEED, margin, recipe, seeds_named, train, trained

EPOCHS = 5
CHANGES: dict[str, tuple[str, dict]] = {
    "random_flip": ("flips at random instead of by turns", {"augment": {"crop_padding": 4, "flip": True}}),
    "decay_all": ("weight decay on normalisations and biases, too", {"decay_norms": True}),
    "plain_momentum": ("momentum without Nesterov's", {"nesterov": False}),
    "cosine": ("a cosine to zero instead of a line", {"schedule": "cosine"}),
    "no_warmup": ("no warm-up", {"warmup": 0}),
    "descent": ("convolutions learn by gradient descent, too, not by Muon", {"muon": None}),
    "more_muon": ("Muon turns by twice as much, `muon.lr` 0.04", {"muon": {"lr": 0.04, "momentum": 0.9}}),
    "low_lr": ("the notebook's learning rate, 0.05", {"lr": 0.05}),
    "ema": ("a running average of the weights, 0.99", {"ema": 0.99}),
    "hard_labels": ("no label smoothing", {"label_smoothing": 0}),
    "bfloat16": ("steps in bfloat16, by libtorch", {"precision": "bfloat16"}),
}
"""What differs from the pipeline's recipe."""
DROPOUT = 0.1
WIDENING = 2
"""Channels of the teacher, by those of TinyNet."""


def measure(bench: Bench) -> Result:
    epochs, seeds = bench.pick(1, EPOCHS), range(SEED, SEED + bench.rounds_or(1, 1))
    titles = {
        "as_it_is": "the pipeline's recipe",
        **{name: title for name, (title, _) in CHANGES.items()},
        "dropout": f"dropout of {DROPOUT}",
        "taught": f"taught by a network with {WIDENING} times its channels (weight 0.9, temperature 4)",
        "teacher": "that network itself",
    }
    stages = []
    for seed in seeds:
        def stage(name: str, changes: dict, dropout: float = 0, widening: int = 1, teacher: str | None = None) -> str:
            params = recipe(epochs, {**changes, "seed": seed}, dropout, widening)
            return train(f"{name}_{seed}", params, teacher)

        stages += [
            stage("as_it_is", {}),
            *[stage(name, changes) for name, (_, changes) in CHANGES.items()],
            stage("dropout", {}, DROPOUT),
            stage("teacher", {}, widening=WIDENING),
            stage("taught", {}, teacher=f"teacher_{seed}"),
        ]
    metrics = trained(bench, stages)
    accuracy = {name: fmean(metrics[f"{name}_{seed}.val_accuracy"] for seed in seeds) for name in titles}
    lines = ["| with | validation accuracy | difference |", "|---|--:|--:|"]
    for name, title in titles.items():
        difference = "" if name == "as_it_is" else f"{accuracy[name] - accuracy['as_it_is']:+.2f}"
        lines.append(f"| {title} | {accuracy[name]:.2f} % | {difference} |")
    parts = [
        f"TinyNet after {epochs} epochs on the 45,000 training images of `{bench.images.name}` that are not held out, one thing "
        f"changed in each row but the last; accuracy on the 5,000 held out, of the best epoch. {seeds_named(seeds)}. "
        "Test images were not looked at. A difference of less than "
        f"{margin(accuracy.values(), HELD_OUT):.1f} points says little: that is half of its 95 % interval, as if both had other images.",
        "\n".join(lines),
    ]
    return Result(f"What the recipe is made of, {epochs} epochs", parts, [], len(seeds), metrics)
