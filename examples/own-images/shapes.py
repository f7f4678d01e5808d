#!/usr/bin/env python3
"""Draws images to try the example on: `python3 shapes.py images` makes images/train/CLASS and images/test/CLASS.

Three classes of 32×32 pixels: a disc, a ring or a square, of any colour, anywhere, with noise. Always the same ones.
Needs nothing but Python.
"""

import random
import struct
import sys
import zlib
from pathlib import Path

SIZE = 32
SPLITS = {"train": 200, "test": 60}  # images of each class


def inside(shape: str, x: float, y: float, radius: float) -> bool:
    distance = (x * x + y * y) ** 0.5
    if shape == "disc":
        return distance < radius
    if shape == "ring":
        return 0.6 * radius < distance < radius
    return max(abs(x), abs(y)) < 0.85 * radius


def draw(shape: str, dice: random.Random) -> bytes:
    """Rows of pixels, as a PNG has them: each begins with the number of its filter, which is none."""
    radius = dice.uniform(6, 11)
    across, down = (dice.uniform(radius, SIZE - radius) for _ in range(2))
    ground = [dice.randrange(256) for _ in range(3)]
    color = [(value + dice.randrange(80, 176)) % 256 for value in ground]
    rows = bytearray()
    for y in range(SIZE):
        rows.append(0)
        for x in range(SIZE):
            pixel = color if inside(shape, x - across, y - down, radius) else ground
            rows += bytes(min(max(value + round(dice.gauss(0, 12)), 0), 255) for value in pixel)
    return bytes(rows)


def png(rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python3 shapes.py FOLDER")
    dice = random.Random(1)
    for split, count in SPLITS.items():
        for shape in ("disc", "ring", "square"):
            folder = Path(sys.argv[1], split, shape)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (folder / f"{number:03}.png").write_bytes(png(draw(shape, dice)))


main()
