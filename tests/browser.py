"""
A real browser, headless, driven over two pipes by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/; ``--remote-debugging-pipe`` has
messages end with NUL, and opens no port that another test could meet.
"""

from __future__ import annotations

import base64
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
from typing import Any

import pytest
from jail import unmet

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE = 100.0


class Page:
    """One page: what it says, what it asks the network for, what it complains of."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser = browser
        self._session = session
        self._context = context
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def send(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **arguments)

    def open(self, path: Path) -> None:
        """Open a file, as somebody who was sent it would."""
        self.send("Page.navigate", url=path.as_uri())
        self._browser.wait("Page.loadEventFired")

    def settle(self) -> None:
        """What the page does at once, or puts off for a moment, is done."""
        frames = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))"
        self.js(f"new Promise(done => setTimeout(() => {frames}))")

    def js(self, expression: str) -> Any:
        """The value of *expression* in the page; what it throws fails the test."""
        answer = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            pytest.fail(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def size(self, width: int, height: int, phone: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def prefer(self, **features: str) -> None:
        """What the person has chosen: ``prefers_color_scheme="dark"``."""
        chosen = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.send("Emulation.setEmulatedMedia", media="", features=chosen)

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, as the keyboard gives it."""
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            self.send(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **extra,
            )

    def write(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def shoot(self, path: Path, whole: bool = False) -> None:
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def print(self) -> bytes:
        """The page on paper, as PDF."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=False)["data"])

    def heard(self, method: str, event: dict[str, Any]) -> None:
        """Note what a quiet page would not cause."""
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Runtime.exceptionThrown" | "Log.entryAdded":
                self.complaints.append(json.dumps(event))
            case "Runtime.consoleAPICalled" | "Page.javascriptDialogOpening":
                self.complaints.append(json.dumps(event))
            # A script's click is no person's; it is what tests do.
            case "Audits.issueAdded" if "MarkedSkippable" not in json.dumps(event):
                self.complaints.append(json.dumps(event))


class Browser:
    """One process with as many pages as are asked for."""

    def __init__(self, to: int, out: int) -> None:
        self._to = to
        self._out = out
        self._rest = b""
        self._last = 0
        self._pages: dict[str, Page] = {}
        self._heard: list[str] = []

    def page(self) -> Page:
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"], context)
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            page.send(f"{domain}.enable")
        return page

    def send(self, method: str, session: str = "", **arguments: Any) -> dict[str, Any]:
        self._last += 1
        words = {"id": self._last, "method": method, "params": arguments}
        if session:
            words["sessionId"] = session
        message = json.dumps(words).encode() + b"\0"
        while message:
            message = message[os.write(self._to, message) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, (method, answer)
                result: dict[str, Any] = answer["result"]
                return result

    def wait(self, method: str) -> None:
        """Until *method* is heard, or has been since the last wait."""
        while method not in self._heard:
            self._read()
        self._heard.clear()

    def _read(self) -> dict[str, Any]:
        limit = time.monotonic() + _PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._out], [], [], max(limit - time.monotonic(), 0))
            more = os.read(self._out, 1 << 20) if ready else b""
            assert more, "the browser says nothing more"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._heard.append(message["method"])
            page = self._pages.get(message.get("sessionId", ""))
            if page:
                page.heard(message["method"], message["params"])
        return message


def find() -> str:
    """The browser's path; without one, and in CI above all, there is nothing to test."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    unmet("no Chromium here: install chromium")
    raise AssertionError


@contextlib.contextmanager
def started(*before: str) -> Iterator[Browser]:
    """A browser with a profile of its own; *before* are words such as ``unshare -n``."""
    words = [*before, find(), *FLAGS]
    profile = tempfile.mkdtemp(prefix="netjail-browser-")
    read_to, to = os.pipe()
    out, write_out = os.pipe()
    # Descriptors 3 and 4 are where the browser reads and writes.
    wrapped = ["bash", "-c", f'exec 3<&{read_to} 4>&{write_out} "$@"', "bash", *words]
    process = subprocess.Popen(
        [*wrapped, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(read_to, write_out),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(read_to)
    os.close(write_out)
    try:
        yield Browser(to, out)
    finally:
        os.close(to)  # it ends by itself when nobody drives it any more
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        os.close(out)
        shutil.rmtree(profile, ignore_errors=True)
