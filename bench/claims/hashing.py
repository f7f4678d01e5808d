"""Hashing a folder of 60,000 files and a file of 2 GB for the first time, against b3sum; and the second time."""

import random
import sys
from pathlib import Path

from harness import page, peers
from harness.bench import Bench, Result
from harness.measure import Command, Failed, Measured, alternate, ratios, run
from harness.outcome import opened

PIPELINE = """\
version: 1
name: hashing
stages:
  only:
    run: "true"
    inputs: {{ data: {data} }}
"""
FILE_BYTES = 4096
CHUNK = 1 << 20


def measure(bench: Bench) -> Result:
    b3sum = peers.b3sum(bench.tools)
    rounds = bench.rounds_or(2, 15)
    count, length = bench.pick(300, 60_000), bench.pick(20_000_000, 2_000_000_000)
    folder, file = bench.scratch / "folder", bench.scratch / "file"
    files = _write_folder(folder / "data", count)
    _write_file(file / "data", length)

    parts = [
        "The first time a content is seen. Ours is `pipe status` on a pipeline of one stage with that input and no stat cache: it "
        "reads the pipeline, hashes the input, prints the state, and writes the stat cache. Both sides find the files in "
        "the page cache; nothing is read from disk.",
    ]
    raw = {}
    for what, project, names in [
        (f"{count:,} files of {FILE_BYTES:,} bytes", folder, files),
        (f"one file of {page.size(length)}", file, ["data"]),
    ]:
        print(f"  {what}", file=sys.stderr)
        measured, again = _compare(bench, b3sum.path, project, names, rounds)
        ours, peer, _ = measured
        found = ratios(ours, peer).median
        parts += [
            f"**{what[0].upper()}{what[1:]}**",
            page.table(measured),
            page.ratio(ours, peer) + " " + again,
            page.verdict("no slower than b3sum: median ratio ≤ 1.0", found <= 1.0),
        ]
        raw[what] = {
            one.command.name: {"seconds": one.seconds, "peak_bytes": one.peak_bytes} for one in measured
        }
    return Result("Hashing", parts, [b3sum], rounds, raw)


def _compare(
    bench: Bench, b3sum: Path, project: Path, names: list[str], rounds: int
) -> tuple[list[Measured], str]:
    status: list[str | Path] = [bench.pipe.path, "status"]
    stat_cache = project / "cache" / "v1" / "stat"
    (project / "pipeline.yaml").write_text(PIPELINE.format(data="./data"))

    def forget() -> None:
        stat_cache.unlink(missing_ok=True)

    def remember() -> None:
        if not stat_cache.exists():
            run(Command("pipe status", status, project))

    shown = f"b3sum {'…' if len(names) > 1 else names[0]}"
    measured = alternate(
        [
            Command("pipe status", status, project, before=forget),
            Command(shown, [b3sum, *names], project),
            Command("pipe status, again", status, project, before=remember),
        ],
        rounds,
    )
    return measured, _only_stats(status, project)


def _only_stats(status: list, project: Path) -> str:
    """The second time no file of the input is opened. Asked of the kernel, because files that are mapped count as not read."""
    strace = peers.strace()
    if strace is None:
        return "That it opens no file the second time was not checked."
    data = project / "data"
    (project / "cache" / "v1" / "stat").unlink()
    first = opened(strace, status, project, data)
    again = opened(strace, status, project, data)
    if not first:
        raise Failed("a first `pipe status` opens no file of the input: what does it hash?")
    if again:
        raise Failed(f"a second `pipe status` opens {len(again)} files of the input, such as `{again[0]}`")
    return f"The second time it opens none of the input's files (the first time {len(first):,} times one of them)."


def _write_folder(data: Path, count: int) -> list[str]:
    """Files of random bytes in ten folders, like the classes of a set of images. Gives their names as short as possible: all
    are arguments of one command."""
    numbers = random.Random(1)
    names = []
    for number in range(count):
        folder = data / str(number % 10)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(numbers.randbytes(FILE_BYTES))
        names.append(f"data/{number % 10}/{number}")
    return names


def _write_file(file: Path, length: int) -> None:
    numbers = random.Random(2)
    file.parent.mkdir(parents=True)
    with file.open("wb") as out:
        for start in range(0, length, CHUNK):
            out.write(numbers.randbytes(min(CHUNK, length - start)))
