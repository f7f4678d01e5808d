#!/usr/bin/env python3
"""Photographs of any size, a folder for each class, as `pipe` wants them: `python3 prepare.py PHOTOS IMAGES`.

Each becomes a square of 32×32 pixels, cut out of the middle. A fifth of them go to IMAGES/test, the others to
IMAGES/train; which ones depends on the name of the file alone, so that new photographs move none of the old. Needs
Pillow (`pip install pillow`).
"""

import sys
import zlib
from pathlib import Path

from PIL import Image, ImageOps

SIZE = 32


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python3 prepare.py PHOTOS IMAGES")
    photos, images = map(Path, sys.argv[1:])
    for photo in sorted(photos.glob("*/*")):
        if photo.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp"):
            continue
        split = "test" if zlib.crc32(photo.name.encode()) % 5 == 0 else "train"
        folder = images / split / photo.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        picture = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
        ImageOps.fit(picture, (SIZE, SIZE)).save(folder / f"{photo.name}.png")


main()
