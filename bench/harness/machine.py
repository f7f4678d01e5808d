"""On what it was measured: processor, kernel, file system, and how busy it was."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    file_system: str
    load: float
    """Average number of running processes in the minute before."""

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gb:.0f} GB · Linux {self.kernel} · "
            f"{self.file_system} · load {self.load:.2f} before"
        )


def machine(scratch: Path) -> Machine:
    """This machine, with the file system that `scratch` lies on."""
    cpu = _field(Path("/proc/cpuinfo"), "model name") or platform.machine()
    memory = (_field(Path("/proc/meminfo"), "MemTotal") or "0 kB").split()[0]
    return Machine(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        memory_gb=int(memory) / 2**20,
        kernel=platform.release(),
        file_system=_file_system(scratch.resolve()),
        load=os.getloadavg()[0],
    )


def _field(file: Path, name: str) -> str | None:
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _file_system(folder: Path) -> str:
    """The kind of the innermost mount that holds a folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    within = [(Path(place), kind) for place, kind in mounts if folder.is_relative_to(place)]
    return max(within, key=lambda mount: len(mount[0].parts), default=(folder, "unknown file system"))[1]
