"""Ten stages and nothing to do, against dvc: a stand-in of the real pipeline that both can run, and the real one where its
plugins are built."""

import shutil
import sys
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import ENVIRONMENT, Command, alternate, ratios, run
from harness.outcome import expect, outcomes
from harness.peers import ROOT

VARS = {"lr": 0.05, "epochs": 150, "opset": 13, "calibration_images": 512, "per_channel": True, "rounds": 7}

STAGES: dict[str, tuple[list[str], list[str]]] = {
    "train": (["images", "download"], ["lr", "epochs"]),
    "evaluate_torch": (["download", "train"], []),
    "export": (["train"], ["opset"]),
    "calibrate": (["export", "download"], ["calibration_images"]),
    "quantize": (["export", "calibrate"], ["per_channel"]),
    "quantize_dynamic": (["export"], ["per_channel"]),
    "evaluate": (["download", "evaluate_torch", "export", "quantize", "quantize_dynamic"], []),
    "bench": (["train", "export", "quantize", "quantize_dynamic"], ["rounds"]),
    "package": (["quantize", "evaluate", "bench"], []),
}
"""What each stage but the first reads, and which vars its command names. `images` is a folder beside the pipeline."""

IMAGES = 1_000
IMAGE_BYTES = 4_096


def measure(bench: Bench) -> Result:
    dvc = peers.dvc(bench.tools)
    rounds = bench.rounds_or(2, 20)
    ours, theirs = bench.scratch / "pipe", bench.scratch / "dvc"
    _write_pipe(ours, bench.pick(50, IMAGES))
    expect("the first run", outcomes(bench.pipe.path, ours), ran={"download", *STAGES})
    expect("a run with nothing to do", outcomes(bench.pipe.path, ours), fresh={"download", *STAGES})
    _write_dvc(theirs, ours, dvc.path)

    commands = [
        Command("pipe run", [bench.pipe.path, "run"], ours),
        Command("dvc repro", [dvc.path, "repro"], theirs),
    ]
    real = _real(bench)
    measured = alternate([*commands, real] if real else commands, rounds)

    found = ratios(measured[0], measured[1])
    parts = [
        f"A stand-in of the real pipeline that both tools can run: the same ten stages reading the same from each other, and a "
        f"folder of {bench.pick(50, IMAGES):,} images. The first stage is `data/download` for `pipe`, with a gate on its metric; the "
        "others are commands that take digests of what they read, with vars in their text, which `dvc` has as params.",
        page.table(measured),
        page.ratio(measured[0], measured[1]),
    ]
    if real:
        parts.append(
            "The last line is the repository's own pipeline with its own plugins (`--profile demo`), after it ran once."
        )
    verdicts = [
        page.verdict(
            f"at most 10 ms as a whole process: median {page.duration(one.spread.median)} ({one.command.name})",
            one.spread.median <= 0.010,
        )
        for one in measured
        if one.command.name != "dvc repro"
    ]
    verdicts.append(
        page.verdict("at least 100 times faster than dvc: median ratio ≤ 0.01", found.median <= 0.01)
    )
    parts.append("\\\n".join(verdicts))
    raw = {one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in measured}
    return Result("Nothing to do, ten stages", parts, [dvc], rounds, raw)


def _write_pipe(project: Path, images: int) -> None:
    (project / "images").mkdir(parents=True)
    for number in range(images):
        (project / "images" / f"{number:05}").write_bytes(number.to_bytes(4) * (IMAGE_BYTES // 4))
    lines = ["version: 1", "name: stand-in", "vars:"]
    lines += [f"  {name}: {_yaml(value)}" for name, value in VARS.items()]
    lines += [
        "stages:",
        "  download:",
        "    uses: data/download",
        "    with: { format: synthetic, synthetic: { train: 200, test: 100, seed: 42 } }",
    ]
    for stage, (reads, names) in STAGES.items():
        files = " ".join(
            f"${{inputs.{read}}}" if read != "images" else "${inputs.images}/*" for read in reads
        )
        inputs = ", ".join(f"{read}: {_input(read)}" for read in reads)
        said = " ".join(f"{name}=${{vars.{name}}}" for name in names)
        lines += [
            f"  {stage}:",
            f"    run: (sha256sum {files}; echo {stage} {said}) > ${{outputs.out}}",
            f"    inputs: {{ {inputs} }}",
            f"    outputs: {{ out: {stage}.txt }}",
        ]
    lines += ["gates:", "  - download.train_images >= 200"]
    (project / "pipeline.yaml").write_text("\n".join(lines) + "\n")


def _input(read: str) -> str:
    return {"images": "./images", "download": "download.dataset"}.get(read, f"{read}.out")


def _write_dvc(project: Path, pipe: Path, dvc: Path) -> None:
    """The same stages; its first one copies what `data/download` made."""
    project.mkdir()
    shutil.copytree(pipe / "images", project / "images")
    dataset = next((pipe / "artifacts" / "download").iterdir())
    shutil.copy(dataset, project / "dataset")
    (project / "params.yaml").write_text("".join(f"{name}: {_yaml(value)}\n" for name, value in VARS.items()))

    def place(read):
        return read if read == "images" else f"out/{read}"

    lines = [
        "stages:",
        "  download:",
        "    cmd: mkdir -p out && cp dataset out/download",
        "    deps: [dataset]",
        "    outs: [out/download]",
    ]
    for stage, (reads, names) in STAGES.items():
        files = " ".join(place(read) + ("/*" if read == "images" else "") for read in reads)
        said = " ".join(f"{name}=${{{name}}}" for name in names)
        lines += [
            f"  {stage}:",
            f"    cmd: (sha256sum {files}; echo {stage} {said}) > out/{stage}",
            f"    deps: [{', '.join(map(place, reads))}]",
            f"    outs: [out/{stage}]",
        ]
        if names:
            lines.append(f"    params: [{', '.join(names)}]")
    (project / "dvc.yaml").write_text("\n".join(lines) + "\n")
    for words in (
        ["init", "--no-scm"],
        ["config", "core.analytics", "false"],
        ["config", "core.check_update", "false"],
        ["repro"],
    ):
        run(Command(f"dvc {words[0]}", [dvc, *words], project))


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _real(bench: Bench) -> Command | None:
    """The repository's pipeline in a folder of its own, run once; `None` and a message where its plugins are not there."""
    beside = bench.pipe.path.parent
    needed = [beside / "pipe-torch", beside / "pipe-onnx"]
    if "ORT_DYLIB_PATH" not in ENVIRONMENT:
        needed.append(ROOT / "native")
    missing = [path.name for path in needed if not path.exists()]
    if missing or bench.quick:
        why = (
            "with --quick"
            if bench.quick
            else f"`{'`, `'.join(missing)}` is not there; `cargo xtask demo` makes it"
        )
        print(f"  skipped: the repository's own pipeline ({why})", file=sys.stderr)
        return None
    project = bench.scratch / "real"
    project.mkdir()
    shutil.copy(ROOT / "pipeline.yaml", project)
    print("  running the repository's own pipeline once (minutes)", file=sys.stderr)
    # A gate that this machine's figures fail is no reason not to time.
    codes = frozenset({0, 3})
    found = outcomes(bench.pipe.path, project, "--profile", "demo", codes=codes)
    again = outcomes(bench.pipe.path, project, "--profile", "demo", codes=codes)
    expect("the repository's pipeline, again", again, fresh=set().union(*found.values()))
    words = ["run", "--profile", "demo"]
    return Command("pipe run --profile demo", [bench.pipe.path, *words], project, codes=codes)
