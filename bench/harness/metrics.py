"""What a pipeline's stages measured, as `pipe` tells it."""

import json
from pathlib import Path

from .measure import Command, run
from .peers import Program


def latest(pipe: Program, folder: Path, *options: str | Path) -> dict[str, float]:
    """`STAGE.METRIC` → value, of the latest run of the pipeline in `folder`."""
    argv = [pipe.path, "compare", *options, "--json", "--all", "latest", "latest"]
    found = json.loads(run(Command("pipe compare", argv, folder)))
    return {f"{metric['stage']}.{metric['name']}": metric["new"] for metric in found["comparison"]["metrics"]}
