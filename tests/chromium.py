"""A headless Chromium that tests drive by DevTools messages over two pipes, which needs nothing more installed."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60  # seconds for an answer


def program() -> str:
    """Where Chromium is. Skips the test where there is none; a failure where PODIUM_BROWSER=required."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        told = "no Chromium here: apt-get install -y --no-install-recommends chromium"
        (pytest.fail if os.environ.get("PODIUM_BROWSER") == "required" else pytest.skip)(told)
    return found


class Browser:
    """One tab. `complaints` holds what the console was told and every request that left the file."""

    def __init__(self, folder: Path) -> None:
        to, back = [[fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe()] for _ in range(2)]
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        words += ["--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={folder}"]
        self.process = subprocess.Popen(
            # It reads from file 3 and writes to file 4.
            ["bash", "-c", f'exec "$@" 3<&{to[0]} 4>&{back[1]}', "bash", program(), *words],
            pass_fds=(to[0], back[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to[0])
        os.close(back[1])
        self.to, self.back, self.held = to[1], back[0], b""
        self.number, self.session = 0, None
        self.complaints: list[str] = []
        tab = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters) -> dict:
        """Send one message and wait for its answer; events that come before it are looked at."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, file: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self.complaints.clear()
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=file.as_uri())
        deadline = time.monotonic() + PATIENCE
        while self.run("document.readyState") != "complete" or self.run("location.href") != file.as_uri():
            assert time.monotonic() < deadline, f"{file} was not opened"
            time.sleep(0.05)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression in the page."""
        result = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, (script, result["exceptionDetails"])
        return result["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What the elements that can be seen hold."""
        seen = f"[...document.querySelectorAll({json.dumps(selector)})].filter(e => e.getClientRects().length)"
        return self.run(f"{seen}.map(e => e.textContent)")

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, **(text if kind == "keyDown" else {}))

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """The middle of the element, by the mouse."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        # The mouse hits what was last painted, so the scrolled page is painted first.
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")
        script = f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())"
        x, y = self.run(script)
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def paper(self, file: Path) -> None:
        """The page as it is printed, a PDF."""
        file.write_bytes(base64.b64decode(self.ask("Page.printToPDF", printBackground=True)["data"]))

    def close(self) -> None:
        self.session = None
        self.ask("Browser.close")
        os.close(self.to)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.back)

    def _message(self) -> dict:
        while b"\0" not in self.held:
            ready, _, _ = select.select([self.back], [], [], PATIENCE)
            assert ready, "Chromium does not answer"
            part = os.read(self.back, 1 << 20)
            assert part, "Chromium has ended"
            self.held += part
        line, self.held = self.held.split(b"\0", 1)
        message = json.loads(line)
        self._listen(message)
        return message

    def _listen(self, message: dict) -> None:
        kind, told = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(told["exceptionDetails"].get("exception", {}).get("description", str(told)))
        elif kind == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif kind == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {told['type']}")
        elif kind == "Network.requestWillBeSent" and not told["request"]["url"].startswith(
            ("file:", "data:", "about:")
        ):
            self.complaints.append(f"a request to {told['request']['url']}")
