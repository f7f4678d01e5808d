"""A generated pipeline and the same graph for ninja: layers of stages, each reading a file of its own and two outputs of
the layer before, and writing one file."""

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

LAYER = 100


class Work(Enum):
    """What a stage does. The shell text has `{src}`, `{out}` and `{name}`."""

    COPY = "cp -v {src} {out}"
    """Copies its source, and says so: there is a log to keep."""
    ECHO = "echo {name} > {out}"
    """Starts no program beside the shell: for graphs so large that only their second run is of interest."""
    SIZE = "wc -c < {src} > {out}"
    """Tells how long its source is: an edit that keeps the length keeps the output."""


@dataclass(frozen=True)
class Graph:
    """Both projects below one folder, with sources of their own, so that neither tool disturbs the other."""

    folder: Path
    stages: int
    work: Work

    @property
    def pipe(self) -> Path:
        """The folder with `pipeline.yaml`."""
        return self.folder / "pipe"

    @property
    def ninja(self) -> Path:
        """The folder with `build.ninja`."""
        return self.folder / "ninja"

    def names(self) -> list[str]:
        return [_name(number) for number in range(self.stages)]

    def readers(self, name: str) -> list[str]:
        """The stages that read a stage's output."""
        return [reader for number, reader in enumerate(self.names()) if name in self._reads(number)]

    def source(self, name: str) -> Path:
        """A stage's own source, in the project of `pipe`."""
        return self.pipe / "src" / name

    def output(self, name: str) -> Path:
        """A stage's output, in the project of `pipe`."""
        return self.pipe / "artifacts" / name / "out"

    def write(self) -> None:
        """Writes both projects, replacing what is there."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for project in (self.pipe, self.ninja):
            (project / "src").mkdir(parents=True)
            for name in self.names():
                (project / "src" / name).write_text(f"source of {name}\n")
        (self.pipe / "pipeline.yaml").write_text(self._pipeline())
        (self.ninja / "build.ninja").write_text(self._build())

    def forget(self) -> None:
        """Takes away all that running made, in both projects. Moved and not deleted: for minutes after many files
        were deleted ext4 makes new ones slowly, because it goes out of the way of their inodes, and that would be
        measured as the next round's."""
        away = self.folder / "away"
        away.mkdir(exist_ok=True)
        for made in (self.pipe / "artifacts", self.pipe / "cache", self.ninja / "out"):
            if made.exists():
                made.rename(away / f"{len(list(away.iterdir()))}")
        for log in (".ninja_log", ".ninja_deps"):
            (self.ninja / log).unlink(missing_ok=True)

    def _reads(self, number: int) -> list[str]:
        layer, place = divmod(number, LAYER)
        if layer == 0:
            return []
        before = (layer - 1) * LAYER
        return [_name(before + place), _name(before + (place + 1) % LAYER)]

    def _pipeline(self) -> str:
        lines = ["version: 1", "name: generated", "stages:"]
        for number, name in enumerate(self.names()):
            inputs = {"src": f"src/{name}"} | {
                key: f"{read}.out" for key, read in zip("ab", self._reads(number), strict=False)
            }
            listed = ", ".join(f"{key}: {value}" for key, value in inputs.items())
            command = self.work.value.format(src="${inputs.src}", out="${outputs.out}", name=name)
            lines.append(f'  {name}: {{ run: "{command}", inputs: {{ {listed} }}, outputs: {{ out: out }} }}')
        return "\n".join(lines) + "\n"

    def _build(self) -> str:
        command = self.work.value.format(src="$in", out="$out", name="$name")
        if self.work is Work.SIZE:
            # An output that stays as it is must not be written, or ninja goes on with all that read it.
            command = f"{command}.new; cmp -s $out.new $out && rm $out.new || mv $out.new $out"
        lines = ["rule work", f"  command = {command}"]
        if self.work is Work.SIZE:
            lines.append("  restat = 1")
        for number, name in enumerate(self.names()):
            reads = " ".join(f"out/{read}" for read in self._reads(number))
            lines.append(f"build out/{name}: work src/{name}" + (f" | {reads}" if reads else ""))
            if "{name}" in self.work.value:
                lines.append(f"  name = {name}")
        return "\n".join(lines) + "\n"


def _name(number: int) -> str:
    return f"s{number:05}"
