"""A headless Chromium, driven through chromedriver's W3C protocol: a few commands, so HTTP is all that is needed."""

import base64
import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.e2e.application import eventually
from tests.e2e.live import NO_TLS

WAIT_SECONDS: Final = 30.0
"""Bound on every wait; it is not an expectation."""

TAB: Final = "\ue004"
ENTER: Final = "\ue007"
SHIFT: Final = "\ue008"

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
_STARTED: Final = re.compile(r"started successfully on port (\d+)")
_STARTS: Final = 3
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
    "--hide-scrollbars",  # or pictures lack as much at the right
)


class Browser:
    """One window."""

    def __init__(self, http: httpx.Client) -> None:
        """Speak to a session of chromedriver."""
        self._http = http

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Send a command and return its value."""
        content = None if method == "GET" else (body or {})
        response = self._http.request(method, path, json=content)
        value = response.json()["value"]
        assert response.is_success, value
        return value

    def go(self, url: str) -> None:
        """Load a page."""
        self.ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        """The address of the page."""
        return str(self.ask("GET", "/url"))

    @property
    def title(self) -> str:
        """The title of the page."""
        return str(self.ask("GET", "/title"))

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Run a script in the page; returns what it returns."""
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_until(self, condition: str) -> None:
        """Wait until an expression holds in the page, which may be another one by then."""
        body = {"script": f"return Boolean({condition})", "args": []}

        def holds() -> bool:
            response = self._http.post("/execute/sync", json=body)
            return response.is_success and response.json()["value"] is True

        assert eventually(holds, seconds=WAIT_SECONDS), condition

    def click(self, selector: str) -> None:
        """Click what a selector finds first; what was renewed since it was found is found again."""

        def clicks() -> bool:
            return self._http.post(f"/element/{self._find(selector)}/click", json={}).is_success

        assert eventually(clicks, seconds=WAIT_SECONDS), selector

    def write(self, selector: str, text: str) -> None:
        """Type into what a selector finds first."""
        self.ask("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def press(self, keys: str, *, shifted: bool = False) -> None:
        """Press keys, one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        if shifted:
            actions = [{"type": "keyDown", "value": SHIFT}, *actions, {"type": "keyUp", "value": SHIFT}]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def text(self, selector: str = "body") -> str:
        """Return the text that is seen in what a selector finds first."""
        self.run_until(f"document.querySelector({selector!r})")
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def shoot(self, path: Path, *, is_whole: bool = True) -> None:
        """Keep a picture of the whole page, or of what fits the screen."""
        shot = self.chrome("Page.captureScreenshot", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def resize(self, width: int, height: int) -> None:
        """Look at the page on a screen of that size."""
        self.chrome("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def darken(self, *, is_dark: bool) -> None:
        """Have the browser prefer dark pages, or light ones."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        self.chrome("Emulation.setEmulatedMedia", features=features)

    def chrome(self, command: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        """Send a command of Chromium's own protocol."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self) -> list[str]:
        """Return what the browser's console was told since the last time."""
        entries = self.ask("POST", "/se/log", {"type": "browser"})
        return [f"{entry['level']} {entry['message']}" for entry in entries]

    def _find(self, selector: str) -> str:
        found: dict[str, str] = self.ask("POST", "/element", {"using": "css selector", "value": selector})
        return found[_ELEMENT]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Run a Chromium whose profile is an empty directory."""
    chromedriver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    assert chromedriver, "chromedriver is not installed: make console-test installs it"
    assert chromium, "chromium is not installed: make console-test installs it"
    process, port = _started(chromedriver)
    try:
        address = f"http://127.0.0.1:{port}"
        options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        with httpx.Client(verify=NO_TLS, timeout=WAIT_SECONDS) as http:
            made = http.post(f"{address}/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in made, made
            http.base_url = httpx.URL(f"{address}/session/{made['sessionId']}")
            http.post("/timeouts", json={"implicit": 5000})
            yield Browser(http)
            http.delete("")
    finally:
        _end(process)


def _started(chromedriver: str) -> tuple[subprocess.Popen[str], int]:
    """Start a chromedriver; the port that it picks may be taken on one of its two addresses, so it may try again."""
    for _ in range(_STARTS):
        process = subprocess.Popen(  # noqa: S603 - found by us
            [chromedriver, "--port=0"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        port = _port(process)
        if port is not None:
            return process, port
        _end(process)
    raise AssertionError("chromedriver does not start")


def _port(process: subprocess.Popen[str]) -> int | None:
    assert process.stdout is not None
    while select.select([process.stdout], [], [], WAIT_SECONDS)[0]:
        line = process.stdout.readline()
        if (started := _STARTED.search(line)) is not None:
            return int(started[1])
        if not line:
            break
    return None


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(WAIT_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # a browser that was still starting
    assert process.stdout is not None
    process.stdout.close()
