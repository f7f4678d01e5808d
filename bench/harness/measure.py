"""Times whole processes, alternating between the commands compared, and takes their peak memory. Knows no peer."""

import contextlib
import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What every command gets of the environment; nothing else may matter.
PASSED_ON = ("PATH", "HOME", "LIBTORCH", "ORT_DYLIB_PATH", "LD_LIBRARY_PATH")
ENVIRONMENT = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "DVC_NO_ANALYTICS": "1",
}

PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    """A command, or a check of what it did, went wrong. The message is for the user."""


@dataclass(frozen=True)
class Command:
    """A process to measure."""

    name: str
    """As tables show it."""
    argv: Sequence[str | Path]
    cwd: Path
    before: Callable[[], object] = lambda: None
    """Done before each run, and not timed."""
    codes: frozenset[int] = field(default=frozenset({0}))
    """Exit codes that are no failure."""

    def line(self) -> str:
        """The command line, with the program's folder left out."""
        first, *rest = map(str, self.argv)
        return " ".join([Path(first).name, *rest])


@dataclass(frozen=True)
class Spread:
    """Some numbers, summed up."""

    median: float
    low_quartile: float
    high_quartile: float
    least: float
    most: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, middle, high = (
            statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
        )
        return cls(middle, low, high, min(values), max(values), len(values))


@dataclass(frozen=True)
class Measured:
    """What was measured of one command."""

    command: Command
    seconds: list[float]
    """Wall time of each round, in the order taken."""
    peak_bytes: int
    """Largest resident memory of the process, in a run of its own."""

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)


def ratios(ours: Measured, peer: Measured) -> Spread:
    """Ours divided by the peer's, round by round: a disturbance that lasts longer than a round hits both."""
    return Spread.of([one / other for one, other in zip(ours.seconds, peer.seconds, strict=True)])


def alternate(commands: Sequence[Command], rounds: int) -> list[Measured]:
    """One run of each for its memory, which warms up too, then `rounds` rounds in which each runs once, in this order."""
    peaks = [peak_memory(command) for command in commands]
    seconds: list[list[float]] = [[] for _ in commands]
    for number in range(1, rounds + 1):
        for command, times in zip(commands, seconds, strict=False):
            times.append(wall_time(command))
        shown = "  ".join(
            f"{command.name} {times[-1] * 1e3:,.1f} ms"
            for command, times in zip(commands, seconds, strict=False)
        )
        print(f"  round {number}/{rounds}: {shown}", file=sys.stderr, flush=True)
    return [Measured(*measured) for measured in zip(commands, seconds, peaks, strict=False)]


def wall_time(command: Command) -> float:
    """Seconds from just before the process is made until it is gone."""
    command.before()
    with _output() as output, contextlib.chdir(command.cwd):
        start = time.perf_counter_ns()
        pid = _spawn(command.argv, output)
        _, status = os.waitpid(pid, 0)
        end = time.perf_counter_ns()
        _check(command, status, output)
    return (end - start) / 1e9


def peak_memory(command: Command) -> int:
    """Bytes of the process's largest resident set.

    The kernel counts the memory of whoever starts a program as the program's own. So that this is not that of Python, `setsid
    --fork` starts it and is gone, and the orphan comes to us to be waited for, among whatever else earlier programs left
    behind. A shell of one megabyte says which process it becomes.
    """
    command.before()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with _output() as output, tempfile.NamedTemporaryFile() as number, contextlib.chdir(command.cwd):
        becoming = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', number.name]
        _spawn(["setsid", "--fork", *becoming, *command.argv], output)
        peak = None
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            if f"{pid}\n".encode() == Path(number.name).read_bytes():
                peak = usage.ru_maxrss * 1024
                _check(command, status, output)
    if peak is None:
        raise Failed(f"`{command.line()}` could not be started")
    return peak


def run(command: Command) -> str:
    """Runs a command that is not measured, and gives its standard output."""
    command.before()
    with _output() as output, tempfile.TemporaryFile() as errors, contextlib.chdir(command.cwd):
        pid = _spawn(command.argv, output, errors)
        _, status = os.waitpid(pid, 0)
        _check(command, status, errors)
        output.seek(0)
        return output.read().decode()


def _output():
    """Where a command prints to: a file rather than nowhere, for the message when it fails."""
    return tempfile.TemporaryFile()


def _spawn(argv: Sequence[str | Path], output, errors=None) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
        (os.POSIX_SPAWN_DUP2, (errors or output).fileno(), 2),
    ]
    return os.posix_spawnp(str(argv[0]), [str(word) for word in argv], ENVIRONMENT, file_actions=actions)


def _check(command: Command, status: int, printed) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code not in command.codes:
        printed.seek(0)
        end = printed.read().decode(errors="replace")[-2000:]
        raise Failed(f"`{command.line()}` in `{command.cwd}` ended with {code}:\n{end}")
