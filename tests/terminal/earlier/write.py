#!/usr/bin/env python3
"""Writes the cache of an earlier version, for the test that today's `pipe` still reads it.

    python3 tests/terminal/earlier/write.py TARGET

TARGET is cargo's folder with a `pipe` and an example `pipe-fake` of that version (`target/debug`). Made are `VERSION.tar.gz`,
which holds the folders, and `VERSION/*.json`, which is what that version said of them. Needs Linux and the right to make
namespaces: all of it happens at /mnt in a mount namespace, with process numbers of its own and a CPU of another name, so that
nothing of the machine is in it but the time. Run it for a version that is released, never to make the test pass.
"""

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from base64 import b64encode
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = ["own", "sharing", "neighbour", "shared"]
INSIDE = "--inside"


def png():
    """Four pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 2, 0, 0, 0))
    pixels = zlib.compress(b"\0\xff\0\0\0\xff\0\0\0\0\xff\xff\xff\xff")
    return b64encode(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")).decode()


def figures():
    """One of each kind."""
    axis = {"label": "epoch", "unit": ""}
    contents = {
        "series": {"x": axis, "y": [{"label": "loss", "unit": "", "log": True}],
                   "series": [{"name": "training", "points": [[1, 2.5], [2, 1.25]]}]},
        "table": {"columns": [{"label": "layer"}, {"label": "size", "unit": "KB", "digits": 1}],
                  "rows": [[{"text": "conv <1>"}, {"number": 12.5}], [{"text": "relu"}, "empty"]]},
        "matrix": {"row_label": "is", "column_label": "taken for", "rows": ["cat", "dog"],
                   "columns": ["cat", "dog"], "values": [[9, 1], [2, 8]]},
        "histograms": {"x": {"label": "value"}, "histograms": [
            {"name": "input", "bins": [{"low": -1, "high": 0, "count": 3}, {"low": 0, "high": 1, "count": 5}],
             "markers": [{"label": "scale", "value": 0.5}]}]},
        "distribution": {"x": {"label": "latency", "unit": "ms"},
                         "groups": [{"name": "float", "values": [1.5, 1.6, 1.7]}]},
        "images": {"images": [{"caption": "a cat", "png": png()}]},
        "graph": {"nodes": [{"id": "a", "label": "conv", "group": "INT8", "detail": "3×3"}, {"id": "b", "label": "relu"}],
                  "edges": [{"from": "a", "to": "b", "label": "1×3×32×32"}]},
        "answer": {"text": "all of it is kept"},
    }
    return [{"id": kind, "title": f"A {kind} of then", "caption": f"What a {kind} shows", "content": {"kind": kind, **content}}
            for kind, content in contents.items()]


METRICS = {
    "accuracy": {"value": 91.25, "unit": "%", "interval": [90.5, 92.0], "basis": "2,000 test images"},
    "size_kb": {"value": 312.5, "unit": "KB"},
    "latency.p50": {"value": 1.75, "unit": "ms"},
}

# A JSON text is YAML, too.
OWN = f"""\
version: 1
name: earlier
plugins: {{ fake: bin/pipe-fake }}
vars: {{ text: first, to: 3, stick: 1000, score: 84.62, code: 0 }}
profiles:
  short: {{ to: 2 }}
