"""INT8 of one FP32 model by ours and by Python's `onnxruntime.quantization`: accuracy, size and latency of what comes out, time
and memory of making it. The same calibration images, the same test images, the same ONNX Runtime."""

import hashlib
import json
import math
import random
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, alternate, ratios, run

PEER = Path(__file__).resolve().parents[1] / "harness" / "int8_peer.py"
NORMALISATION = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.2023,0.1994,0.2010"]
IMAGES = 512
SEED = 42
DRAWS = 5
"""How often calibration images are drawn: which ones moves accuracy by as much as a setting does."""
FP32 = "FP32"
DEFAULT = "mse, weights rounded together"
"""What `pipe quantize` does where nothing else is named."""
BATCHES = {1: 400, 128: 15}
"""Batch size → timed calls in a round."""
DISTURBED = 1.25
"""A process is disturbed that took so many times as long as the fastest of the same model: machines that share a processor have
phases in which everything takes half as long again."""
AGAIN = 2
"""How often it is started again at most."""
PIPELINE = """\
version: 1
name: calibration
stages:
  calibrate:
    uses: onnx/calibrate
    inputs: {{ model: {model}, dataset: {dataset} }}
    with:
      images: {images}
      seed: {seed}
      normalization: {{ mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.2010] }}
"""


@dataclass(frozen=True)
class Subject:
    """An FP32 model, what it is calibrated and tested on, and where its INT8 forms go."""

    model: Path
    dataset: Path
    folder: Path


@dataclass(frozen=True)
class Variant:
    """An INT8 model."""

    name: str
    file: Path
    command: Command
    ours: bool

    @property
    def calibrated(self) -> bool:
        """Whether it depends on images."""
        return "dynamic" not in self.name


def measure(bench: Bench) -> Result:
    bench.only(bench.models, "--model")
    (subject,) = subjects(bench)
    model, dataset = subject.model, subject.dataset
    python = peers.onnxruntime(bench.tools)
    peers.plugins(bench.pipe)
    rounds = bench.rounds_or(2, 9)
    variants, base, accuracies = by_draw(bench, subject, python.path)
    # A latency may be disturbed for a whole process, which of many rounds the median survives.
    latencies = _latencies(bench, python.path, [model, *[variant.file for variant in variants]], 2 * rounds)
    made = {
        method: alternate([mine.command, peer.command], rounds)
        for method, mine, peer in (
            ("minmax", variants[4], variants[1]),
            ("entropy", variants[5], variants[2]),
            ("percentile", variants[6], variants[3]),
            ("default", variants[8], variants[2]),
        )
    }
    many = _ours(bench, subject, "entropy", "entropy", "--rounding", "nearest", images=bench.pick(600, 10_000)).command
    grown = alternate([many], 1)[0].peak_bytes

    parts = [
        f"`{model.name}` ({page.size(model.stat().st_size)}, sha256 {digest(model)}), calibrated on {IMAGES} training images of "
        f"`{dataset.name}` (sha256 {digest(dataset)}; the same images for both), tested on all {base['images']:,} test images: FP32 "
        f"has {base['accuracy']:.2f} %. Images were drawn {len(accuracies)} times, with seeds from {SEED} on: accuracy is the mean over "
        "draws, with its range, and so is how often a model takes an image for what FP32 takes it for, right or wrong; the difference to FP32 is that of the first draw, whose models are timed, too. Latency is that of ONNX Runtime with 2 threads, one "
        "process and one session alive at a time, in random order in each round, twice as many as below; a process that took a quarter longer than "
        f"the fastest of the same model, FP32 or not, is started again, {AGAIN} times at most, and the fastest counts; ×: FP32's median divided by the "
        "variant's.",
        _table(model, variants, accuracies, latencies),
        "**Calibrating and quantizing**: whole processes.",
        *[page.table(pair) + "\n\n" + page.ratio(*pair) for pair in made.values()],
        *_verdicts(variants, base["images"], accuracies, latencies, made, grown),
    ]
    raw = {
        "accuracy": [base, accuracies],
        "latency_ms": {str(batch): {path.name: found for path, found in each.items()} for batch, each in latencies.items()},
        "seconds": {method: [one.seconds for one in pair] for method, pair in made.items()},
        "peak_bytes": {method: [one.peak_bytes for one in pair] for method, pair in made.items()},
    }
    return Result("INT8", parts, [python], rounds, raw)


