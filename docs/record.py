#!/usr/bin/env python3
"""Records commands on a terminal and draws them as one animated SVG: CSS alone, no script, no font, no request.

    python3 docs/record.py docs/run.svg 'pipe run --profile demo' 'pipe run --profile demo --set calibration_images=256'

Each command runs for real, in a pseudo-terminal of 100 columns and 30 lines. Where it takes longer than `--seconds`,
the picture runs faster than it did, and the clock at the top right shows the time that it really took. `--keep FILE`
keeps what was read, in the format of asciinema (v2), and `--from FILE` draws it again without running anything. Needs
Python 3.11 and nothing else.
"""

import argparse
import codecs
import fcntl
import json
import os
import pty
import re
import select
import shlex
import struct
import sys
import termios
import time
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

COLUMNS, LINES = 100, 30
# Pixels of a cell, and what stands around the screen.
CELL_WIDTH, CELL_HEIGHT, FONT = 8.4, 18, 14
MARGIN, BAR = 16, 36
# Pictures a second, how long a command line is typed for, and how long its end is shown.
RATE, TYPING, REST, LAST = 5, 1.0, 2.5, 6.0
MOST_BYTES = 150_000


class Unknown(Exception):
    """Something that the terminal here cannot draw."""


@dataclass(frozen=True)
class Style:
    color: str = ""
    bold: bool = False
    dim: bool = False

    def classes(self) -> str:
        names = [self.color, "b" if self.bold else "", "d" if self.dim else ""]
        return " ".join(name for name in names if name)


PLAIN = Style()
COLORS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"]
SEQUENCE = re.compile(r"\x1b(?:\[([?<=>]?)([0-9;]*)([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][A-Z0-9]|[=>])")


