"""A headless Chromium, driven over a pipe by its DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "chromium-headless-shell")
NONE_HERE = "no Chromium here: install one (Debian: chromium), or name one in CHROME"
FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
)
PATIENCE_SECONDS = 60.0
"""After so long without a word from it a browser counts as dead."""


def program() -> str | None:
    """The browser that ``CHROME`` names, or one on the path; None where there is none."""
    named = os.environ.get("CHROME")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def is_required() -> bool:
    """Whether the tests have to fail where there is no browser: so continuous integration has it."""
    return bool(os.environ.get("REQUIRE_CHROME"))


@dataclass(eq=False)
class Page:
    """One page, and all that went wrong in it."""

    browser: Browser
    session: str
    complaints: list[str] = field(default_factory=list)
    """Errors, warnings and whatever the page's policy has kept it from."""
    requested: list[str] = field(default_factory=list)
    """Each address that it has asked for."""

    def call(self, method: str, **parameters: Any) -> Any:
        return self.browser.call(method, self.session, **parameters)

    def open(self, path: Path) -> None:
        """Open a file, and wait until it is loaded and drawn."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=path.as_uri())
        self.browser.wait_for("Page.loadEventFired", self.session)
        self.value("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")

    def value(self, expression: str) -> Any:
        """What a script's expression comes to, once it is resolved."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The text of each element."""
        return list(
            self.value(f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.textContent)")
        )

    def is_visible(self, selector: str) -> bool:
        found = f"document.querySelector({json.dumps(selector)})"
        return bool(self.value(f"{found} !== null && {found}.getClientRects().length > 0"))

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """Move the mouse over an element."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def type(self, selector: str, text: str) -> None:
        """Type a text into a field, in place of what is there."""
        self.value(
            f"(() => {{ const at = document.querySelector({json.dumps(selector)}); at.focus(); at.select(); }})()"
        )
        self.call("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose one of a list."""
        self.value(
            f"(() => {{ const at = document.querySelector({json.dumps(selector)}); at.value = {json.dumps(value)};"
            " at.dispatchEvent(new Event('change')); })()"
        )

    def wait_until(self, condition: str) -> None:
        """Wait for an expression to become true."""
        look = f"const look = () => ({condition}) ? met() : requestAnimationFrame(look)"
        self.value(f"new Promise((met) => {{ {look}; look(); }})")

    def emulate(self, *, media: str = "", scheme: str = "light", width: int = 1280, height: int = 900) -> None:
        self.call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self) -> bytes:
        """What is in view, as a PNG."""
        return b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _middle(self, selector: str) -> tuple[float, float]:
        found = f"document.querySelector({json.dumps(selector)})"
        box = self.value(
            f"(() => {{ const at = {found}; at.scrollIntoView({{block: 'center'}});"
            " return at.getBoundingClientRect().toJSON(); })()"
        )
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def heard(self, method: str, said: Any) -> None:
        """Note what the browser tells of this page."""
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and said["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(said["args"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(said["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requested.append(said["request"]["url"])


class Browser:
    """A browser that runs, and its pages."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._unread = b""
        self._calls = 0
        self._pages: dict[str, Page] = {}
        self._heard: list[tuple[str, str]] = []

    def page(self) -> Page:
        """A new and empty page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        return page

    def call(self, method: str, session: str = "", **parameters: Any) -> Any:
        self._calls += 1
        number = self._calls
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Wait until the browser has told this of a page."""
        while (method, session) not in self._heard:
            self._next()
        self._heard.remove((method, session))

    def _next(self) -> Any:
        while b"\0" not in self._unread:
            ready, _, _ = select([self._reading], [], [], PATIENCE_SECONDS)
            read = os.read(self._reading, 1 << 16) if ready else b""
            if not read:
                raise AssertionError("the browser says nothing any more")
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        told = json.loads(message)
        if "method" in told:
            session = told.get("sessionId", "")
            self._heard.append((told["method"], session))
            if session in self._pages:
                self._pages[session].heard(told["method"], told["params"])
        return told


@contextmanager
def browser(name: str) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    its_input, our_output = _pipe()
    our_input, its_output = _pipe()
    flags = [*FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                "/bin/bash",
                "-c",
                f'exec "$@" 3<&{its_input} 4>&{its_output}',
                "sh",
                name,
                *flags,
                f"--user-data-dir={profile}",
            ],
            pass_fds=(its_input, its_output),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_input)
        os.close(its_output)
        try:
            yield Browser(our_input, our_output)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(our_input)
            os.close(our_output)


def _pipe() -> tuple[int, int]:
    """A pipe's two ends, with numbers that the shell's redirections can not take for others."""
    low = os.pipe()
    ends = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in low)
    for end in low:
        os.close(end)
    return ends[0], ends[1]


if __name__ == "__main__":
    print(program() or "")  # noqa: T201 # for .ci/run
