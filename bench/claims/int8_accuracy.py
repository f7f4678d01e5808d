"""Accuracy of INT8 over several FP32 models: ours beside Python's `onnxruntime.quantization`. One model's test images hardly tell
apart settings that lose a hundredth of a point."""

import math
from pathlib import Path
from statistics import fmean

from harness import page, peers
from harness.bench import Bench, Result

from claims.int8 import DEFAULT, IMAGES, SEED, Difference, by_draw, digest, drawn_figures, points_by_image, subjects


def measure(bench: Bench) -> Result:
    python = peers.onnxruntime(bench.tools)
    peers.plugins(bench.pipe)
    measured = [(subject, *by_draw(bench, subject, python.path)) for subject in subjects(bench)]
    variants = measured[0][1]
    # By variant, then model: the mean over draws, as a difference to FP32; and how often it says what FP32 says.
    lost, agrees = (
        {
            variant.name: [
                fmean(drawn_figures(draws, variant, what)) - (base["accuracy"] if what == "accuracy" else 0)
                for _, _, base, draws in measured
            ]
            for variant in variants
        }
        for what in ("accuracy", "agreement")
    )
    models = "\n".join(
        f"- {at}: `{subject.model.name}` (sha256 {digest(subject.model)}), FP32 {base['accuracy']:.2f} % of {base['images']:,} test "
        f"images of `{subject.dataset.name}` (sha256 {digest(subject.dataset)})"
        for at, (subject, _, base, _) in enumerate(measured, 1)
    )
    columns = [f"{at}" for at in range(1, len(measured) + 1)]
    lines = [
        f"| points from FP32, model | {' | '.join(columns)} | all | as FP32 says, all |",
        f"|---|{'--:|' * (len(columns) + 2)}",
    ]
    for variant in variants:
        each = " | ".join(f"{points:+.2f}" for points in lost[variant.name])
        lines.append(f"| {variant.name} | {each} | {fmean(lost[variant.name]):+.3f} | {fmean(agrees[variant.name]):.2f} % |")
    rivals = [variant.name for variant in variants if not variant.ours and variant.calibrated]
    default, rival = f"ours, {DEFAULT}", max(rivals, key=lambda name: fmean(lost[name]))
    own, best = fmean(lost[default]), fmean(lost[rival])
    own_agrees, best_agrees = fmean(agrees[default]), max(fmean(agrees[name]) for name in rivals)
    apart = _over_models(measured, default, rival)
    parts = [
        f"Calibrated on {IMAGES} training images, the same for both, drawn {len(measured[0][3])} times with seeds from {SEED} on; "
        "tested on all test images of:",
        models,
        "\n".join(lines),
        "\n\n".join(
            [
                page.verdict(
                    "our default is at least as accurate as the Python tool's best, in the mean over models and draws: "
                    f"{own:+.3f} points from FP32 against {best:+.3f}, {apart}",
                    own >= best,
                ),
                page.verdict(
                    f"it says what FP32 says at least as often: {own_agrees:.2f} % of the images against {best_agrees:.2f} %",
                    own_agrees >= best_agrees,
                ),
            ]
        ),
    ]
    raw = {str(at): [base, draws] for at, (_, _, base, draws) in enumerate(measured, 1)}
    return Result("INT8, accuracy over several models", parts, [python], len(measured[0][3]), raw)


def _over_models(measured: list, one: str, other: str) -> Difference:
    """In the mean over models. Those that are tested on the same images count as one, in which an image has the mean of its points."""
    by_images: dict[Path, list[list[float]]] = {}
    for subject, _, base, draws in measured:
        points = points_by_image(draws, base["images"], one, other)
        by_images.setdefault(subject.dataset, []).append(points)
    groups = [
        (len(models) / len(measured), Difference.of([fmean(points) for points in zip(*models, strict=True)]))
        for models in by_images.values()
    ]
    return Difference(
        sum(share * group.points for share, group in groups), math.hypot(*(share * group.margin for share, group in groups))
    )