stages:
  words:
    description: An op with a file, a param from a var and one inside another
    uses: fake/write
    with: {{ text: "${{vars.text}}", nested: {{ number: 0.5 }} }}
    inputs: {{ a: a.txt }}
  near:
    description: A source on this machine
    uses: fake/write
    with: {{ source: near.txt }}
  remote:
    description: A source elsewhere
    uses: fake/write
    with: {{ source: "https://example.org/images.tar.gz#sha256={'ab' * 32}" }}
  signed:
    description: A source elsewhere with a password and a signature
    uses: fake/write
    with: {{ source: "https://reader:hushhush1@example.org/set.tar?X-Amz-Signature=hushhush2" }}
  pages:
    description: A folder from a folder
    run: mkdir -p ${{outputs.d}}/inner && cp ${{inputs.f}}/one ${{outputs.d}}/ && cp ${{inputs.f}}/sub/two ${{outputs.d}}/inner/ && chmod +x ${{outputs.d}}/inner/two && touch ${{outputs.d}}/empty && echo pages >> trace
    inputs: {{ f: folder }}
    outputs: {{ d: pages }}
  tool:
    description: A program, params and variables
    run: "echo tool >> trace; printf '#!/bin/sh\\necho %s %s\\n' ${{params.word}} \\"$WORD\\" > ${{outputs.tool}}; chmod +x ${{outputs.tool}}"
    params: {{ word: hello, deep: {{ number: 1.0, list: [1, two, true, null] }} }}
    env: {{ LC_ALL: C, WORD: of old }}
    outputs: {{ tool: tool.sh }}
    resources: {{ cpus: 1, memory: 10 MB, mutexes: [one] }}
    timeout: 5 min
    retries: {{ times: 2, backoff: 1 s }}
  lines:
    description: A command of several lines
    run: |
      echo lines >> trace
      cat ${{inputs.w}} ${{inputs.t}} > ${{outputs.o}}
      echo a line on standard output
    inputs: {{ w: words.out, t: tool.tool }}
    outputs: {{ o: o.txt }}
  copied:
    description: A program that no shell starts
    run: [cp, "${{inputs.a}}", "${{outputs.o}}"]
    inputs: {{ a: a.txt }}
    outputs: {{ o: o.txt }}
  risky:
    run: "echo risky >> trace; echo about to end with ${{params.code}}; echo risky > ${{outputs.o}}; exit ${{params.code}}"
    params: {{ code: "${{vars.code}}" }}
    outputs: {{ o: o.txt }}
  behind:
    uses: fake/write
    with: {{ text: behind }}
    inputs: {{ a: risky.o }}
  shown:
    description: Every kind of figure
    uses: fake/tell
    with: {{ metrics: {json.dumps(METRICS)}, figures: {json.dumps(figures())} }}
  scored:
    uses: fake/score
    with: {{ value: "${{vars.score}}", interval: [83.9, 85.31] }}
  measured:
    description: A measurement, which belongs to its machine
    uses: fake/measure
  counted:
    description: Partial work of one key
    uses: fake/count
    with: {{ to: "${{vars.to}}", stick: "${{vars.stick}}" }}
  grown:
    description: Partial work across keys
    uses: fake/grow
    with: {{ to: "${{vars.to}}" }}
  swept:
    matrix: {{ rate: [0.1, 0.05], deep: [{{ layers: 2 }}, {{ layers: 3 }}], exclude: [{{ rate: 0.1, deep: {{ layers: 3 }} }}] }}
    uses: fake/tell
    with: {{ metrics: {{ accuracy: {{ value: "${{matrix.rate}}", unit: "%" }}, size_kb: {{ value: "${{matrix.deep.layers}}", unit: KB }} }} }}
  after:
    run: echo after >> trace; cat ${{inputs.s}} > ${{outputs.o}}
    inputs: {{ s: swept.out }}
    outputs: {{ o: o.txt }}
gates:
  - shown.accuracy >= 90
  - scored.accuracy >= 84.5
  - scored.accuracy >= baseline.scored.accuracy - 0.5
  - swept.accuracy > 0.01
report:
  title: What was kept
  description: A cache of an earlier version
  reference_name: notebook
  rows: {{ shown: shown, swept: swept }}
  columns:
    - {{ label: accuracy %, metric: "${{row}}.accuracy", better: higher, reference: {{ shown: 90 }} }}
    - {{ label: size KB, metric: "${{row}}.size_kb", better: lower, digits: 1 }}
"""

SHARING = """\
version: 1
name: sharing
plugins: { fake: bin/pipe-fake }
vars: { code: 0 }
stages:
  first:
    uses: fake/write
    with: { text: shared }
    inputs: { a: a.txt }
  second:
    run: echo second >> trace; mkdir ${outputs.d}; cat ${inputs.a} > ${outputs.d}/all
    inputs: { a: first.out }
    outputs: { d: d }
  risky:
    run: "echo risky >> trace; echo about to end with ${vars.code}; echo risky > ${outputs.o}; exit ${vars.code}"
    outputs: { o: o.txt }
