"""Browser memory and frame times while a large photo goes through the page: ``make bench-page``.

A 4000 x 3000 photo is chosen, sent, enlarged four times by a service started for it, and looked at: the divider is
dragged from side to side, then the picture is zoomed and panned. Memory is that of all of Chromium's processes
together, shared pages counted once (PSS), sampled ten times a second, and without the process that draws Chromium's own
window (tabs, menus: it is there without any page, and grows by itself); frames are taken from the browser's own trace.
While it is traced the page asks for every frame, so that a gap between two is the page's, and not a pause of whoever
moves the mouse.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.integration.http.live import real_server

CATEGORIES = [
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
]
MOVES = 240
LONG = 900_000
"""Milliseconds for the service to be done on a busy machine."""


class Memory:
    """Samples the PSS of a process and all below it, in bytes, in a thread of its own."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.peaks: dict[str, int] = {}
        self.pages: dict[str, int] = {}
        """Without Chromium's own window."""
        self._windows: dict[int, bool] = {}
        self.phase = "start"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            total = window = 0
            for one in [self.process, *self.process.children(recursive=True)]:
                try:
                    pss = one.memory_full_info().pss
                    total += pss
                    window += pss if self._draws_the_window(one) else 0
                except psutil.Error:
                    continue  # it ended meanwhile
            self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), total)
            self.pages[self.phase] = max(self.pages.get(self.phase, 0), total - window)

    def _draws_the_window(self, process: psutil.Process) -> bool:
        if process.pid not in self._windows:
            self._windows[process.pid] = "--top-chrome-webui" in process.cmdline()
        return self._windows[process.pid]

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def main() -> None:
    """Prints one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=4000)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = Path(folder, "photo.jpg")
        _photo(given.width, given.height).save(photo, quality=92)
        with real_server(worker=True, CHETKO_DATA_DIR=str(Path(folder, "data"))) as server:
            before = set(psutil.Process().children(recursive=True))
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            root = _chromium(before)
            with Memory(root) as memory:
                page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
                memory.phase = "example"
                page.goto(server.url)
                page.wait_for_selector("#tag-left:not([hidden])")
                page.wait_for_timeout(4000)  # the divider's own tour
                page.locator(f"#scales input[value='{given.scale}']").check(force=True)
                memory.phase = "sending and waiting"
                began = time.monotonic()
                page.set_input_files("#file", photo)
                # Not by wait_for_selector, which looks with every frame and so has every frame drawn.
                while page.locator(".card.looked, .card[data-state=failed]").count() == 0:
                    page.wait_for_timeout(1000)
                took = time.monotonic() - began
                memory.phase = "opening the result"
                page.wait_for_selector("#busy", state="hidden", timeout=LONG)
                page.wait_for_timeout(2000)
                print(f"enlarged: {page.inner_text('.card .facts')}, after {took:.0f} s")
                moves = {"divider": _divide, "zoom and pan": _zoom_and_pan}
                for phase, move in moves.items():
                    memory.phase = phase
                    move(page)
                # Once more, when memory is known: the trace itself, of thousands of events, lies in the browser's.
                for phase, move in moves.items():
                    memory.phase = f"{phase}, traced"
                    page.locator("#view").focus()
                    page.keyboard.press("0")
                    page.wait_for_timeout(1000)
                    with _traced(browser, page) as frames:
                        move(page)
                    print(
                        f"{phase}: {len(frames.gaps)} frames, the longest {max(frames.gaps):.0f} ms, 95 % within "
                        f"{sorted(frames.gaps)[int(len(frames.gaps) * 0.95)]:.0f} ms; longest task of the page "
                        f"{frames.longest_task:.0f} ms, at most {frames.busiest_task:.0f} ms of processor time in one"
                    )
            for phase, peak in memory.peaks.items():
                print(
                    f"memory, {phase}: {memory.pages[phase] / 1e6:.0f} MB at most, {peak / 1e6:.0f} with Chromium's "
                    "own window"
                )
            browser.close()


@dataclass
class Frames:
    """What the trace says, once it is over; milliseconds."""

    gaps: list[float] = field(default_factory=list)
    """Between two frames."""
    longest_task: float = 0.0
    """Of the page's main thread: nothing is drawn while one runs."""
    busiest_task: float = 0.0
    """By the processor's time alone: what a task would take if the page had a core to itself."""


@contextmanager
def _traced(browser: Any, page: Any) -> Iterator[Frames]:
    found = Frames()
    page.evaluate("(function again() { window.ticking = requestAnimationFrame(again); })()")
    browser.start_tracing(page=page, categories=CATEGORIES)
    yield found
    page.wait_for_timeout(200)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    page.evaluate("cancelAnimationFrame(window.ticking)")
    ticks = [event for event in events if event["name"] == "FireAnimationFrame"]
    # The page's own process and thread; the trace holds those of the browser's window too.
    (process, thread), _ = Counter((event["pid"], event["tid"]) for event in ticks).most_common(1)[0]
    times = sorted(event["ts"] for event in ticks if event["pid"] == process)
    found.gaps = [(later - earlier) / 1000 for earlier, later in pairwise(times)]
    tasks = [
        event
        for event in events
        if event["name"] == "RunTask" and (event["pid"], event["tid"]) == (process, thread) and "tdur" in event
    ]
    found.longest_task = max(task["dur"] / 1000 for task in tasks)
    found.busiest_task = max(task["tdur"] / 1000 for task in tasks)


def _divide(page: Any) -> None:
    box = page.locator("#view").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for step in range(MOVES):
        share = 0.5 + 0.45 * math.sin(step / MOVES * 4 * math.pi)
        page.mouse.move(box["x"] + box["width"] * share, middle)
    page.mouse.up()


def _zoom_and_pan(page: Any) -> None:
    box = page.locator("#view").bounding_box()
    x, y = box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3
    page.locator("#view").focus()
    page.mouse.move(x, y)
    for _ in range(20):
        page.mouse.wheel(0, -120)
    page.mouse.down()
    for step in range(MOVES // 2):
        page.mouse.move(x + step * 2, y + step)
    page.mouse.up()


def _chromium(before: set[psutil.Process]) -> psutil.Process:
    """The browser's first process: the oldest of Chromium's that was not there before."""
    new = [one for one in psutil.Process().children(recursive=True) if one not in before]
    return min((one for one in new if "chrom" in one.name()), key=lambda one: one.create_time())


def _photo(width: int, height: int) -> Image.Image:
    """The example of a city, enlarged and made busy again by noise, so that no codec has it easy."""
    example = Path(__file__).resolve().parents[1] / "app/web/examples/city.jpg"
    large = np.asarray(Image.open(example).convert("RGB").resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = np.random.default_rng(1).normal(0, 6, large.shape)
    return Image.fromarray((large + noise).clip(0, 255).astype(np.uint8))


if __name__ == "__main__":
    main()
