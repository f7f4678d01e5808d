"""Writes seeds to fuzz/seeds/TARGET: the documentation's examples, the tests' texts, the cache of a small run, and networks.

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

# Opset, size of the input, constants (as text, or name and shape of floats), nodes.
MODELS = [
    (
        13,
        "3,4,4",
        [("w", 16, 3, 3, 3), ("s", 16), ("b", 16), ("m", 16), "float[16] v = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}", ("f", 16, 2)],
        "c = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (c, s, b, m, v) r = Relu (n) "
        "p = GlobalAveragePool (r) l = Flatten (p) y = Gemm (l, f)",
    ),
    (
        13,
        "4,3,3",
        [("w", 4, 1, 3, 3), ("e", 2, 4, 1, 1), ("q", 4, 2, 1, 1), ("k", 4), "float low = {0}", "float high = {6}"],
        "d = Conv <group = 4, auto_pad = \"SAME_UPPER\"> (x, w, k) a = Clip (d, low, high) p = GlobalAveragePool (a) "
        "h = Conv (p, e) r = Relu (h) o = Conv (r, q) g = HardSigmoid <alpha = 0.1666667> (o) m = Mul (a, g) t = Add (m, x) "
        "y = Flatten (t)",
    ),
    (
        11,
        "2,6",
        [("w", 4, 1, 3), ("o", 1), "int64[2] s = {0, -1}", ("f", 12, 3)],
        "c = Conv <group = 2, strides = [2]> (x, w) a = Add (c, o) l = LeakyRelu (a) t = Transpose <perm = [0, 2, 1]> (l) "
        "j = Concat <axis = 2> (t, t) r = Reshape (j, s) z = Identity (r) u = Sigmoid (z) y = Softmax (u)",
    ),
    (
        17,
        "8",
        [("w", 4, 8), ("b", 4), ("k", 4, 4), "int64[1] i = {1}"],
        "n = Neg (b) g = Gemm <transB = 1> (x, w, n) d = Dropout (g) h = Shape (d) t = Gather (h, i) q = Sqrt (k) "
        "e = MatMul (d, q) y = Div (e, b)",
    ),
    (
        13,
        "3,8,8",
        [("w", 16, 3, 7, 7), ("z", 16, 16, 1, 1)],
        "c = Conv <pads = [3, 3, 3, 3], strides = [2, 2], dilations = [1, 1]> (x, w) p = MaxPool <kernel_shape = [2, 2]> (c) "
        "a = AveragePool <kernel_shape = [2, 2], count_include_pad = 1> (p) r = Relu (a) v = Conv (r, z) y = Flatten (v)",
    ),
]

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
    for test in [*ROOT.glob("crates/pipeline/src/spec/tests/*.rs"), *ROOT.glob("tests/terminal/*.rs")]:
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


def models() -> None:
    """Networks in ONNX's own text form; wants the package `onnx`."""
    try:
        import onnx.parser
    except ImportError:
        print("onnx_model: no seeds, because this Python has no package `onnx`", file=sys.stderr)
        return

    def weights(name, *shape):
        count = 1
        for size in shape:
            count *= size
        values = ", ".join(str((place % 7 - 3) / 4) for place in range(count))
        return f"float[{','.join(map(str, shape))}] {name} = {{{values}}}"

    for opset, size, constants, nodes in MODELS:
        initializers = ", ".join(constant if isinstance(constant, str) else weights(*constant) for constant in constants)
        text = (
            f'<ir_version: 8, opset_import: ["" : {opset}]> '
            f"g (float[N,{size}] x) => (float[N,M] y) <{initializers}> {{ {nodes} }}"
        )
        keep("onnx_model", onnx.parser.parse_model(text).SerializeToString())


shutil.rmtree(ROOT / "fuzz/seeds", ignore_errors=True)
pipelines()
conversations()
cache()
models()
for target in sorted((ROOT / "fuzz/seeds").iterdir()):
    files = list(target.iterdir())
    print(f"{target.name}: {len(files)} seeds, {sum(file.stat().st_size for file in files):,} bytes")
