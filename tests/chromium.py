"""A real Chromium without a window, driven over its debugging pipe: pages as a person meets them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BOUND = 60

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Page:
    """One tab."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = os.fdopen(reading, "rb")
        self._writing = os.fdopen(writing, "wb")
        self._number = 0
        self._rest = b""
        self._session: str | None = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """The pipes are closed."""
        self._reading.close()
        self._writing.close()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the DevTools protocol."""
        self._number += 1
        number = self._number
        session = {"sessionId": self._session} if self._session else {}
        self._writing.write(
            json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0"
        )
        self._writing.flush()
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                found: dict[str, Any] = message["result"]
                return found

    def open(self, url: str) -> None:
        """The page is loaded."""
        self._settled(lambda: self.ask("Page.navigate", url=url))

    def look(self, script: str) -> Any:
        """What the expression is, in the page."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """What the click leads to is loaded."""
        self._settled(lambda: self.look(f"document.querySelector({json.dumps(selector)}).click()"))

    def fill(self, selector: str, text: str) -> None:
        """The field has this text."""
        self.look(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def show(self, width: int, *, dark: bool = False, script: bool = True) -> None:
        """The window is so wide, and the person likes it dark or light, with scripts or without."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not script)

    def picture(self, file: Path) -> None:
        """The whole page is in the file, as PNG."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def _settled(self, act: Any) -> None:
        act()
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._reading.fileno(), 1 << 20)
            assert part, "the browser is gone"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if message.get("method") == "Log.entryAdded":
            self.errors.append(message["params"]["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]["exceptionDetails"]))
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a browser of its own, which is gone afterwards."""
    assert PROGRAM is not None
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shell = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
        process = subprocess.Popen(
            ["bash", "-c", shell, "sh", str(theirs_in), str(theirs_out), PROGRAM, "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--lang=en-US",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             f"--user-data-dir={folder}", "--remote-debugging-pipe"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            page = Page(ours_in, ours_out)
            try:
                yield page
            finally:
                page.close()
        finally:
            process.kill()
            process.wait(BOUND)
