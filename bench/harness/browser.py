"""A headless Chromium of its own for each page, driven over its debugging pipe (the DevTools protocol)."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .measure import Failed
from .peers import Program

SECONDS = 60
"""After which a browser that has not answered is given up."""


def chromium() -> Program:
    """Chromium from PATH."""
    found = shutil.which("chromium")
    if found is None:
        raise Failed("`chromium` is not installed (on Debian: apt-get install chromium)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.split()
    return Program(Path(found), f"Chromium {version[1]}")


class Page:
    """A tab without a page yet."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._heard, self._last = to, back, b"", 0
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method: str, **params: object) -> dict:
        """The browser's answer."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        text = json.dumps(message).encode() + b"\0"
        while text:
            text = text[os.write(self._to, text) :]
        while (answer := self._read()).get("id") != self._last:
            pass
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self) -> dict:
        while b"\0" not in self._heard:
            if not select.select([self._back], [], [], SECONDS)[0]:
                raise Failed(f"the browser has said nothing for {SECONDS} seconds")
            piece = os.read(self._back, 1 << 16)
            if not piece:
                raise Failed("the browser is gone")
            self._heard += piece
        text, _, self._heard = self._heard.partition(b"\0")
        return json.loads(text)

    def value(self, script: str) -> object:
        """What a script comes to; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise Failed(f"the page: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def until(self, script: str) -> object:
        """The first value of a script that is neither null nor false."""
        end = time.monotonic() + SECONDS
        while not (value := self.value(script)):
            if time.monotonic() > end:
                raise Failed(f"in {SECONDS} seconds the page did not come to: {script}")
            time.sleep(0.02)
        return value


@contextlib.contextmanager
def page(browser: Program) -> Iterator[Page]:
    """A tab in a browser with a new profile, which has no network."""
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    # What the browser's own children still write when it is gone must not stop anybody.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        argv = [browser.path, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        argv += ["--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"]

        def hand_over() -> None:
            # The browser reads commands from 3 and answers on 4.
            first, second = os.dup(read_commands), os.dup(write_answers)
            os.dup2(first, 3)
            os.dup2(second, 4)

        process = subprocess.Popen(argv, close_fds=False, preexec_fn=hand_over, stderr=subprocess.DEVNULL)
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Page(commands, answers)
        finally:
            process.kill()
            process.wait()
            os.close(commands)
            os.close(answers)
