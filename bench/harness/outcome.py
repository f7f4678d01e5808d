"""What a `pipe run` did, as its own events tell, and what else can be seen of it."""

import json
import re
from collections import defaultdict
from pathlib import Path

from .measure import Command, Failed, run

JSON_RUN = ("run", "--json")


def outcomes(
    pipe: Path, project: Path, *more: str, codes: frozenset[int] = frozenset({0})
) -> dict[str, set[str]]:
    """Runs the pipeline in `project`, and gives the stages by how they ended: `fresh`, `restored`, `ran`…"""
    printed = run(Command("pipe run --json", [pipe, *JSON_RUN, *more], project, codes=codes))
    last = json.loads(printed.splitlines()[-1])
    if last.get("event") != "run_finished":
        raise Failed(f"the last event of `pipe run --json` is `{last.get('event')}`")
    found = defaultdict(set)
    for stage in last["record"]["stages"]:
        found[stage["outcome"]["kind"]].add(stage["stage"])
    return found


def expect(what: str, found: dict[str, set[str]], **wanted: set[str]) -> None:
    """Fails unless the stages ended as `wanted`, and in no other way."""
    for kind in sorted(found.keys() | wanted.keys()):
        have, want = found.get(kind, set()), wanted.get(kind, set())
        if have != want:
            raise Failed(
                f"{what}: {len(have)} stages {kind} where {len(want)} should have; "
                f"too many: {sorted(have - want)[:5]}, missing: {sorted(want - have)[:5]}"
            )


def identity(files: list[Path]) -> list[tuple[int, int]]:
    """Inode and time of change of each file: any write, even of the same bytes, is seen."""
    return [(found.st_ino, found.st_ctime_ns) for found in map(Path.stat, files)]


def opened(strace: Path, argv: list, project: Path, below: Path) -> list[str]:
    """The files below a folder that a command opens. Folders do not count."""
    trace = project / "strace.out"
    calls = "trace=open,openat,openat2,execve"
    run(Command("strace", [strace, "-f", "-qq", "-y", "-e", calls, "-o", trace, *argv], project))
    paths = re.findall(r"= \d+<([^>]+)>", trace.read_text())
    trace.unlink()
    return [path for path in paths if Path(path).is_relative_to(below) and not Path(path).is_dir()]


def executed(strace: Path, argv: list, project: Path) -> int:
    """How many programs a command starts, itself included."""
    trace = project / "strace.out"
    run(Command("strace", [strace, "-f", "-qq", "-e", "trace=execve", "-o", trace, *argv], project))
    count = len(re.findall(r"execve\(.*= 0$", trace.read_text(), re.M))
    trace.unlink()
    return count
