"""The same INT8 files on other processors, which qemu emulates: how many images get another class or other bits, and the accuracy. Nothing
is timed."""

import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from harness import emulated, page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, run

from claims.int8 import digest
from claims.runtimes import FP32, PEER, draw, make_forms

HERE = "this one"
SAFE = "static"
QUICK, FULL = 64, 1_000
FORMS = {
    SAFE: ("onnx/quantize", {}),
    'static, `runtime: "1.15"`': ("onnx/quantize", {"runtime": "1.15"}),
    "static, `target: x86_64-vnni`": ("onnx/quantize", {"target": "x86_64-vnni"}),
    "static, `target: aarch64`": ("onnx/quantize", {"target": "aarch64"}),
    "dynamic": ("onnx/quantize-dynamic", {}),
}


@dataclass(frozen=True)
class Found:
    """What a form says on a processor, beside what it says on this machine."""

    images: int
    kept: int
    differ: int
    right: int
    largest: float


def measure(bench: Bench) -> Result:
    model, dataset = bench.only(bench.models, "--model"), bench.only(bench.datasets, "--dataset")
    if platform.machine() != "x86_64":
        raise Failed("this compares with an x86-64, which this machine is not")
    python = peers.onnxruntime(bench.tools)
    peers.plugins(bench.pipe)
    starts = {HERE: [python.path], **emulated.starts(bench.tools, python.path)}
    if len(starts) == 1:
        raise Failed("there is no qemu that would be another processor (on Debian: apt-get install qemu-user)")
    emulator = peers.Program(Path("qemu-x86_64"), f"qemu {_version(starts)}")
    forms = make_forms(bench, model, dataset, python.path, FORMS)
    images, labels = draw(bench, dataset, python.path, bench.pick(QUICK, FULL))
    outputs = {}
    for processor, start in starts.items():
        for at, (form, file) in enumerate(forms.items()):
            print(f"  {form} on {processor}", file=sys.stderr, flush=True)
            out = outputs[processor, form] = bench.scratch / f"{processor}-{at}.npy"
            argv = [*start, PEER, "run", "onnxruntime", file, images, out, "32", "0", "-"]
            said = json.loads(run(Command(processor, argv, bench.scratch)).splitlines()[-1])
            if "refused" in said:
                raise Failed(f"{form} on {processor}: {said['refused']}")

    def found(processor: str, form: str) -> Found:
        argv = [python.path, PEER, "compare", outputs[HERE, form], outputs[processor, form], labels]
        return Found(**json.loads(run(Command("compare", argv, bench.scratch))))

    all_found = {case: found(*case) for case in outputs}
    parts = [
        f"`{model.name}` (sha256 {digest(model)}), its INT8 forms calibrated on 512 training images of `{dataset.name}`; {len(starts) - 1} "
        f"processors by `qemu-user`, {next(iter(all_found.values())).images:,} test images. Same class: how many images get the class that "
        "they get on this machine; other bits: how many have logits that differ at all; difference: the largest of a logit.",
        *[_table(form, starts, all_found) for form in forms],
        "\n\n".join(_verdicts(list(starts), all_found)),
    ]
    raw = {f"{processor} · {form}": vars(case) for (processor, form), case in all_found.items()}
    return Result("Other processors", parts, [python, emulator], 1, raw)


def _version(starts: dict[str, list]) -> str:
    emulator = next(str(start[0]) for name, start in starts.items() if name != HERE)
    return run(Command(emulator, [emulator, "--version"], Path.cwd())).split("version ")[-1].split()[0]


def _table(form: str, starts: dict[str, list], found: dict[tuple[str, str], Found]) -> str:
    lines = [
        f"**{form[0].upper()}{form[1:]}**",
        "",
        "| | accuracy | same class | other bits | difference |",
        "|---|--:|--:|--:|--:|",
    ]
    for processor in starts:
        case = found[processor, form]
        accuracy, kept = (100 * count / case.images for count in (case.right, case.kept))
        name = "this machine" if processor == HERE else processor
        lines.append(f"| {name} | {accuracy:.1f} % | {kept:.1f} % | {case.differ:,} | {case.largest:.2g} |")
    return "\n".join(lines)


def _verdicts(processors: list[str], found: dict[tuple[str, str], Found]) -> list[str]:
    x86 = [processor for processor in processors if processor in emulated.X86_64]
    arm = [processor for processor in processors if processor in emulated.AARCH64]
    verdicts = []
    if x86:
        differ = sum(found[processor, SAFE].differ for processor in x86)
        said = f"the static form gives the same bits on {', '.join(x86)} as here: {differ} images differ"
        verdicts.append(page.verdict(said, differ == 0))
    if arm:
        least = min(found[processor, SAFE].kept / found[processor, SAFE].images for processor in arm)
        said = f"and at least 99 % of the classes on {', '.join(arm)}: {100 * least:.1f} %"
        verdicts.append(page.verdict(said, least >= 0.99))
    return verdicts
