"""What a claim's script is given, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path

from .measure import Failed
from .peers import Program


@dataclass(frozen=True)
class Bench:
    """One run of one script."""

    pipe: Program
    scratch: Path
    """A folder of the script's own, on the file system to measure."""
    tools: Path
    """Where peers are installed to."""
    quick: bool
    """Small sizes and few rounds: shows that all works, and proves nothing."""
    rounds: int | None
    """As asked for on the command line."""
    most: int | None
    """Largest graph, as asked for on the command line."""
    models: list[Path]
    """The FP32 models to quantize or to time, as asked for on the command line."""
    int8: Path | None
    """Another form of the model to time, as asked for on the command line."""
    datasets: list[Path]
    """What each model is calibrated and tested on, or what to train on, as asked for on the command line."""
    images: Path | None
    """The archive of labelled images to train on, as asked for on the command line."""
    before: Path | None
    """The `pipe-data` of an older version, as asked for on the command line."""
    report: Path | None
    """The report to open, as asked for on the command line."""

    def only(self, files: list[Path], option: str) -> Path:
        """The one file of an option that may be repeated."""
        if len(files) != 1:
            raise Failed(f"this takes one `{option} FILE`, not {len(files)}")
        return files[0].resolve()

    def pick(self, small: int, full: int) -> int:
        """A size or count."""
        return small if self.quick else full

    def rounds_or(self, small: int, full: int) -> int:
        """How many rounds, unless the command line says so."""
        return self.rounds or self.pick(small, full)


@dataclass(frozen=True)
class Result:
    """What a section of the page says."""

    title: str
    parts: list[str]
    peers: list[Program]
    rounds: int
    raw: object
    """Every figure measured, for `results/NAME.json` in the scratch folder."""