def subjects(bench: Bench) -> list[Subject]:
    """The models of the command line, each with its dataset."""
    if not bench.models or len(bench.models) != len(bench.datasets):
        raise Failed("INT8 wants `--model FILE.onnx --dataset FILE.safetensors`, a dataset for each model")
    pairs = zip(bench.models, bench.datasets, strict=True)
    found = [
        Subject(model.resolve(), dataset.resolve(), bench.scratch / f"{at}") for at, (model, dataset) in enumerate(pairs, 1)
    ]
    for subject in found:
        subject.folder.mkdir()
    return found


def by_draw(bench: Bench, subject: Subject, python: Path) -> tuple[list[Variant], dict, list[dict]]:
    """The variants of the first draw of calibration images, what FP32 reaches, and for each draw what each variant does, by its
    name."""
    variants = _variants(bench, subject, python, SEED)
    accuracies = []
    for seed in range(SEED, SEED + bench.pick(2, DRAWS)):
        # Dynamic quantization calibrates on nothing.
        drawn = (
            variants
            if seed == SEED
            else [variant for variant in _variants(bench, subject, python, seed) if variant.calibrated]
        )
        for variant in drawn:
            print(f"  {subject.model.name}: {variant.name}, images of seed {seed}", file=sys.stderr, flush=True)
            run(variant.command)
        argv = [python, PEER, "accuracy", subject.model, subject.dataset, *[variant.file for variant in drawn]]
        base, *found = json.loads(run(Command("accuracy", argv, subject.folder)))
        accuracies.append({FP32: base, **{variant.name: each for variant, each in zip(drawn, found, strict=True)}})
    return variants, base, accuracies


def _variants(bench: Bench, subject: Subject, python: Path, seed: int) -> list[Variant]:
    """All that is compared, calibrated on the images of a seed."""
    model, dataset = subject.model, subject.dataset
    indices = _indices(bench, subject, seed)

    def nearest(method: str) -> Variant:
        return _ours(bench, subject, method, method, "--rounding", "nearest", seed=seed)

    def theirs(name: str, setting: str) -> Variant:
        out = subject.folder / f"python-{setting}-{seed}.onnx"
        argv = [python, PEER, "quantize", model, dataset, indices, out, setting]
        return Variant(f"Python, {name}", out, Command(f"Python, {name}", argv, subject.folder), False)

    out = subject.folder / "ours-dynamic.onnx"
    dynamic = Command("pipe quantize, dynamic", [bench.pipe.path, "quantize", model, "-o", out, "--force", "--dynamic"], subject.folder)
    return [
        theirs("defaults (S8S8 per tensor, MinMax)", "defaults"),
        theirs("U8S8 per channel, MinMax", "minmax"),
        theirs("U8S8 per channel, Entropy", "entropy"),
        theirs("U8S8 per channel, Percentile", "percentile"),
        *[nearest(method) for method in ("minmax", "entropy", "percentile", "mse")],
        _ours(bench, subject, DEFAULT, "mse", seed=seed),
        _ours(bench, subject, "the same, per tensor", "mse", "--per-tensor", seed=seed),
        theirs("dynamic", "dynamic"),
        Variant("ours, dynamic", out, dynamic, True),
    ]


