"""How long the report page takes in Chromium, asked by its own protocol over a pipe (no package is needed).

Headless, without network access. Times are the browser's: `performance.now()` within the page.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE_S = 60
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-pipe",
)
OPENED = """new Promise(done => {
  const [entry] = performance.getEntriesByType("navigation");
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - entry.startTime)));
})"""
"""Until the page is loaded, its script has drawn the table and a frame was painted."""

FILTERED = """new Promise(done => {
  const field = document.getElementById("%s"), begun = performance.now();
  field.value = "%s";
  field.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - begun)));
})"""


@dataclass(frozen=True)
class PageTimes:
    """Seconds: from the navigation to the painted page, for a word in the search field, for another outcome."""

    opened_s: float
    searched_s: float
    chosen_s: float


def find() -> str | None:
    """The browser's path, None without one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def open_and_filter(browser: str, page: Path) -> PageTimes:
    """Open the page in a browser of its own, and filter its table twice."""
    with tempfile.TemporaryDirectory() as profile, _Browser(browser, profile) as chromium:
        chromium.open(page.resolve().as_uri())
        return PageTimes(
            chromium.evaluate(OPENED) / 1000,
            chromium.evaluate(FILTERED % ("search", "drains")) / 1000,
            chromium.evaluate(FILTERED % ("outcome", "killed")) / 1000,
        )


WIDEST = """(() => {
  for (const element of document.querySelectorAll("details")) element.open = true;
  for (const button of document.querySelectorAll(".toggle")) button.click();
  return document.documentElement.scrollWidth;
})()"""
"""With everything opened that can be opened."""


def page_width(browser: str, page: Path, screen_px: int, *, dark: bool = False) -> float:
    """How wide the page is on a phone or a screen of this width, in CSS pixels."""
    with tempfile.TemporaryDirectory() as profile, _Browser(browser, profile) as chromium:
        return chromium.width(page.resolve().as_uri(), screen_px, dark=dark)


SMALLEST = """Math.min(...[...document.querySelectorAll(%r)].filter(it => it.checkVisibility()).map(
  it => parseFloat(getComputedStyle(it).fontSize) * it.getScreenCTM().a))"""


def smallest_letter_px(browser: str, page: Path, screen_px: int, selector: str) -> float:
    """The size of the smallest letters of these texts of SVG that are shown, as they are on such a screen."""
    return measured(browser, page, screen_px, SMALLEST % selector)


def hidden_px(browser: str, page: Path, screen_px: int, selector: str) -> float:
    """How much wider what an element holds is than what of it can be seen without scrolling it."""
    expression = f"(found => found.scrollWidth - found.clientWidth)(document.querySelector({selector!r}))"
    return measured(browser, page, screen_px, expression)


def measured(browser: str, page: Path, screen_px: int, expression: str) -> float:
    """A number that an expression comes to on the page, with everything opened that can be opened."""
    with tempfile.TemporaryDirectory() as profile, _Browser(browser, profile) as chromium:
        chromium.width(page.resolve().as_uri(), screen_px, dark=False)
        return chromium.evaluate(expression)


class _Browser:
    """A browser with one page, spoken to on its descriptors 3 and 4: JSON, each message ended by a NUL."""

    def __init__(self, path: str, profile: str) -> None:
        their_in, self._out = os.pipe()
        self._in, their_out = os.pipe()

        def connect() -> None:
            """In the child: what it reads and writes must be 3 and 4, whatever numbers the pipes have."""
            low, high = os.dup2(their_in, 90), os.dup2(their_out, 91)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self._process = subprocess.Popen(
            [path, *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=connect,  # noqa: PLW1509 - it only moves descriptors
        )
        os.close(their_in)
        os.close(their_out)
        self._rest, self._number, self._session = b"", 0, ""

    def __enter__(self) -> _Browser:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        self._call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        self._process.wait(timeout=PATIENCE_S)

    def open(self, url: str) -> None:
        """Return when the page's load event has come."""
        self._call("Page.navigate", url=url)
        deadline = time.monotonic() + PATIENCE_S
        while self._read().get("method") != "Page.loadEventFired":
            if time.monotonic() > deadline:
                raise SystemExit(f"{url} was not loaded after {PATIENCE_S} s")

    def width(self, url: str, screen_px: int, *, dark: bool) -> float:
        """The page's width on such a screen."""
        screen = {"width": screen_px, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        self._call("Emulation.setDeviceMetricsOverride", **screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self.open(url)
        return self.evaluate(WIDEST)

    def evaluate(self, expression: str) -> float:
        """A number that the page's promise comes to."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "value" not in answer["result"]:
            raise SystemExit(f"the page cannot be measured: {answer}")
        return float(answer["result"]["value"])

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise SystemExit(f"the browser refuses {method}: {answer['error']}")
                return answer["result"]

    def _read(self) -> Any:
        while b"\0" not in self._rest:
            data = os.read(self._in, 1 << 16)
            if not data:
                raise SystemExit("the browser has gone")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
