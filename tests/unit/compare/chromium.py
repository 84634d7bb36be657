"""A real headless Chromium for tests of pages, driven through its own pipe.

Chromium speaks the DevTools protocol over two file descriptors (``--remote-debugging-pipe``), the
way Playwright and Puppeteer do: no package, driver binary or port is needed beside the browser.
https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS = 120.0
"""Patience with one answer: a machine that is busy with trainings takes its time."""
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # small in containers
    "--no-first-run",
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and answers on 4.
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome of the system; None without one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Page:
    """One open page."""

    def __init__(self, chromium: _Pipe, session: str) -> None:
        self._chromium, self._session = chromium, session

    def open(self, address: str) -> None:
        """Load a page, and wait until its scripts have run."""
        self.send("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page; its value comes back as JSON types."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = SECONDS) -> None:
        """Wait until an expression of the page is true."""
        limit = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < limit, f"not true in {seconds:.0f} s: {condition}"
            time.sleep(0.05)

    def click(self, element: str) -> None:
        """Press and release the mouse in the middle of what an expression of the page yields.

        What lies above the element there gets the click, as with a user.
        """
        x, y = self.run(
            f"(() => {{ const node = {element}; node.scrollIntoView({{block: 'center'}});"
            "const box = node.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self.send("Input.insertText", text=text)

    def screenshot(self, file: Path) -> None:
        """Write what the window shows as a PNG."""
        file.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command of the DevTools protocol to the page."""
        return self._chromium.send(method, parameters, session=self._session)


class _Pipe:
    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._received, self._count = b"", 0

    def send(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """Send a command and wait for its answer; events in between are of no interest."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next(method)).get("id") != self._count:
            pass
        assert "error" not in answer, f"{method}: {answer['error']}"
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    def _next(self, method: str) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._answers], [], [], SECONDS)
            assert ready, f"Chromium gave no answer to {method} in {SECONDS:.0f} s"
            part = os.read(self._answers, 1 << 16)
            assert part, f"Chromium ended before it answered {method}"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        content = json.loads(message)
        assert isinstance(content, dict)
        return content


@contextmanager
def open_page(program: str, profile: Path, *, width: int, height: int) -> Iterator[Page]:
    """Start Chromium with one empty page, and end it with all its processes.

    Args:
        program: what `find_chromium` returned.
        profile: an empty folder for its files.
        width: of the window, in pixels.
        height: of the window, in pixels.
    """
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    # Out of the way of 3 and 4.
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
    options = (*_OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}")
    with (profile / "output.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, high), program, *options, "about:blank"],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    for end in (theirs_in, theirs_out, *high):
        os.close(end)
    try:
        pipe = _Pipe(ours_out, ours_in)
        targets = pipe.send("Target.getTargets", {})["targetInfos"]
        target = next(item["targetId"] for item in targets if item["type"] == "page")
        attached = pipe.send("Target.attachToTarget", {"targetId": target, "flatten": True})
        yield Page(pipe, attached["sessionId"])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours_out)
        os.close(ours_in)
