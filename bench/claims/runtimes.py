"""Every form of an FP32 model in the runtimes that users have: whether it loads, what it says, what computes in integers, and how long
it takes against FP32 in the same runtime. Each measurement is a process of its own, on one thread, in random order in each round."""

import json
import random
import re
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.executed import of_kinds
from harness.measure import Command, run

from claims.int8 import PEER as PYTHON_TOOL
from claims.int8 import digest

HARNESS = Path(__file__).resolve().parents[1] / "harness"
PEER = HARNESS / "runtime_peer.py"
NUMPY = "numpy==1.26.4"
"""The newest that every wheel here takes."""
ONNX_RUNTIMES = ("1.15.1", "1.17.3", "1.20.1", "1.21.1", "1.24.4", "1.32.0")
WEB = "1.30.0"
OTHERS = {
    "openvino": ("OpenVINO 2026.4", "openvino==2026.4.0"),
    "opencv": ("OpenCV 5.0 dnn", "opencv-python-headless==5.0.0.93"),
    "tract": ("tract 0.23.9", "tract==0.23.9"),
}
SIZE = 32
FP32 = "FP32"
STATIC = "static"
OLDER = 'static, `runtime: "1.15"`'
BROWSER = "`target: wasm`"
RIVAL = "the Python tool's static U8S8 per channel, MinMax"
FORMS = {
    STATIC: ("onnx/quantize", {}),
    OLDER: ("onnx/quantize", {"runtime": "1.15"}),
    "static, `target: x86_64-vnni`": ("onnx/quantize", {"target": "x86_64-vnni"}),
    "static, `target: aarch64`": ("onnx/quantize", {"target": "aarch64"}),
    "dynamic": ("onnx/quantize-dynamic", {}),
    BROWSER: ("onnx/quantize", {"target": "wasm"}),
}
"""Our forms, by what makes them."""
SLOWEST = 1.1
"""How long a form for the browser may take of FP32's time there."""


@dataclass(frozen=True)
class Runtime:
    """Something that runs ONNX models."""

    name: str
    kind: str
    """As runtime_peer.py has it, or `web`."""
    where: Path
    """Its Python, or the folder with its Node modules."""


@dataclass
class Found:
    """What a runtime makes of a form."""

    refused: str | None = None
    kept: float = 0.0
    """Share of images that it takes for what FP32 in the newest ONNX Runtime takes them for."""
    largest: float = 0.0
    """Largest difference of a logit to that."""
    integers: int | None = None
    products: int | None = None
    ms: list[float] = field(default_factory=list)
    """Fastest call of each round."""


def measure(bench: Bench) -> Result:
    model, dataset = bench.only(bench.models, "--model"), bench.only(bench.datasets, "--dataset")
    python = peers.onnxruntime(bench.tools)
    peers.plugins(bench.pipe)
    forms = make_forms(bench, model, dataset, python.path, FORMS, with_rival=True)
    images, labels = draw(bench, dataset, python.path, bench.pick(64, 1_000))
    runtimes = _runtimes(bench)
    newest = next(runtime for runtime in runtimes if runtime.name.endswith(ONNX_RUNTIMES[-1]))
    rounds, calls = bench.rounds_or(1, 7), bench.pick(2, 12)

    def once(runtime: Runtime, form: str) -> tuple[dict, Path]:
        out = bench.scratch / f"{runtime.name}-{list(forms).index(form)}.npy"
        return _run(bench, runtime, forms[form], images, out, calls, python.path), out

    reference = once(newest, FP32)[1].rename(bench.scratch / "reference.npy")
    cases = [(runtime, form) for runtime in runtimes for form in forms]
    found = {(runtime.name, form): Found() for runtime, form in cases}
    order = random.Random(0)
    for number in range(1, rounds + 1):
        for runtime, form in order.sample(cases, len(cases)):
            print(f"  round {number}/{rounds}: {form} in {runtime.name}", file=sys.stderr, flush=True)
            said, out = once(runtime, form)
            case = found[runtime.name, form]
            case.refused = said.get("refused")
            if case.refused is None:
                against = json.loads(run(Command("compare", [python.path, PEER, "compare", reference, out, labels], bench.scratch)))
                case.kept, case.largest = 100 * against["kept"] / against["images"], against["largest"]
                case.integers, case.products = said.get("integers"), said.get("products")
                case.ms.append(min(said["ms"]))
    count = bench.pick(64, 1_000)
    parts = [
        f"`{model.name}` ({page.size(model.stat().st_size)}, sha256 {digest(model)}), calibrated on 512 training images of `{dataset.name}`, "
        f"on {count:,} test images, {SIZE} at a time, one thread, each runtime as it comes. Same class: how many images are taken for what "
        "FP32 in the newest ONNX Runtime takes them for; difference: the largest of a logit to that. In integers: how many of the "
        "convolutions and products, as far as the runtime tells. ×: FP32's time in the same runtime divided by the form's; medians over rounds "
        "of the fastest call of a process.",
        *[_table(form, forms[form], runtimes, found) for form in forms],
        "\n\n".join(_verdicts(runtimes, found)),
    ]
    raw = {f"{runtime} · {form}": vars(case) for (runtime, form), case in found.items()}
    return Result("Other runtimes", parts, [python], rounds, raw)