def _ours(
    bench: Bench, subject: Subject, name: str, method: str, *options: str, seed: int = SEED, images: int = IMAGES
) -> Variant:
    """`pipe quantize` with a calibration method."""
    out = subject.folder / f"ours-{name.replace(',', '').replace(' ', '-')}-{seed}-{images}.onnx"
    common = ["--data", subject.dataset, "--images", str(images), "--seed", str(seed), "--method", method, *NORMALISATION]
    argv = [bench.pipe.path, "quantize", subject.model, "-o", out, "--force", *common, *options]
    return Variant(f"ours, {name}", out, Command(f"pipe quantize, {name}", argv, subject.folder), True)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _indices(bench: Bench, subject: Subject, seed: int) -> Path:
    """Which training images ours draws, as a JSON list."""
    project = subject.folder / f"calibration-{seed}"
    project.mkdir()
    text = PIPELINE.format(model=subject.model, dataset=subject.dataset, images=IMAGES, seed=seed)
    (project / "pipeline.yaml").write_text(text)
    run(Command("pipe run", [bench.pipe.path, "run"], project))
    ranges = json.loads((project / "artifacts" / "calibrate" / "ranges.json").read_text())
    indices = subject.folder / f"indices-{seed}.json"
    indices.write_text(json.dumps(ranges["lineage"]["images"]))
    return indices


def _latencies(bench: Bench, python: Path, models: list[Path], rounds: int) -> dict[int, dict[Path, list[float]]]:
    """Batch size → model → the median of each round, in milliseconds; of the fastest process of the round, where one was
    disturbed."""

    def once(path: Path, batch: int) -> float:
        argv = [python, PEER, "latency", path, str(batch), str(bench.pick(3, BATCHES[batch])), "2"]
        return statistics.median(json.loads(run(Command("latency", argv, bench.scratch))))

    order = random.Random(0)
    found = {batch: {path: [] for path in models} for batch in BATCHES}
    for number in range(1, rounds + 1):
        print(f"  latency, round {number}/{rounds}", file=sys.stderr, flush=True)
        for batch in BATCHES:
            for path in order.sample(models, len(models)):
                found[batch][path].append(once(path, batch))
    for again in range(1, AGAIN + 1):
        disturbed = [
            (batch, path, number)
            for batch, each in found.items()
            for path, times in each.items()
            for number, time in enumerate(times)
            if time > DISTURBED * min(times)
        ]
        print(f"  {len(disturbed)} disturbed processes again, {again}/{AGAIN}", file=sys.stderr, flush=True)
        for batch, path, number in order.sample(disturbed, len(disturbed)):
            times = found[batch][path]
            times[number] = min(times[number], once(path, batch))
    return found


def _speed(each: dict[Path, list[float]], model: Path) -> float:
    """FP32's time divided by the model's. FP32 is the first."""
    return statistics.median(next(iter(each.values()))) / statistics.median(each[model])


def drawn_figures(accuracies: list[dict], variant: Variant, what: str = "accuracy") -> list[float]:
    """A figure by draw of calibration images."""
    return [draw[variant.name][what] for draw in accuracies if variant.name in draw]


@dataclass(frozen=True)
class Difference:
    """How much more accurate one is than another on the same images, in points, and half the width of its 95 % interval, over test
    images: draws of calibration images are these."""

    points: float
    margin: float

    def __str__(self) -> str:
        found = f"a difference of {self.points:+.2f} (95 % interval {self.points - self.margin:+.2f} to {self.points + self.margin:+.2f})"
        return found if abs(self.points) > self.margin else f"{found}, too small to tell on so many images"


    @classmethod
    def of(cls, points: list[float]) -> "Difference":
        """From the points of each image."""
        return cls(statistics.fmean(points), 1.96 * statistics.stdev(points) / math.sqrt(len(points)))


def points_by_image(accuracies: list[dict], images: int, one: str, other: str) -> list[float]:
    """For each image how much more often the first of two variants, by name, recognises it than the second: in which share of the
    draws, in points."""
    each = [0] * images
    for draw in accuracies:
        for sign, variant in ((-1, one), (1, other)):
            for at in draw[variant]["wrong"]:
                each[at] += sign
    return [100 * wins / len(accuracies) for wins in each]


