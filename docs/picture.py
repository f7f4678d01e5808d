#!/usr/bin/env python3
"""Takes the picture of a report that README.md shows: the page as a browser draws it, light, from its top.

    python3 docs/picture.py artifacts/report.html docs/report.webp

Needs Python 3.11 and Chromium (on Debian: `apt-get install chromium`), which also turns the picture into WebP. It gets no
network.
"""

import argparse
import base64
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
QUALITIES = [0.9, 0.8, 0.7, 0.6, 0.5]
MOST_BYTES = 300_000
CONVERTER = """<!doctype html><title>waiting</title><pre></pre><script>
const picture = new Image();
picture.onload = () => {
  const canvas = document.createElement("canvas");
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  document.querySelector("pre").textContent = canvas.toDataURL("image/webp", QUALITY);
};
picture.src = "data:image/png;base64,PICTURE";
</script>"""


class Failed(Exception):
    """Something that ends the script with a message."""


def browse(browser: str, page: Path, options: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={profile}",
            "--virtual-time-budget=10000",
            *options,
            page.resolve().as_uri(),
        ]
        outcome = subprocess.run(command, capture_output=True, timeout=120)
    if outcome.returncode != 0:
        raise Failed(f"{browser} ended with {outcome.returncode}:\n{outcome.stderr.decode(errors='replace')}")
    return outcome.stdout


def screenshot(browser: str, report: Path, width: int, height: int, scratch: Path) -> bytes:
    picture = scratch / "report.png"
    size = f"--window-size={width},{height}"
    said = browse(browser, report, [size, "--force-device-scale-factor=2", f"--screenshot={picture}"])
    if not picture.exists():
        raise Failed(f"{browser} took no picture: {said.decode(errors='replace')}")
    return picture.read_bytes()


def webp(browser: str, png: bytes, quality: float, scratch: Path) -> bytes:
    page = scratch / "convert.html"
    text = CONVERTER.replace("QUALITY", str(quality)).replace("PICTURE", base64.b64encode(png).decode())
    page.write_text(text)
    found = re.search(rb"<pre>data:image/webp;base64,([^<]+)</pre>", browse(browser, page, ["--dump-dom"]))
    if found is None:
        raise Failed(f"{browser} wrote no WebP")
    return base64.b64decode(found[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("report", type=Path, metavar="REPORT.html")
    parser.add_argument("output", type=Path, metavar="FILE.webp")
    parser.add_argument("--width", type=int, default=1280, help="of the page in the browser, CSS pixels")
    parser.add_argument("--height", type=int, default=1080, help="of what is shown of it")
    parser.add_argument("--browser", help="Chromium, where it is not found by itself")
    arguments = parser.parse_args()
    browser = arguments.browser or next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        if browser is None:
            raise Failed("there is no Chromium: `apt-get install chromium`, or name it with --browser")
        if not arguments.report.is_file():
            raise Failed(f"`{arguments.report}` is not there: `pipe run` writes it")
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            png = screenshot(browser, arguments.report, arguments.width, arguments.height, scratch)
            for quality in QUALITIES:
                picture = webp(browser, png, quality, scratch)
                if len(picture) <= MOST_BYTES:
                    break
            else:
                raise Failed(f"the picture has more than {MOST_BYTES} bytes at any quality: lower --height")
    except (Failed, OSError, subprocess.TimeoutExpired) as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    arguments.output.write_bytes(picture)
    print(f"wrote {arguments.output}, {len(picture)} bytes, quality {quality}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
