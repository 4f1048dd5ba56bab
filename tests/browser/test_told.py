"""What the page tells while it works, and of what can be chosen: texts and numbers, not only states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.browser.conftest import Open
from tests.browser.doing import LONG, enlarge, facts, shown
from tests.browser.scripted import hold_still
from tests.integration.http.live import RealServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


def test_progress_is_told_in_both_languages(page: Any, photo: Path, tmp_path: Path, complaints: list[str]) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    hold_still(page)
    page.set_input_files("#file", [photo, other])
    running, queued = ".card[data-state=running]", ".card[data-state=queued]"
    shown(page, f"{running} .status", "Enlarging: 7 of 12 strips. About 14 s left")
    shown(page, f"{queued} .status", "In the queue, 3 ahead")
    assert page.locator(f"{running} progress").evaluate("bar => bar.value") == pytest.approx(0.58)
    assert facts(page).endswith("Fast · 4×")
    assert page.title() == "0/2 · Chetko"
    page.click("[data-language=ru]")
    shown(page, f"{running} .status", "Увеличиваю: готово 7 полос из 12. Осталось около 14 с")
    shown(page, f"{queued} .status", "В очереди, впереди 3")
    assert complaints == []


def test_sent_bytes_are_counted(page: Any, tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "large.png"
    Image.effect_noise((1300, 1000), 90).save(path)
    client = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 150_000}
    client.send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#file", path)
    told = set()
    for _ in range(60):
        found = re.fullmatch(r"Sending: (\d+) %", page.inner_text(".card .status"))
        if found:
            told.add(int(found[1]))
        if len(told) >= 3:
            break
        page.wait_for_timeout(250)
    assert len(told) >= 3, "more than nothing and all of it"
    assert max(told) <= 100
    page.click(".card button:has-text('Cancel')")
    shown(page, ".card .status", "Cancelled.")
    assert complaints == []


def test_a_job_is_found_again_when_the_connection_was_lost(page: Any, server: RealServer, tmp_path: Path) -> None:
    path = tmp_path / "long.jpg"
    Image.effect_noise((1000, 900), 60).convert("RGB").save(path)
    page.set_input_files("#file", path)
    page.wait_for_selector(".card[data-state=preparing], .card[data-state=running]", timeout=LONG)
    page.context.set_offline(True)
    page.wait_for_timeout(3000)
    page.context.set_offline(False)
    page.wait_for_selector(".card[data-state=succeeded]", timeout=LONG)
    assert page.locator(".card").count() == 1
    assert "1000 × 900 → 4000 × 3600" in facts(page)


def test_models_are_cards_with_a_sentence_a_sample_and_honest_numbers(
    page: Any, server: RealServer, photo: Path, complaints: list[str]
) -> None:
    listed = httpx.get(f"{server.url}/v1/models").json()["models"]
    fast = next(model for model in listed if model["name"] == "fast")
    for entry in fast["scales"]:
        entry["seconds_per_output_megapixel"] = {2: 1.0, 4: 3.0}[entry["scale"]]
    # Twice the work of a network that was measured takes about twice as long.
    heavy = {**fast, "name": "heavy", "default": False, "title": {"en": "Heavy", "ru": "Тяжёлая"}, "scales": []}
    for entry in fast["scales"]:
        work = 2 * entry["multiply_adds_per_input_pixel"]
        heavy["scales"].append({**entry, "multiply_adds_per_input_pixel": work, "seconds_per_output_megapixel": None})
    page.route("**/v1/models", lambda route: route.fulfill(json={"models": [*listed, heavy]}))
    page.route("**/v1/upscale?model=heavy*", lambda route: route.fulfill(path=photo))
    page.reload()
    card = ".model:has(strong:text-is('{}'))".format
    for title in ("Fast", "Heavy"):
        page.wait_for_selector(card(title) + " .sample:not([hidden])", timeout=LONG)
    assert fast["description"]["en"] in page.inner_text(card("Fast"))
    measured = next(entry["measured"]["Set14"] for entry in fast["scales"] if entry["scale"] == 4)
    quality = f"{measured['psnr']:.2f} dB on Set14 · LPIPS {measured['lpips']:.3f}"
    shown(page, card("Fast") + " .numbers", f"{quality} · about 3.0 s per megapixel")
    shown(page, card("Heavy") + " .numbers", re.compile("about 6.0 s per megapixel$"))
    hold_still(page)
    large = photo.with_name("large.png")
    Image.open(photo).resize((500, 500)).save(large)
    page.set_input_files("#file", large)
    shown(page, card("Fast") + " .numbers", f"{quality} · about 12 s for your picture")
    page.locator("#scales label", has_text="2×").click()
    shown(page, card("Fast") + " .numbers", re.compile("about 1.0 s for your picture$"))
    shown(page, card("Heavy") + " .numbers", re.compile("about 2.0 s for your picture$"))
    page.locator("#scales label", has_text="Factor").click()
    page.fill("#factor", "3")  # the network gives 4x, which is made smaller
    shown(page, card("Fast") + " .numbers", re.compile("about 12 s for your picture$"))
    assert complaints == []


def test_colours_can_be_matched_or_left(page: Any, photo: Path) -> None:
    page.locator(".more summary").click()
    for value, wanted in (("true", "equalize_colors=true"), ("false", "equalize_colors=false")):
        page.select_option("#equalize", value)
        with page.expect_request("**/v1/upscale?*") as sent:
            enlarge(page, photo)
        assert wanted in sent.value.url
        page.click(".card button:has-text('Remove')")
        page.wait_for_selector("#work", state="hidden")


def test_about_has_the_table_the_licence_and_the_way_to_the_api(
    page: Any, server: RealServer, complaints: list[str]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    models = httpx.get(f"{server.url}/v1/models").json()["models"]
    wanted = [
        [model["title"]["en"], f"{entry['scale']}×", f"{entry['measured']['Set5']['psnr']:.2f}", model["licence"]]
        for model in models
        for entry in model["scales"]
    ]
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("#about-table tbody tr").all()]
    assert [[row[0], row[1], row[2], row[-1]] for row in rows] == wanted
    page.click("#curl-copy")
    shown(page, "#curl-status", "Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#curl")
    for link in ("footer a[href='/docs']", "footer a[href='/v1/models']", "#about a"):
        answer = httpx.get(server.url + page.get_attribute(link, "href"))
        assert answer.status_code == 200, link
    assert complaints == []


def test_the_page_begins_simple(open_page: Open) -> None:
    """On a phone the options are one line; the rarer ones are folded away everywhere."""
    page = open_page()
    assert page.locator("#options-fold[open]").count() == 1
    assert page.locator(".more[open]").count() == 0
    assert page.is_hidden("#format")
    small = open_page(viewport={"width": 390, "height": 844})
    assert small.locator("#options-fold[open]").count() == 0
    assert small.inner_text("#choice") == "Fast · 4×"