def _table(model: Path, variants: list[Variant], accuracies: list[dict], latencies) -> str:
    lines = [
        "| | size | accuracy | as FP32 says | difference to FP32 (95 %) | batch 1 | batch 128 |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    columns = [f"{statistics.median(each[model]):.3g} ms" for each in latencies.values()]
    lines.append(f"| FP32 | {page.size(model.stat().st_size)} | | | | {' | '.join(columns)} |")
    for variant in variants:
        found, drawn = accuracies[0][variant.name], drawn_figures(accuracies, variant)
        over = f" ({min(drawn):.2f} to {max(drawn):.2f})" if len(drawn) > 1 else ""
        columns = [
            f"{statistics.median(each[variant.file]):.3g} ms (×{_speed(each, variant.file):.3g})"
            for each in latencies.values()
        ]
        lines.append(
            f"| {variant.name} | {page.size(variant.file.stat().st_size)} | {statistics.fmean(drawn):.2f} %{over} "
            f"| {statistics.fmean(drawn_figures(accuracies, variant, 'agreement')):.2f} % "
            f"| {found['difference']:+.2f} ({found['low']:+.2f} to {found['high']:+.2f}) | {' | '.join(columns)} |"
        )
    return "\n".join(lines)


def _verdicts(variants, images: int, accuracies, latencies, made, grown: int) -> list[str]:
    python = [at for at, variant in enumerate(variants) if not variant.ours and variant.calibrated]
    default = next(at for at, variant in enumerate(variants) if variant.name == f"ours, {DEFAULT}")
    rival = max((variants[at] for at in python), key=lambda variant: statistics.fmean(drawn_figures(accuracies, variant)))
    best, own = (statistics.fmean(drawn_figures(accuracies, variant)) for variant in (rival, variants[default]))
    apart = Difference.of(points_by_image(accuracies, images, variants[default].name, rival.name))
    drop = Difference.of(points_by_image(accuracies, images, variants[default].name, FP32))
    agrees = statistics.fmean(drawn_figures(accuracies, variants[default], "agreement"))
    rival_agrees = max(statistics.fmean(drawn_figures(accuracies, variants[at], "agreement")) for at in python)
    small = variants[default].file.stat().st_size
    speeds = {batch: _speed(each, variants[default].file) for batch, each in latencies.items()}
    rival_speeds = {
        batch: max(_speed(each, variants[at].file) for at in python)
        for batch, each in latencies.items()
    }
    dynamic = [_speed(each, variants[-1].file) for each in latencies.values()]
    lines = [
        page.verdict(
            f"our default is at least as accurate as the Python tool's best, in the mean over draws: {own:.2f} % against {best:.2f} %, "
            f"{apart}",
            own >= best,
        ),
        page.verdict(
            f"it says what FP32 says at least as often as the Python tool's best: {agrees:.2f} % of the images against {rival_agrees:.2f} %",
            agrees >= rival_agrees,
        ),
        page.verdict(f"its drop reaches no further than 0.3 points, over the draws: {drop}", drop.points - drop.margin >= -0.3),
        page.verdict("at most 110 KB", small <= 110_000),
        page.verdict("at least 1.9 times FP32's speed at batch 128", speeds[128] >= 1.9),
        page.verdict("at least 1.2 times at batch 1", speeds[1] >= 1.2),
        page.verdict(
            "never slower than the Python tool's best: "
            + ", ".join(f"×{speeds[batch]:.3g} against ×{rival_speeds[batch]:.3g} at batch {batch}" for batch in speeds),
            all(speeds[batch] >= rival_speeds[batch] for batch in speeds),
        ),
        page.verdict("dynamic takes at most 1.1 times FP32's time", min(dynamic) >= 1 / 1.1),
    ]
    for method, factor, share in (("minmax", 3, 4), ("entropy", 8, 10), ("percentile", 8, 10), ("default", 1, 10)):
        mine, peer = made[method]
        faster = 1 / ratios(mine, peer).median
        lines.append(
            page.verdict(
                f"{method}: at least {factor} times faster than the Python tool (×{faster:.3g}), in at most 1/{share} of its memory "
                f"({page.size(mine.peak_bytes)} of {page.size(peer.peak_bytes)})",
                faster >= factor and mine.peak_bytes * share <= peer.peak_bytes,
            )
        )
    usual = made["entropy"][0].peak_bytes
    lines.append(
        page.verdict(
            f"with 10,000 images the peak grows by at most a twentieth: {page.size(grown)} against {page.size(usual)}",
            grown <= usual * 1.05,
        )
    )
    return ["\n\n".join(lines)]
