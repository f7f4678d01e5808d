"""The peak memory of `data/download`, beside the pixels that it reads; and that of an older one, where it is given."""

import json
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

from harness import page
from harness.bench import Bench, Result
from harness.measure import ENVIRONMENT, Failed

CONSTANT = 512 * 2**20
"""What may be taken beside the pixels: what two threads decode at a time, and the largest picture."""
SIDE = 8192


def measure(bench: Bench) -> Result:
    if bench.images is None:
        raise Failed("download-memory wants `--images ARCHIVE`, labelled images in folders")
    images = bench.images.resolve()
    # On this many threads everywhere, as each takes memory of its own.
    threads = 2
    count = bench.pick(2, 24)
    print(f"  drawing {count} images of {SIDE}×{SIDE}", file=sys.stderr)
    large = bench.scratch / "large"
    written = _draw(large, count)
    cases = [
        ("the archive", {"source": str(images), "format": "image-folder"}, True),
        (
            f"{count} PNG files of {SIDE}×{SIDE}, {page.size(written // count)} each, scaled to 64×64",
            {"source": str(large), "format": "pictures", "image_size": 64},
            False,
        ),
        ("the same, not scaled", {"source": str(large), "format": "pictures"}, False),
    ]
    plugins = {"pipe-data": bench.pipe.path.with_name("pipe-data")}
    if bench.before is not None:
        plugins["before"] = bench.before.resolve()
    lines = ["| | pixels | " + " | ".join(plugins) + " |", "|---|--:|" + "--:|" * len(plugins)]
    raw, worst = {}, 0
    for name, params, is_old in cases:
        print(f"  {name}", file=sys.stderr)
        cells = []
        for plugin, path in plugins.items():
            if plugin == "before" and not is_old:
                cells.append("")
                continue
            output = bench.scratch / "dataset.safetensors"
            peak = _peak(path, params, output, bench.scratch / "resume", threads)
            pixels = _pixels(output)
            output.unlink()
            raw[f"{name}, {plugin}"] = {"peak_bytes": peak, "pixel_bytes": pixels}
            cells.append(page.size(peak))
            if plugin == "pipe-data":
                worst = max(worst, peak - pixels)
        lines.append(f"| {name} | {page.size(pixels)} | " + " | ".join(cells) + " |")
    parts = [
        f"`{images.name}`, and images of one colour with lines across; the largest resident memory (`VmHWM`) of the process "
        f"`pipe-data`, on {threads} threads. Pixels are those of the dataset that is written, a byte for each of red, green and blue.",
        "\n".join(lines),
        page.verdict(
            f"the pixels of the set once, and at most {page.size(CONSTANT)} beside them: {page.size(worst)} at the most",
            worst <= CONSTANT,
        ),
    ]
    return Result("Memory of data/download", parts, [], 1, raw)


def _draw(folder: Path, count: int) -> int:
    """Writes PNG files that are small and decode to much; gives the bytes of all."""
    folder.mkdir(parents=True)
    total = 0
    for index in range(count):
        row = b"\0" + bytes((index, 2 * index, 3 * index)) * SIDE
        line = b"\0" + bytes(range(256)) * (3 * SIDE // 256)
        packer = zlib.compressobj(9)
        data = b"".join(packer.compress(line if y % 1024 == 0 else row) for y in range(SIDE)) + packer.flush()
        header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        file = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
        (folder / f"{index}.png").write_bytes(file)
        total += len(file)
    return total


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _peak(plugin: Path, params: dict, output: Path, resume: Path, threads: int) -> int:
    """Runs `data/download` as `pipe` would; gives the bytes of the largest resident set."""
    if not plugin.is_file():
        raise Failed(f"{plugin} is not there")
    resume.mkdir(exist_ok=True)
    request = {
        "type": "run",
        "op": "download",
        "params": params,
        "inputs": {},
        "outputs": {"dataset": str(output)},
        "threads": threads,
        "resume_dir": str(resume),
    }
    process = subprocess.Popen(
        [plugin], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    for message in ({"type": "hello", "version": 1}, request):
        process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    # The kernel keeps the peak, so that a look now and then is enough; after the end it is gone.
    peak = 0
    while process.poll() is None:
        peak = max(peak, _resident(process.pid))
        time.sleep(0.005)
    process.stdin.close()
    if process.returncode != 0 or not output.is_file():
        raise Failed(f"{plugin} failed: {process.stderr.read().decode(errors='replace').strip() or 'no dataset was written'}")
    return peak


def _resident(pid: int) -> int:
    """Bytes of the largest resident set so far; none once the process is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0


def _pixels(dataset: Path) -> int:
    """Bytes of all images in a dataset file."""
    with dataset.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    offsets = [header[f"{split}.images"]["data_offsets"] for split in ("train", "test")]
    return sum(end - start for start, end in offsets)
