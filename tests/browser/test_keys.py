"""The page of a service that wants a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.doing import LONG, enlarge, shown
from tests.integration.http.live import RealServer, real_server

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

KEY = "ck_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789abcdefg"


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[RealServer]:
    file = tmp_path / "key"
    file.write_text(KEY)
    file.chmod(0o600)
    with real_server(
        worker=True,
        CHETKO_DATA_DIR=str(tmp_path / "data"),
        CHETKO_ALLOW_ANONYMOUS="false",
        CHETKO_BOOTSTRAP_KEY_FILE=str(file),
    ) as one:
        yield one


def test_it_asks_once_and_keeps_a_cookie_not_the_key(chromium: Any, keyed: RealServer, photo: Path) -> None:
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(keyed.url)
    page.wait_for_selector("#session[open]")
    page.fill("#key", "ck_wrong")
    page.keyboard.press("Enter")
    shown(page, "#key-error", "This key is not known here, or was revoked.")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#session:not([open])", state="attached")
    page.wait_for_selector(".model", state="attached", timeout=LONG)
    enlarge(page, photo)
    page.reload()
    page.wait_for_selector(".model", state="attached", timeout=LONG)
    page.wait_for_selector(".card[data-state=succeeded]")
    assert page.locator("#session[open]").count() == 0, "asked once"
    (cookie,) = context.cookies()
    assert cookie["name"] == "chetko_session"
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href, document.cookie])")
    assert KEY not in kept
    assert page.input_value("#key") == ""
    context.close()


def test_who_gives_no_key_is_told_what_is_missing(chromium: Any, keyed: RealServer) -> None:
    context = chromium.new_context(locale="ru-RU", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(keyed.url)
    page.wait_for_selector("#session[open]")
    page.keyboard.press("Escape")
    shown(page, "#error", "Этому серверу нужен ключ. Обновите страницу и введите его.")
    context.close()