class Screen:
    """As much of a terminal as progress bars and coloured text need. What it does not know it refuses."""

    def __init__(self) -> None:
        self.rows = [self.blank() for _ in range(LINES)]
        self.row = self.column = 0
        self.style = PLAIN
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @staticmethod
    def blank() -> list:
        return [(" ", PLAIN)] * COLUMNS

    def feed(self, data: bytes) -> None:
        text = self.rest + self.decoder.decode(data)
        place, self.rest = 0, ""
        while place < len(text):
            if text[place] == "\x1b":
                found = SEQUENCE.match(text, place)
                if found is None:
                    if len(text) - place > 64:
                        raise Unknown(f"escape sequence {text[place:place + 16]!r}")
                    self.rest = text[place:]
                    return
                if found[3]:
                    self.control(found[1], found[2], found[3])
                place = found.end()
            else:
                self.put(text[place])
                place += 1

    def put(self, char: str) -> None:
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.down()
        elif char == "\b":
            self.column = max(self.column - 1, 0)
        elif char == "\t":
            self.column = min((self.column // 8 + 1) * 8, COLUMNS - 1)
        elif char >= " ":
            if self.column == COLUMNS:
                self.column = 0
                self.down()
            self.rows[self.row][self.column] = (char, self.style)
            self.column += 1

    def down(self) -> None:
        if self.row + 1 < LINES:
            self.row += 1
        else:
            self.rows = [*self.rows[1:], self.blank()]

    def control(self, private: str, numbers: str, final: str) -> None:
        values = [int(number or 0) for number in numbers.split(";")] if numbers else []
        count = max(values[0], 1) if values else 1
        what = values[0] if values else 0
        if private and final in "hlu":
            return  # modes, such as a hidden cursor
        if final == "m":
            self.paint(values or [0])
        elif final == "A":
            self.row = max(self.row - count, 0)
        elif final == "B":
            self.row = min(self.row + count, LINES - 1)
        elif final == "C":
            self.column = min(self.column + count, COLUMNS - 1)
        elif final == "D":
            self.column = max(self.column - count, 0)
        elif final == "G":
            self.column = min(count, COLUMNS) - 1
        elif final == "K":
            row, at = self.rows[self.row], min(self.column, COLUMNS)
            first, last = [(at, COLUMNS), (0, at + 1), (0, COLUMNS)][what]
            row[first:last] = [(" ", PLAIN)] * (min(last, COLUMNS) - first)
        elif final == "J" and what == 0:
            self.rows[self.row][self.column:] = [(" ", PLAIN)] * (COLUMNS - self.column)
            self.rows[self.row + 1:] = [self.blank() for _ in range(LINES - self.row - 1)]
        else:
            raise Unknown(f"control sequence CSI {private}{numbers}{final}")

    def paint(self, values: list) -> None:
        values = list(values)
        while values:
            value = values.pop(0)
            if value == 0:
                self.style = PLAIN
            elif value in (1, 2):
                self.style = replace(self.style, bold=value == 1, dim=value == 2)
            elif value == 22:
                self.style = replace(self.style, bold=False, dim=False)
            elif 30 <= value < 38 or 90 <= value < 98:
                self.style = replace(self.style, color=COLORS[value % 10])
            elif value == 38 and values[:1] == [5] and len(values) > 1 and values[1] < 16:
                self.style = replace(self.style, color=COLORS[values[1] % 8])
                del values[:2]
            elif value == 39:
                self.style = replace(self.style, color="")
            else:
                raise Unknown(f"colour {value}")

    def lines(self) -> tuple:
        return tuple(tuple(row) for row in self.rows)


def record(command: str) -> tuple[list, int]:
    """What a command writes to its terminal, and when; and its exit code."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        os.environ["TERM"] = "xterm-256color"
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            os.environ.pop(name, None)
        words = shlex.split(command)
        try:
            os.execvp(words[0], words)
        except OSError as error:
            print(f"{words[0]}: {error.strerror}")
            os._exit(127)
    start, read = time.monotonic(), []
    while True:
        select.select([terminal], [], [])
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other end is closed
            data = b""
        if not data:
            break
        read.append((time.monotonic() - start, data))
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    return read, os.waitstatus_to_exitcode(status)


def keep(path: Path, sessions: list) -> None:
    """As asciinema has it; a marker begins each command."""
    lines, offset = [{"version": 2, "width": COLUMNS, "height": LINES}], 0.0
    for command, read in sessions:
        lines.append([offset, "m", command])
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        lines += [[offset + at, "o", decoder.decode(data)] for at, data in read]
        offset += read[-1][0] if read else 0.0
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def kept(path: Path) -> list:
    sessions, offset = [], 0.0
    for at, kind, text in map(json.loads, path.read_text().splitlines()[1:]):
        if kind == "m":
            sessions.append((text, []))
            offset = at
        elif kind == "o":
            sessions[-1][1].append((at - offset, text.encode()))
    return sessions


@dataclass(frozen=True)
class Frame:
    """What is seen from a moment on."""

    at: float
    lines: tuple
    clock: str


def frames(sessions: list, seconds: float) -> tuple[list, float]:
    """The pictures, and how long all of them take."""
    screen, found, now = Screen(), [], 0.0

    def show(at: float, real: float) -> None:
        clock = f"{int(real) // 60}:{int(real) % 60:02}"
        found.append(Frame(at, screen.lines(), clock))

    for number, (command, read) in enumerate(sessions):
        if number:
            screen.feed(b"\r\n")
        screen.feed(b"\x1b[1;32m$\x1b[0m ")
        show(now, 0)
        words = re.findall(r"\s*\S+", command)
        for count, word in enumerate(words, 1):
            screen.feed(word.encode())
            show(now + TYPING * count / len(words), 0)
        now += TYPING + 0.4
        screen.feed(b"\r\n")
        whole = read[-1][0] if read else 0.0
        pace = min(seconds / whole, 1.0) if whole else 1.0
        ticks = groupby(read, key=lambda piece: int(piece[0] * pace * RATE))
        for tick, pieces in ticks:
            for at, data in pieces:
                screen.feed(data)
            show(now + tick / RATE, at)
        show(now + whole * pace, whole)
        now += whole * pace + (LAST if number + 1 == len(sessions) else REST)
    distinct = [list(same)[0] for _, same in groupby(found, key=lambda frame: (frame.lines, frame.clock))]
    return distinct, now


def spans(line: tuple) -> list:
    """Runs of one style, cut where two blanks meet: where they start, their text, their style."""
    found, place = [], 0
    for style, cells in groupby(line, key=lambda cell: cell[1]):
        text = "".join(char for char, _ in cells)
        for piece in re.finditer(r"\S+(?: \S+)*", text):
            found.append((place + piece.start(), piece[0], style))
        place += len(text)
    return found


def drawn(line: tuple) -> str:
    parts = []
    for start, text, style in spans(line):
        classes = style.classes()
        attributes = f' class="{classes}"' if classes else ""
        # Whatever font there is, the text ends where the terminal ends it.
        length = f' textLength="{number(len(text) * CELL_WIDTH)}"' if len(text) > 1 else ""
        parts.append(f'<tspan x="{number(start * CELL_WIDTH)}"{length}{attributes}>{escape(text)}</tspan>')
    return "".join(parts)


def number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


STYLE = """
text{font:%dpx ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#d5dbe3;white-space:pre}
.b{font-weight:700}.d{fill:#8b949e}
.black{fill:#6e7681}.red{fill:#ff7b72}.green{fill:#56d364}.yellow{fill:#e3b341}
.blue{fill:#79c0ff}.magenta{fill:#d2a8ff}.cyan{fill:#76e3ea}.white{fill:#fff}
.bar{fill:#8b949e}
"""


def placed(rows: frozenset) -> str:
    """Lines, each named with its row, where they belong."""
    return "".join(f'<use href="#{name}" y="{row * CELL_HEIGHT}"/>' for row, name in sorted(rows))


def svg(sessions: list, seconds: float) -> str:
    shown, whole = frames(sessions, seconds)
    height, width = LINES * CELL_HEIGHT, COLUMNS * CELL_WIDTH
    full_width, full_height = width + 2 * MARGIN, height + BAR + MARGIN
    lines, groups, pictures, steps = {}, {}, [], []
    before = frozenset()
    for index, frame in enumerate(shown):
        texts = [(row, drawn(line)) for row, line in enumerate(frame.lines)]
        now = frozenset((row, lines.setdefault(text, f"l{len(lines)}")) for row, text in texts if text)
        # What stays from one picture to the next is most of it, and is written once.
        still = now & before
        uses = placed(now - still)
        if len(still) > 1:
            uses += f'<use href="#{groups.setdefault(still, f"g{len(groups)}")}"/>'
        else:
            uses += placed(still)
        clock = f'<text x="{number(width)}" y="-18" text-anchor="end" class="bar">real time {frame.clock}</text>'
        pictures.append(f'<g transform="translate({index * 1000})">{clock}{uses}</g>')
        steps.append(f"{100 * frame.at / whole:.2f}%{{transform:translate({-1000 * index}px)}}")
        before = now
    last = f"translate({-1000 * (len(shown) - 1)}px)"
    steps.append(f"100%{{transform:{last}}}")
    definitions = "".join(f'<text id="{name}" y="{FONT}">{text}</text>' for text, name in lines.items())
    definitions += "".join(f'<g id="{name}">{placed(group)}</g>' for group, name in groups.items())
    title = escape(" · ".join(command for command, _ in sessions))
    told = "\n".join("".join(char for char, _ in line).rstrip() for line in shown[-1].lines).strip()
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {number(full_width)} {full_height}" role="img" \
aria-labelledby="title told">
<title id="title">A terminal: {title}</title>
<desc id="told">At the end it shows:
{escape(told)}</desc>
<style>{STYLE % FONT}
#film{{animation:film {whole:.1f}s step-end infinite}}
@keyframes film{{{"".join(steps)}}}
@media (prefers-reduced-motion:reduce),print{{#film{{animation:none;transform:{last}}}}}
</style>
<defs>{definitions}</defs>
<rect x=".5" y=".5" width="{number(full_width - 1)}" height="{full_height - 1}" rx="8" fill="#0d1117" stroke="#484f58"/>
<g fill="#484f58"><circle cx="20" cy="18" r="5"/><circle cx="37" cy="18" r="5"/><circle cx="54" cy="18" r="5"/></g>
<svg x="{MARGIN}" y="0" width="{number(width)}" height="{full_height}">\
<g transform="translate(0 {BAR + 4})"><g id="film">
{chr(10).join(pictures)}
</g></g></svg>
</svg>
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", type=Path, metavar="FILE.svg")
    parser.add_argument(
        "commands", nargs="*", metavar="COMMAND", help="run one after the other, each as one argument"
    )
    parser.add_argument(
        "--seconds", type=float, default=12.0, metavar="N", help="how long the picture of a command takes at most"
    )
    parser.add_argument("--keep", type=Path, metavar="FILE.cast", help="keep what was read, to draw it again")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE.cast", help="draw what was kept, and run nothing"
    )
    arguments = parser.parse_intermixed_args()
    if bool(arguments.commands) == bool(arguments.source):
        parser.error("give either commands to run or --from FILE")
    sessions = kept(arguments.source) if arguments.source else []
    for command in arguments.commands:
        print(f"recording `{command}`", file=sys.stderr)
        read, code = record(command)
        sessions.append((command, read))
        if code != 0:
            said = b"".join(data for _, data in read).decode(errors="replace")
            message = f"`{command}` ended with exit code {code}: nothing is written"
            print(f"{said}\nerror: {message}", file=sys.stderr)
            return 1
    if arguments.keep:
        keep(arguments.keep, sessions)
    try:
        text = svg(sessions, arguments.seconds)
    except Unknown as error:
        message = f"{error} is not known to {Path(__file__).name}: teach its class Screen"
        print(f"error: {message}", file=sys.stderr)
        return 1
    size = len(text.encode())
    if size > MOST_BYTES:
        message = f"the picture has {size} bytes, more than {MOST_BYTES}: shorten it with --seconds"
        print(f"error: {message}", file=sys.stderr)
        return 1
    arguments.output.write_text(text)
    print(f"wrote {arguments.output}, {size} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
