"""The page of a service that wants a key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import KEY, Keyed, Open
from tests.browser.doing import LONG, enlarge, shown
from tests.integration.http.live import RealServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def signed_in(open_page: Open, server: RealServer) -> Any:
    """The page of a service that wants a key, once it has it."""
    page = open_page(url=server.url, ready="#session[open]")
    page.fill("#key", KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".model", state="attached", timeout=LONG)
    return page


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


def noise(folder: Path, count: int) -> list[Path]:
    """So many pictures, none of which is in a cache."""
    found = []
    for number in range(count):
        path = folder / f"noise-{number}.png"
        Image.effect_noise((40 + number, 30), 60).convert("RGB").save(path)
        found.append(path)
    return found


def test_more_pictures_than_a_key_may_have_jobs_wait_for_each_other(
    open_page: Open, keyed_with: Keyed, tmp_path: Path
) -> None:
    server = keyed_with(CHETKO_KEY_MAX_JOBS="2")
    page = signed_in(open_page, server)
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status) if "/v1/upscale" in answer.url else None)
    enlarge(page, *noise(tmp_path, 7))
    assert page.locator(".card[data-state=succeeded]").count() == 7
    assert 429 not in statuses, "nothing is sent in vain"


def test_where_the_service_wants_a_pause_the_page_goes_on_by_itself(
    open_page: Open, keyed_with: Keyed, tmp_path: Path
) -> None:
    page = signed_in(open_page, keyed_with())
    refusals = [("rate_limited", 429, 4), ("quota_exceeded", 429, 2), ("overloaded", 503, 1)]

    def refuse(route: Any) -> None:
        if "prefer" not in route.request.headers or not refusals:
            route.continue_()
            return
        code, status, seconds = refusals.pop(0)
        route.fulfill(status=status, headers={"Retry-After": str(seconds)}, json={"code": code, "status": status})

    page.route("**/v1/upscale?*", refuse)
    began = time.monotonic()
    page.set_input_files("#file", noise(tmp_path, 3))
    page.wait_for_selector(".card .status:has-text('The server asks for a pause. It goes on by itself in ')")
    page.wait_for_selector(".card[data-state=succeeded] >> nth=2", timeout=LONG)
    assert not refusals
    assert time.monotonic() - began >= 4
    assert page.locator(".card[data-state=failed]").count() == 0


def test_a_share_of_the_storage_that_is_used_up_is_told_at_once(
    open_page: Open, keyed_with: Keyed, tmp_path: Path
) -> None:
    page = signed_in(open_page, keyed_with(CHETKO_KEY_STORAGE_MB="1"))
    large = tmp_path / "large.png"
    Image.effect_noise((1300, 1300), 90).save(large)
    page.set_input_files("#file", large)
    shown(page, ".card .status", "Your share of this server is used up. Remove finished pictures, or try again later.")
