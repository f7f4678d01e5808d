"""Writes seeds to fuzz/seeds/TARGET: the documentation's examples, the tests' texts, and the cache of a small run.

Run in the repository: `cargo build --all-targets && python3 fuzz/seed.py`. See fuzz/README.md for what becomes of them.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "target" / "debug"
# Larger ones slow the fuzzer down more than they teach it.
LARGEST = 16_000

AXIS = {"label": "x", "unit": "ms", "log": True}
FIGURES = [
    {
        "kind": "series",
        "x": AXIS,
        "y": [{"label": "loss"}],
        "series": [{"name": "train", "points": [[1, 0.5], [2, 0.25]]}],
    },
    {
        "kind": "table",
        "columns": [{"label": "n", "unit": "KB", "digits": 1}],
        "rows": [[{"number": 1.5}], [{"text": "a"}, "empty"]],
    },
    {
        "kind": "matrix",
        "row_label": "true",
        "column_label": "said",
        "rows": ["a", "b"],
        "columns": ["a", "b"],
        "values": [[1, 2], [3, 4]],
    },
    {
        "kind": "histograms",
        "x": AXIS,
        "histograms": [
            {
                "name": "h",
                "bins": [{"low": 0, "high": 1, "count": 9}],
                "markers": [{"label": "m", "value": 0.5}],
            }
        ],
    },
    {"kind": "distribution", "x": AXIS, "groups": [{"name": "g", "values": [1, 2.5, 3]}]},
    {"kind": "images", "images": [{"caption": "c", "png": "iVBORw0KGgo="}]},
    {
        "kind": "graph",
        "nodes": [{"id": "a", "label": "A", "group": "Conv", "detail": "k: 3"}, {"id": "b", "label": "B"}],
        "edges": [{"from": "a", "to": "b", "label": "1x3"}],
    },
]
MESSAGES = [
    {"type": "progress", "done": 1, "total": 4, "unit": "epoch", "text": "loss 0.9", "milestone": True},
    {
        "type": "metric",
        "name": "x",
        "metric": {"value": 91.16, "unit": "%", "interval": [90.1, 92.2], "basis": "10,000 images"},
    },
    {"type": "log", "level": "warn", "message": "two\nlines"},
    *(
        {"type": "figure", "id": figure["kind"], "title": "T", "caption": "`c`", "content": figure}
        for figure in FIGURES
    ),
]
PIPELINE = """\
version: 1
name: seeds
plugins: {{ fake: {fake} }}
stages:
  images: {{ uses: data/download, with: {{ format: synthetic, synthetic: {{ train: 40, test: 20 }} }} }}
  write: {{ uses: fake/write, inputs: {{ a: words.txt }}, with: {{ text: hello }} }}
  folder: {{ run: "mkdir -p ${{outputs.o}}/a/empty; cp ${{inputs.w}} ${{outputs.o}}/a/b", inputs: {{ w: write.out }}, outputs: {{ o: dir }} }}
  fails: {{ run: "exit 3" }}
gates: [write.bytes < 100]
"""


def keep(target: str, data: bytes) -> None:
    if 0 < len(data) <= LARGEST:
        folder = ROOT / "fuzz" / "seeds" / target
        folder.mkdir(parents=True, exist_ok=True)
        (folder / sha256(data).hexdigest()[:16]).write_bytes(data)


def pipelines() -> None:
    keep("pipeline", (ROOT / "pipeline.yaml").read_bytes())
    for page in [*ROOT.glob("docs/*.md"), ROOT / "README.md"]:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S):
            keep("pipeline", block.encode())
    for test in [*ROOT.glob("src/spec/tests/*.rs"), *ROOT.glob("tests/terminal/*.rs")]:
        for text in re.findall(r'"((?:[^"\\]|\\.)*)"', test.read_text(), re.S):
            text = re.sub(r"\\\n\s*", "", text).replace("\\n", "\n").replace('\\"', '"')
            if "version: 1" in text:
                keep("pipeline", text.encode())
            elif re.search(r"^\s*(uses|run): ", text, re.M):
                indented = text.strip("\n").replace("\n", "\n  ")
                keep("pipeline", f"version: 1\nname: t\nstages:\n  {indented}\n".encode())
            elif ": " in text and len(text) < 300:
                keep(
                    "pipeline", f"version: 1\nname: t\nstages: {{ a: {{ run: 'true' }} }}\n{text}\n".encode()
                )


def conversations() -> None:
    for manifest in ROOT.glob("fuzz/manifests/*.json"):
        keep("plugin_message", json.dumps(json.loads(manifest.read_text())).encode())
    hello, done = {"type": "hello", "version": 1}, {"type": "done"}

    def lines(messages):
        return "".join(json.dumps(message) + "\n" for message in messages).encode()

    keep("plugin_message", lines([hello, *MESSAGES, done]))
    for message in MESSAGES:
        keep("plugin_message", lines([hello, message, done]))
    keep("plugin_message", lines([hello, {"type": "failed", "message": "no `x`", "hint": "add it"}]))
    keep("plugin_message", lines([{"type": "hello", "version": 2}]))
    for page in ROOT.glob("docs/*.md"):
        for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.S):
            keep("plugin_message", block.encode())


def cache() -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "words.txt").write_text("words")
        (project / "pipeline.yaml").write_text(PIPELINE.format(fake=BUILT / "examples" / "pipe-fake"))
        run = subprocess.run(
            [BUILT / "pipe", "run", "--keep-going"], cwd=project, stderr=subprocess.PIPE, check=False
        )
        if run.returncode != 1:
            sys.exit(run.stderr.decode())
        for file in (project / "cache/v1").rglob("*"):
            if file.is_file():
                data = file.read_bytes()
                for name in ["actions", "last-keys", "manifests", "runs", "stat"]:
                    if name in file.relative_to(project).parts:
                        keep("cache_record", data.replace(folder.encode(), b"/project"))
                if data.startswith(b'{"format":"pipe folder'):
                    keep("cache_record", data)


shutil.rmtree(ROOT / "fuzz/seeds", ignore_errors=True)
pipelines()
conversations()
cache()
for target in sorted((ROOT / "fuzz/seeds").iterdir()):
    files = list(target.iterdir())
    print(f"{target.name}: {len(files)} seeds, {sum(file.stat().st_size for file in files):,} bytes")
