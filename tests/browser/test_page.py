"""The page in Chromium: choose, enlarge, compare by keyboard, download."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.integration.http.live import RealServer, real_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RealServer]:
    with real_server(CHETKO_MAX_BODY_BYTES="2000000") as one:
        yield one


@pytest.fixture
def complaints() -> list[str]:
    """What the browser complained about; tests that expect nothing else say so."""
    return []


@pytest.fixture
def page(chromium: Any, server: RealServer, complaints: list[str]) -> Iterator[Any]:
    context = chromium.new_context(locale="en-US", viewport={"width": 1000, "height": 900}, accept_downloads=True)
    one = context.new_page()
    one.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    one.on("pageerror", lambda error: complaints.append(str(error)))
    one.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    one.goto(server.url)
    one.wait_for_selector("#model option", state="attached")
    yield one
    context.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[0:60, 0:80]
    levels = np.stack([x * 3, y * 4, 255 - x * 3], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("photos") / "мой кот.png"
    Image.fromarray(levels).save(path)
    return path


def shown(page: Any, selector: str, text: str | re.Pattern[str]) -> None:
    """Waits for a text. Not by wait_for_function, which evaluates strings, which the page's policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=60_000)


def enlarge(page: Any, file: Path) -> None:
    page.set_input_files("#file", file)
    page.click("#start")
    page.wait_for_selector("#result:not([hidden])")
    shown(page, "#status", re.compile("^(Done|Готово)"))


def test_a_picture_is_enlarged_compared_and_downloaded(
    page: Any, server: RealServer, photo: Path, complaints: list[str]
) -> None:
    assert page.title() == "Chetko"
    assert page.is_disabled("#start"), "there is no picture yet"
    enlarge(page, photo)
    assert page.evaluate("document.getElementById('after').naturalWidth") == 320
    assert "320 × 240 pixels" in page.inner_text("#facts")
    assert "fast/x4@" in page.inner_text("#facts")

    slider = page.locator("#slider")
    assert slider.get_attribute("aria-label") == "Divider between before and after"
    split = "document.getElementById('viewer').style.getPropertyValue('--split')"
    clip = "getComputedStyle(document.getElementById('before-clip')).clipPath"
    assert page.evaluate(split) == "50%"
    before = page.evaluate(clip)
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert page.evaluate(split) == "60%"
    assert page.evaluate(clip) != before
    assert slider.get_attribute("aria-valuetext") == "60 percent before"
    page.keyboard.press("Home")
    assert page.evaluate(split) == "0%"

    with page.expect_download() as waiting:
        page.click("#download")
    assert waiting.value.suggested_filename == "мой кот_x4.png"
    saved = Path(waiting.value.path()).read_bytes()
    files = {"image": (photo.name, photo.read_bytes())}
    answer = httpx.post(f"{server.url}/v1/upscale?model=fast&scale=4", files=files, timeout=60)
    assert saved == answer.content
    assert Image.open(io.BytesIO(saved)).size == (320, 240)
    assert complaints == []


def test_a_picture_can_be_dropped_and_pasted(page: Any, photo: Path, complaints: list[str]) -> None:
    content = list(photo.read_bytes())
    deliver = """([content, kind]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(content)], kind + ".png", {type: "image/png"}));
        const event = kind === "drop"
            ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
        document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(deliver, [content, kind])
        assert page.inner_text("#drop-title").startswith(f"{kind}.png")
        assert page.is_enabled("#start")
    assert complaints == []


def test_refusals_are_told_in_plain_words(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    page.set_input_files("#file", broken)
    page.click("#start")
    page.wait_for_selector("#error:not([hidden])")
    english = page.inner_text("#error")
    assert len(english) > 15
    assert "{" not in english
    page.click("[data-language=ru]")
    russian = page.inner_text("#error")
    assert russian != english
    assert page.is_enabled("#start"), "another attempt must be possible"

    large = tmp_path / "large.png"
    large.write_bytes(bytes(3_000_000))
    page.set_input_files("#file", large)
    page.click("#start")
    shown(page, "#error", re.compile("2 МБ"))
    page.click("[data-language=en]")
    shown(page, "#error", re.compile("2 MB"))

    empty = tmp_path / "empty.png"
    empty.touch()
    page.set_input_files("#file", empty)
    page.click("#start")
    shown(page, "#error", "The file is empty.")


def test_it_speaks_russian_to_russian_browsers(
    chromium: Any, server: RealServer, photo: Path, complaints: list[str]
) -> None:
    context = chromium.new_context(locale="ru-RU", color_scheme="dark", viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#model option", state="attached")
    assert page.get_attribute("html", "lang") == "ru"
    assert "чётко" in page.inner_text("h1")
    enlarge(page, photo)
    assert page.inner_text("#download") == "Скачать"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the phone"
    untranslated = page.evaluate(
        "[...document.querySelectorAll('[data-i18n]')].filter(n => !n.textContent || n.textContent === 'undefined')"
        ".map(n => n.dataset.i18n)"
    )
    assert untranslated == []
    page.click("[data-language=en]")
    assert page.inner_text("#download") == "Download"
    page.reload()
    assert page.get_attribute("html", "lang") == "en", "the choice is not remembered"
    assert complaints == []
    context.close()


def test_both_languages_have_the_same_texts(page: Any) -> None:
    keys = """async () => {
        const source = await (await fetch("/static/i18n.js")).text();
        const { text, setLanguage } = await import("/static/i18n.js");
        const names = [...source.matchAll(/^    (\\w+):/gm)].map(match => match[1]);
        const missing = [];
        for (const language of ["en", "ru"]) {
            setLanguage(language);
            for (const name of new Set(names)) if (text(name) === undefined && name !== "errorByStatus")
                missing.push(language + "." + name);
        }
        return missing;
    }"""
    names = page.evaluate(keys.replace("text(name)", "text(name, {})"))
    assert names == []


def test_a_long_wait_can_be_cancelled(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "slow.png"
    Image.effect_noise((900, 900), 60).save(path)
    page.set_input_files("#file", path)
    page.click("#start")
    page.click("#cancel")
    shown(page, "#status", "Cancelled.")
    assert page.is_enabled("#start")
    assert page.is_hidden("#result")
