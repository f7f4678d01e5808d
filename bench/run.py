#!/usr/bin/env python3
"""Measures what `pipe` claims, and writes docs/benchmarks.md. See bench/README.md."""

import argparse
import importlib
import json
import shutil
import sys
from pathlib import Path

from harness import page, peers
from harness.bench import Bench
from harness.machine import machine
from harness.measure import Failed


def main() -> int:
    arguments = parse()
    scratch = arguments.scratch.resolve()
    try:
        pipe = peers.pipe(arguments.pipe)
        for name in arguments.claims:
            print(f"{name}", file=sys.stderr)
            before = machine(prepare(scratch / name))
            if before.load > 0.5 and not arguments.quick:
                print(
                    f"  others are at work (load {before.load:.2f}): figures will be noisy", file=sys.stderr
                )
            bench = Bench(
                pipe=pipe,
                scratch=scratch / name,
                tools=scratch / "tools",
                quick=arguments.quick,
                rounds=arguments.rounds,
                most=arguments.most,
                models=arguments.model,
                int8=arguments.int8,
                datasets=arguments.dataset,
                images=arguments.images,
                before=arguments.before,
                report=arguments.report,
            )
            result = importlib.import_module(f"claims.{name.replace('-', '_')}").measure(bench)
            text = page.section(
                name, result.title, result.parts, before, [pipe, *result.peers], result.rounds
            )
            if arguments.quick:
                print(f"Sizes are small: this shows that all works, and nothing else.\n\n{text}")
            else:
                results = scratch / "results" / f"{name}.json"
                results.parent.mkdir(exist_ok=True)
                results.write_text(json.dumps(result.raw) + "\n")
                page.update(name, text)
                print(
                    f"  wrote the section of {page.PAGE.relative_to(peers.ROOT)}; raw figures: {results}",
                    file=sys.stderr,
                )
            if not arguments.keep:
                shutil.rmtree(scratch / name)
    except Failed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "claims",
        nargs="+",
        choices=page.ORDER,
        metavar="CLAIM",
        help=f"what to measure: {', '.join(page.ORDER)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, printed instead of written to the page"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how many rounds")
    parser.add_argument(
        "--most", type=int, metavar="N", help="growth: leave out graphs with more stages than this"
    )
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="int8, latency: the FP32 model; int8-accuracy: may be repeated",
    )
    parser.add_argument("--int8", type=Path, metavar="FILE", help="latency: an INT8 form of the model")
    parser.add_argument(
        "--dataset",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="int8, training: a dataset that `data/download` made (.safetensors); int8-accuracy: one for each model, in their order",
    )
    parser.add_argument(
        "--images", type=Path, metavar="FILE", help="int8-network, recipe…, download-memory: labelled images, an archive of folders"
    )
    parser.add_argument(
        "--before", type=Path, metavar="FILE", help="download-memory: the `pipe-data` of an older version"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="report-opens: the report")
    parser.add_argument(
        "--pipe", type=Path, metavar="FILE", help="measure this executable instead of building one"
    )
    parser.add_argument(
        "--scratch", type=Path, default=peers.ROOT / "target" / "bench", metavar="DIR", help="where to work"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the generated projects in the scratch folder"
    )
    return parser.parse_args()


def prepare(folder: Path) -> Path:
    """An empty folder in which no tool looks for anything further up."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
