"""A tab of headless Chromium driven over its DevTools protocol: addresses, scripts, keys, screenshots, complaints."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-quic", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--remote-debugging-port=0",
)  # fmt: skip
# A guard against a browser that hangs, and no statement on its speed.
_PATIENCE_S = 60.0


class Tab:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.complaints: list[str] = []
        """Errors and warnings of pages, failed loads included."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def open(self, address: str) -> None:
        """Load an address from anew; another part (#...) of the same page is followed without loading."""
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """Evaluate an expression of the page, and wait for it if it is a promise."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> float:
        """Wait until an expression is true; returns the seconds that it took."""
        began = time.monotonic()
        while not self.value(f"(() => {{ try {{ return Boolean({condition}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() - began < _PATIENCE_S, (condition, self.complaints)
            time.sleep(0.02)
        return time.monotonic() - began

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key)

    def click(self, x: float, y: float) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def open_tab(program: str, profile: Path) -> Iterator[Tab]:
    process = subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = _port(profile / "DevToolsActivePort")
        with connect(f"ws://127.0.0.1:{port[0]}{port[1]}", max_size=None, proxy=None) as browser:
            browser.send(json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
            target = json.loads(browser.recv(timeout=_PATIENCE_S))["result"]["targetId"]
            address = f"ws://127.0.0.1:{port[0]}/devtools/page/{target}"
            with connect(address, max_size=None, proxy=None) as socket:
                yield Tab(socket)
    finally:
        process.kill()
        process.wait(timeout=_PATIENCE_S)


def _port(file: Path) -> list[str]:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return lines
        time.sleep(0.05)
    raise TimeoutError(f"{file} was not written")