def make_forms(
    bench: Bench, model: Path, dataset: Path, python: Path, forms: dict[str, tuple[str, dict]], with_rival: bool = False
) -> dict[str, Path]:
    """FP32 and its INT8 forms, by what they are called."""
    project = bench.scratch / "forms"
    project.mkdir()
    calibrated = {"ranges": "calibrate.ranges", "moments": "calibrate.moments"}
    normalization = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.2010]}
    calibrate = {
        "uses": "onnx/calibrate",
        "inputs": {"model": str(model), "dataset": str(dataset)},
        "with": {"images": 512, "seed": 42, "normalization": normalization},
    }
    stages = {"calibrate": calibrate}
    for at, (uses, params) in enumerate(forms.values()):
        inputs = {"model": str(model)} | (calibrated if uses == "onnx/quantize" else {})
        stages[f"form{at}"] = {"uses": uses, "inputs": inputs, "with": params}
    (project / "pipeline.yaml").write_text(json.dumps({"version": 1, "name": "forms", "stages": stages}))
    run(Command("pipe run", [bench.pipe.path, "run"], project))
    made = {name: project / "artifacts" / f"form{at}" / "model.onnx" for at, name in enumerate(forms)}
    if with_rival:
        indices = project / "indices.json"
        ranges = json.loads((project / "artifacts" / "calibrate" / "ranges.json").read_text())
        indices.write_text(json.dumps(ranges["lineage"]["images"]))
        made[RIVAL] = project / "python.onnx"
        argv = [python, PYTHON_TOOL, "quantize", model, dataset, indices, made[RIVAL], "minmax"]
        run(Command("quantize", argv, project))
    return {FP32: model, **made}


def draw(bench: Bench, dataset: Path, python: Path, count: int) -> tuple[Path, Path]:
    """Test images and their classes, as arrays."""
    images, labels = bench.scratch / "images.npy", bench.scratch / "labels.npy"
    run(Command("images", [python, PEER, "images", dataset, str(count), images, labels], bench.scratch))
    return images, labels


def _runtimes(bench: Bench) -> list[Runtime]:
    found = [
        Runtime(
            f"ONNX Runtime {version}",
            "onnxruntime",
            peers.wheels(bench.tools, f"onnxruntime-{version}", f"onnxruntime=={version}", NUMPY),
        )
        for version in ONNX_RUNTIMES
    ]
    web = peers.onnxruntime_web(bench.tools, WEB)
    if web is not None:
        found.append(Runtime(f"onnxruntime-web {WEB} (wasm, Node)", "web", web))
    for kind, (name, package) in OTHERS.items():
        found.append(Runtime(name, kind, peers.wheels(bench.tools, kind, package, "numpy==2.4.6")))
    return found