"""

# What is kept of what was said: today's answers must say it, too.
SAID = {
    "history": ["history", "--json", "-n", "100"],
    "report": ["report", "--json"],
    "compare": ["compare", "latest~4", "latest", "--json"],
    "status": ["status", "--json"],
    "graph": ["graph", "--json"],
    "verify": ["verify", "--json"],
    "why-words": ["why", "words", "--json"],
    "why-lines": ["why", "lines", "--json"],
    "why-tool": ["why", "tool", "--json"],
    "why-shown": ["why", "shown", "--json"],
}


def pipe(project, *args, code=0, **kwargs):
    environment = {"PATH": "/mnt/bin:/usr/bin:/bin", "HOME": "/mnt", "TZ": "UTC", "FAKE_TRACE": f"/mnt/{project}/trace"}
    print(f"{project}: pipe", *args, flush=True)
    done = subprocess.run(["pipe", *args], cwd=f"/mnt/{project}", env=environment, text=True, capture_output=True, **kwargs)
    if done.returncode != code:
        sys.exit(f"ended with {done.returncode}, not {code}\n{done.stdout}{done.stderr}")
    return done.stdout


def wait_until(what, ready):
    for _ in range(1000):
        if ready():
            return
        time.sleep(0.01)
    sys.exit(f"waited in vain for {what}")


def project(name, text):
    root = Path("/mnt", name)
    (root / "bin").mkdir(parents=True)
    shutil.copy2("/mnt/bin/pipe-fake", root / "bin")
    (root / "pipeline.yaml").write_text(text)
    (root / "a.txt").write_text("the first a\n")
    return root


def write_own():
    root = project("own", OWN)
    (root / "near.txt").write_text("near\n")
    (root / "folder" / "sub").mkdir(parents=True)
    (root / "folder" / "one").write_text("one\n")
    (root / "folder" / "sub" / "two").write_text("two\n")
    pipe("own", "run")
    pipe("own", "run", "--set", "text=second", "--set", "score=83.1", code=3)
    (root / "a.txt").write_text("another a\n")
    pipe("own", "run", "--profile", "short", "--certain", code=3)
    pipe("own", "run", "--set", "code=7", "--keep-going", code=1)
    # Interrupted where it sticks, so that partial work of that key is left.
    environment = {"PATH": "/mnt/bin:/usr/bin:/bin", "HOME": "/mnt", "TZ": "UTC", "FAKE_TRACE": "/mnt/own/trace"}
    args = ["pipe", "run", "--set", "to=5", "--set", "stick=4", "counted"]
    run = subprocess.Popen(args, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kept = lambda: [file.read_text() for file in root.glob("cache/v1/resume/counted-*/count")]
    wait_until("partial work", lambda: kept() == ["4"])
    run.send_signal(signal.SIGINT)
    if run.wait() != 130:
        sys.exit("was not interrupted")
    (root / "a.txt").write_text("the first a\n")
    pipe("own", "run", "--baseline", "latest~3")
    # Twice, so that every file has settled and the answer is kept.
    time.sleep(3)
    pipe("own", "run")
    pipe("own", "run")
    for needed in ["standing", "stat", "last-keys", "live", "runs", "resume", "continue", "manifests"]:
        if not (root / "cache" / "v1" / needed).exists():
            sys.exit(f"no {needed} was written")


def write_sharing():
    for name in ["sharing", "neighbour"]:
        project(name, SHARING)
        pipe(name, "run", "--cache", "../shared")
    # Leaves a log.
    pipe("neighbour", "run", "--cache", "../shared", "--set", "code=7", code=1)


def inside(target):
    """In namespaces of its own."""
    def mount(*args):
        subprocess.run(["mount", *args], check=True)
    mount("-t", "tmpfs", "none", "/mnt")
    cpu = Path("/mnt/cpuinfo")
    cpu.write_text("processor\t: 0\nmodel name\t: A CPU of then\n\n")
    mount("--bind", str(cpu), "/proc/cpuinfo")
    Path("/mnt/bin").mkdir()
    for program in ["pipe", "examples/pipe-fake"]:
        shutil.copy2(Path(target, program), "/mnt/bin")
    write_own()
    write_sharing()
    version = pipe("own", "--version").split()[-1]
    said = HERE / version
    said.mkdir(exist_ok=True)
    for name, args in SAID.items():
        text = json.dumps(json.loads(pipe("own", *args)), indent=1, ensure_ascii=False)
        (said / f"{name}.json").write_text(text + "\n")
    for name in NAMES:
        for left in ["trace", "bin"]:
            path = Path("/mnt", name, left)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    archive = HERE / f"{version}.tar.gz"
    tar = ["tar", "--create", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu", *NAMES]
    packed = subprocess.run(tar, cwd="/mnt", check=True, capture_output=True).stdout
    archive.write_bytes(subprocess.run(["gzip", "-9n"], input=packed, check=True, capture_output=True).stdout)
    print(f"{archive.name}: {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == INSIDE:
        inside(sys.argv[2])
    elif len(sys.argv) == 2:
        target = str(Path(sys.argv[1]).resolve())
        unshare = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--map-root-user"]
        os.execvp("unshare", [*unshare, sys.executable, __file__, INSIDE, target])
    else:
        sys.exit(__doc__)
