"""Chromium, a running service, and a page that tells what the browser complained about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.http.live import RealServer, real_server

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}

KEY = "ck_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg"

Open = Callable[..., Any]
Keyed = Callable[..., RealServer]


# Of this folder, not of the session: while Playwright runs, asyncio believes that this thread's loop turns, and every
# asyncio.run() of the tests that follow would refuse.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("data")
    with real_server(worker=True, CHETKO_MAX_BODY_BYTES="2000000", CHETKO_DATA_DIR=str(folder)) as one:
        yield one


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about; tests that expect nothing else say so."""
    return []


@pytest.fixture
def open_page(chromium: Any, server: RealServer, complaints: list[str]) -> Iterator[Open]:
    """Opens the page in a browser profile of its own, which the keywords describe as Playwright's new_context does.
    ``ready``: what is there once it is."""
    contexts = []

    def opened(*, url: str | None = None, ready: str = ".model", **context: Any) -> Any:
        size = {"width": 1280, "height": 900}
        one = chromium.new_context(**{"locale": "en-US", "viewport": size, "accept_downloads": True, **context})
        contexts.append(one)
        page = one.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url or server.url)
        page.wait_for_selector(ready, state="attached")
        return page

    yield opened
    for one in contexts:
        one.close()


@pytest.fixture
def page(open_page: Open) -> Any:
    return open_page()


@pytest.fixture
def keyed_with(tmp_path: Path) -> Iterator[Keyed]:
    """Starts a service in which every call needs ``KEY``, with further settings."""
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    with ExitStack() as held:

        def start(**environ: str) -> RealServer:
            return held.enter_context(
                real_server(
                    worker=True,
                    CHETKO_DATA_DIR=str(tmp_path / "data"),
                    CHETKO_ALLOW_ANONYMOUS="false",
                    CHETKO_BOOTSTRAP_KEY_FILE=str(file),
                    **environ,
                )
            )

        yield start


@pytest.fixture
def keyed(keyed_with: Keyed) -> RealServer:
    return keyed_with()


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 x 60 px of colours, under a name that needs care."""
    y, x = np.mgrid[0:60, 0:80]
    levels = np.stack([x * 3, y * 4, 255 - x * 3], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "мой кот.png"
    Image.fromarray(levels).save(path)
    return path