def _run(bench: Bench, runtime: Runtime, model: Path, images: Path, out: Path, calls: int, python: Path) -> dict:
    """What runtime_peer.py's `run` says of a model."""
    size = [str(SIZE), str(calls)]
    if runtime.kind == "web":
        argv = ["node", HARNESS / "web_peer.mjs", runtime.where, model, images, out, *size]
        *profile, last = run(Command(runtime.name, argv, bench.scratch)).splitlines()
        said = json.loads(last)
        kinds = dict(filter(None, map(_node, profile)))
        return said if "refused" in said else said | of_kinds(kinds.values())
    dump = bench.scratch / "executed.onnx"
    argv = [runtime.where, PEER, "run", runtime.kind, model, images, out, *size, dump if runtime.kind == "onnxruntime" else "-"]
    said = json.loads(run(Command(runtime.name, argv, bench.scratch)).splitlines()[-1])
    if dump.exists():
        said |= json.loads(run(Command("products", [python, PEER, "products", dump], bench.scratch)))
        dump.unlink()
    return said


def _node(line: str) -> tuple[str, str] | None:
    """Number and kind of an operator, of a line of a profile that speaks of one."""
    kind, node = (re.search(rf'"{what}" : "(\w+)"', line) for what in ("op_name", "node_index"))
    return (node[1], kind[1]) if kind and node else None


def _table(form: str, file: Path, runtimes: list[Runtime], found: dict[tuple[str, str], Found]) -> str:
    lines = [
        f"**{form[0].upper()}{form[1:]}**, {file.stat().st_size:,} bytes",
        "",
        "| | same class | difference | in integers | × |",
        "|---|--:|--:|--:|--:|",
    ]
    for runtime in runtimes:
        case = found[runtime.name, form]
        if case.refused is not None:
            lines.append(f"| {runtime.name} | not loaded | | | |")
            continue
        integers = "" if case.products is None else f"{case.integers} of {case.products}"
        times = _ratio(found[runtime.name, FP32], case)
        shown = "" if times is None else f"{times:.2f}"
        lines.append(f"| {runtime.name} | {case.kept:.1f} % | {case.largest:.2f} | {integers} | {shown} |")
    return "\n".join(lines)


def _ratio(base: Found, case: Found) -> float | None:
    """FP32's time divided by the form's, the median over rounds."""
    ratios = [one / other for one, other in zip(base.ms, case.ms, strict=False)]
    return statistics.median(ratios) if ratios else None


def _verdicts(runtimes: list[Runtime], found: dict[tuple[str, str], Found]) -> list[str]:
    def all_integers(form: str, names: list[str]) -> bool:
        cases = [found[name, form] for name in names]
        return all(case.refused is None and case.integers == case.products for case in cases)

    onnx = [runtime.name for runtime in runtimes if runtime.kind == "onnxruntime"]
    since = [name for name, version in zip(onnx, ONNX_RUNTIMES, strict=True) if version not in ("1.15.1", "1.17.3", "1.20.1")]
    refused = [runtime.name for runtime in runtimes for form in (STATIC, OLDER) if found[runtime.name, form].refused is not None]
    verdicts = [
        page.verdict("the static form computes in integers alone from ONNX Runtime 1.21 on", all_integers(STATIC, since)),
        page.verdict('with `runtime: "1.15"` it does in all of them', all_integers(OLDER, onnx)),
        page.verdict(
            "every runtime loads both" + (f", but for {', '.join(sorted(set(refused)))}" if refused else ""), not refused
        ),
    ]
    web = next((runtime.name for runtime in runtimes if runtime.kind == "web"), None)
    if web is not None and (times := _ratio(found[web, FP32], found[web, BROWSER])) is not None:
        said = f"in the browser's runtime {BROWSER} takes at most {SLOWEST} times as long as FP32: ×{1 / times:.2f}"
        verdicts.append(page.verdict(said, 1 / times <= SLOWEST))
    return verdicts
