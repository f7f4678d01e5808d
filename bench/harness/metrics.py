"""What a pipeline's stages measured, as `pipe` tells it."""

import json
from pathlib import Path

from .measure import Command, Failed, run
from .peers import Program


class Metrics(dict[str, float]):
    """`STAGE.METRIC` → value."""

    def __missing__(self, name: str) -> float:
        stage = name.split(".")[0]
        raise Failed(f"the run has no metric `{name}`; `pipe log {stage}` may say why")


def latest(pipe: Program, folder: Path, *options: str | Path) -> Metrics:
    """What was measured in the latest run of the pipeline in `folder`."""
    argv = [pipe.path, "compare", *options, "--json", "--all", "latest", "latest"]
    found = json.loads(run(Command("pipe compare", argv, folder)))
    return Metrics({f"{metric['stage']}.{metric['name']}": metric["new"] for metric in found["comparison"]["metrics"]})
