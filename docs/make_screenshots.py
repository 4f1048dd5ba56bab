"""Makes the pictures of the page's states: ``make screenshots`` (Debian's chromium, and fonts-inter for its letters).

Every state is reached the way that a user reaches it, on a service that is started for it. Only the states that last
for a moment (queued, running) are held still: their answers are written here.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, PHONE
from tests.browser.doing import in_viewer
from tests.browser.scripted import hold_still
from tests.integration.http.live import real_server

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "app/web/examples"
DESK = {"viewport": {"width": 1360, "height": 880}}
LONG = 120_000


def main() -> None:
    """Writes docs/images/page-*.webp."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs/images", metavar="DIR")
    parser.add_argument("states", nargs="*", help=f"only these: {', '.join(STATES)}")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        real_server(worker=True, CHETKO_DATA_DIR=folder, CHETKO_MAX_BODY_BYTES="5000000") as server,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in given.states or STATES:
            reach, context = STATES[name]
            opened = browser.new_context(**{"locale": "en-US", "reduced_motion": "reduce", **DESK, **context})
            page = opened.new_page()
            reach(page, server.url)
            _save(page, given.to / f"page-{name}.webp")
            opened.close()
            print(f"page-{name}.webp")  # noqa: T201 - a command tells what it made
        browser.close()


def example(page: Page, url: str) -> None:
    """What a visitor sees first."""
    page.goto(url)
    page.wait_for_selector("#tag-left:not([hidden])")
    page.wait_for_selector(".model .sample:not([hidden])", state="attached", timeout=LONG)


def done(page: Page, url: str) -> None:
    """A picture is finished and in the viewer."""
    example(page, url)
    page.set_input_files("#file", EXAMPLES / "city.jpg")
    in_viewer(page)
    page.wait_for_selector(".thumbnail img")
    page.click("#zoom-one")


def options(page: Page, url: str) -> None:
    """All options are unfolded."""
    example(page, url)
    if page.locator("#options-fold[open]").count() == 0:
        page.click("#options-fold > summary")
    page.click(".more summary")


def side(page: Page, url: str) -> None:
    """Side by side at 400 %."""
    done(page, url)
    page.click("[data-mode=side]")
    for _ in range(3):
        page.click("#zoom-in")


def loupe(page: Page, url: str) -> None:
    """The loupe over a result that is seen whole."""
    done(page, url)
    page.click("#zoom-fit")
    page.click("#magnify")
    box = page.locator("#view").bounding_box() or {"x": 0, "y": 0, "width": 1, "height": 1}
    page.mouse.move(box["x"] + box["width"] * 0.58, box["y"] + box["height"] * 0.55)


def many(page: Page, url: str) -> None:
    """Several pictures on their way, one of them refused."""
    example(page, url)
    page.set_input_files("#file", EXAMPLES / "kitten.jpg")
    in_viewer(page)
    hold_still(page)
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "scan.tif")
        large.write_bytes(bytes(6_000_000))
        names = ["harbour.jpg", "dog.jpg"]
        Image.open(EXAMPLES / "city.jpg").save(Path(folder, names[0]))
        Image.open(EXAMPLES / "dog.jpg").save(Path(folder, names[1]))
        page.set_input_files("#file", [large, *(Path(folder, name) for name in names)])
        page.wait_for_selector(".card[data-state=running]", timeout=LONG)
        page.wait_for_selector(".card[data-state=queued]", timeout=LONG)
        page.wait_for_selector(".card[data-state=failed]", timeout=LONG)
        page.wait_for_selector(".thumbnail img >> nth=2", timeout=LONG)
    page.locator("#work").scroll_into_view_if_needed()


def compare(page: Page, url: str) -> None:
    """The same region through every model."""
    example(page, url)
    page.click("#stage-actions button:last-child")
    page.wait_for_selector("#compare-actions button", timeout=LONG)


def evaluate(page: Page, url: str) -> None:
    """A sharp picture was shrunk, restored and measured."""
    example(page, url)
    page.click("#evaluate-example")
    page.wait_for_selector("#evaluate-table table", timeout=LONG)
    page.locator("#evaluate").scroll_into_view_if_needed()


def about(page: Page, url: str) -> None:
    """The end of the page."""
    example(page, url)
    page.locator("footer").scroll_into_view_if_needed()


def key(page: Page, url: str) -> None:
    """The service wants a key."""
    example(page, url)
    page.evaluate("document.getElementById('session').showModal()")


def _save(page: Page, path: Path) -> None:
    page.evaluate("Promise.all(document.getAnimations().map(each => each.finished.catch(() => 0)))")
    page.wait_for_timeout(400)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=86, method=6)


RUSSIAN, DARK = {"locale": "ru-RU"}, {"color_scheme": "dark"}

STATES: dict[str, tuple[Callable[[Page, str], None], dict[str, Any]]] = {
    "example": (example, {}),
    "example-dark": (example, {**RUSSIAN, **DARK}),
    "example-phone": (example, {**RUSSIAN, **PHONE}),
    "done": (done, {}),
    "done-phone": (done, {**DARK, **PHONE}),
    "options": (options, {}),
    "options-phone": (options, {**RUSSIAN, **PHONE}),
    "side": (side, DARK),
    "loupe": (loupe, {}),
    "many": (many, {}),
    "many-phone": (many, {**RUSSIAN, **PHONE}),
    "compare": (compare, {}),
    "compare-phone": (compare, {**RUSSIAN, **DARK, **PHONE}),
    "evaluate": (evaluate, {}),
    "evaluate-dark": (evaluate, {**RUSSIAN, **DARK}),
    "about": (about, RUSSIAN),
    "key": (key, DARK),
}


if __name__ == "__main__":
    main()
