"""The page in Chromium, the way that everybody goes: drop, see it done, compare, download."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.browser.conftest import PHONE, Open
from tests.browser.doing import LONG, enlarge, facts, has, shown, split
from tests.browser.scripted import hold_still
from tests.integration.http.live import RealServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_picture_is_enlarged_compared_and_downloaded(
    page: Any, server: RealServer, photo: Path, complaints: list[str]
) -> None:
    assert page.title() == "Chetko"
    shown(page, "#stage-title", "An example")
    assert page.is_hidden("#work")
    enlarge(page, photo)
    assert "80 × 60 → 320 × 240" in facts(page)
    assert page.inner_text(".card .status").startswith("Done in ")
    assert page.inner_text("#stage-title") == "мой кот.png"
    assert page.inner_text("#tag-left") == "Bicubic"

    slider = page.locator("#slider")
    assert slider.get_attribute("aria-label") == "Divider between before and after"
    assert split(page) == 50
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert split(page) == 60
    assert slider.get_attribute("aria-valuetext") == "60 percent"
    page.keyboard.press("Home")
    assert split(page) == 0

    with page.expect_download() as waiting:
        page.click(".card .primary")
    assert waiting.value.suggested_filename == "мой кот_x4.png"
    saved = Path(waiting.value.path()).read_bytes()
    files = {"image": (photo.name, photo.read_bytes())}
    answer = httpx.post(f"{server.url}/v1/upscale?model=fast&scale=4", files=files, timeout=60)
    assert saved == answer.content
    assert Image.open(io.BytesIO(saved)).size == (320, 240)
    assert complaints == []


DELIVER = """([content, kind]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(content)], kind + ".png", {type: "image/png"}));
    const event = kind === "drop"
        ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
        : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true});
    document.body.dispatchEvent(event);
}"""


@pytest.mark.slow
def test_pictures_can_be_dropped_and_pasted(page: Any, photo: Path, complaints: list[str]) -> None:
    for kind in ("drop", "paste"):
        page.evaluate(DELIVER, [list(photo.read_bytes()), kind])
        page.wait_for_selector(f".card[data-state=succeeded] h3:text-is('{kind}.png')", timeout=LONG)
    assert complaints == []


@pytest.mark.slow
def test_a_dropped_folder_gives_its_pictures(page: Any, photo: Path, complaints: list[str]) -> None:
    """A script cannot make a real folder: the reader of entries is given one that answers in two portions."""
    drop = """(content) => {
        const file = (name, type) => ({
            isFile: true, isDirectory: false, name,
            file: (resolve) => resolve(new File([new Uint8Array(content)], name, {type})),
        });
        const folder = (name, ...portions) => ({
            isFile: false, isDirectory: true, name,
            createReader: () => ({readEntries: (resolve) => resolve(portions.shift() ?? [])}),
        });
        const tree = folder("holiday", [file("b.png", "image/png"), file("notes.txt", "text/plain")],
            [folder("more", [file("c.png", ""), file(".hidden.png", "image/png")])]);
        const event = new Event("drop", {bubbles: true, cancelable: true});
        event.dataTransfer = {files: [], items: [{kind: "file", webkitGetAsEntry: () => tree}]};
        document.body.dispatchEvent(event);
    }"""
    page.evaluate(drop, list(photo.read_bytes()))
    page.wait_for_selector(".card >> nth=1")
    assert sorted(page.locator(".card h3").all_inner_texts()) == ["b.png", "c.png"]
    page.wait_for_selector(".card[data-state=succeeded] >> nth=1", timeout=LONG)
    assert complaints == []


@pytest.mark.slow
def test_many_are_done_and_come_as_one_zip(
    page: Any, server: RealServer, photo: Path, tmp_path: Path, complaints: list[str]
) -> None:
    other = tmp_path / "другой.jpg"
    Image.open(photo).rotate(90, expand=True).save(other)
    same = tmp_path / "again" / photo.name
    same.parent.mkdir()
    Image.open(photo).rotate(180).save(same)
    enlarge(page, photo, other, same)
    with page.expect_download() as waiting:
        page.click("#all")
    assert waiting.value.suggested_filename == "chetko.zip"
    with zipfile.ZipFile(waiting.value.path()) as packed:
        assert packed.testzip() is None
        assert sorted(packed.namelist()) == sorted(["мой кот_x4.png", "мой кот_x4 (2).png", "другой_x4.jpg"])
        files = {"image": (other.name, other.read_bytes())}
        answer = httpx.post(f"{server.url}/v1/upscale?model=fast&scale=4", files=files, timeout=60)
        assert packed.read("другой_x4.jpg") == answer.content
    shown(page, "#work-status", re.compile("chetko.zip, .* is on its way"))
    page.click("#clear")
    page.wait_for_selector("#work", state="hidden")
    shown(page, "#stage-title", "An example")
    assert complaints == []


@pytest.mark.slow
def test_a_reload_forgets_nothing(page: Any, photo: Path, complaints: list[str]) -> None:
    enlarge(page, photo)
    page.reload()
    page.wait_for_selector(".card[data-state=succeeded]")
    shown(page, "#stage-title", "мой кот.png")
    page.wait_for_selector(".thumbnail img")
    page.wait_for_selector("#busy", state="hidden", timeout=LONG)
    assert page.inner_text("#tag-left") == "Bicubic", "the source is still there to be compared with"
    with page.expect_download() as waiting:
        page.click(".card .primary")
    assert Image.open(waiting.value.path()).size == (320, 240)
    assert complaints == []


@pytest.mark.slow
@pytest.mark.slow
def test_a_browser_whose_storage_never_answers_holds_nothing_up(page: Any, photo: Path, complaints: list[str]) -> None:
    page.add_init_script("indexedDB.open = () => ({})")
    page.reload()
    page.wait_for_selector(".model", state="attached")
    enlarge(page, photo)
    page.wait_for_selector(".thumbnail img")
    assert split(page) > 0
    assert not complaints


def test_the_choice_is_used_remembered_and_told(page: Any, photo: Path, complaints: list[str]) -> None:
    page.locator("#scales label", has_text="2×").click()
    page.locator(".more summary").click()
    page.select_option("#format", "webp")
    page.fill("#quality", "55")
    page.check("#strip")
    page.locator("#strip").blur()
    shown(page, "#choice", "Fast · 2× · WEBP")
    enlarge(page, photo)
    assert "80 × 60 → 160 × 120" in facts(page)
    shown(page, "#curl", re.compile(re.escape("model=fast&scale=2&format=webp&quality=55&metadata=strip")))
    assert "'image=@мой кот.png'" in page.inner_text("#curl")
    with page.expect_download() as waiting:
        page.click(".card .primary")
    assert waiting.value.suggested_filename == "мой кот_x2.webp"
    assert Image.open(waiting.value.path()).format == "WEBP"
    page.reload()
    page.wait_for_selector(".model", state="attached")
    shown(page, "#choice", "Fast · 2× · WEBP")
    page.locator("#scales label", has_text="4×").click()
    page.click("#stage-actions >> text=Again with Fast")
    page.wait_for_selector(".card[data-state=succeeded] .facts:has-text('320 × 240')", timeout=LONG)
    assert page.locator(".card").count() == 1, "the new one takes the old one's place"
    assert complaints == []


@pytest.mark.slow
def test_a_long_wait_can_be_cancelled_and_tried_again(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "slow.png"
    Image.effect_noise((900, 900), 60).save(path)
    page.set_input_files("#file", path)
    page.click(".card button:has-text('Cancel')")
    shown(page, ".card .status", "Cancelled.")
    shown(page, "#stage-title", "An example")
    page.click(".card button:has-text('Try again')")
    page.wait_for_selector(".card:not([data-state=cancelled])")
    page.click(".card button:has-text('Cancel')")
    shown(page, ".card .status", "Cancelled.")
    page.click(".card button:has-text('Remove')")
    page.wait_for_selector("#work", state="hidden")


@pytest.mark.slow
def test_refusals_are_told_in_plain_words_of_both_languages(page: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    empty = tmp_path / "empty.png"
    empty.touch()
    large = tmp_path / "large.png"
    large.write_bytes(bytes(3_000_000))
    words = tmp_path / "words.png"
    words.write_bytes(b"no picture at all, only words")
    for path, english, russian in (
        (broken, re.compile(r"\w{3,}.*\."), re.compile("повреждён")),
        (empty, "The file is empty. Choose another one.", "Файл пустой. Выберите другой."),
        (large, re.compile("at most 2 MB"), re.compile("не больше 2 МБ")),
        (words, re.compile(r"\w{3,}.*\."), re.compile("формат не поддерживается|не картинка")),
    ):
        page.click("[data-language=en]")
        page.set_input_files("#file", path)
        has(page, ".card >> nth=0", "data-state", "failed")
        shown(page, ".card >> nth=0 >> .status", english)
        assert "{" not in page.inner_text(".card >> nth=0 >> .status")
        page.click("[data-language=ru]")
        shown(page, ".card >> nth=0 >> .status", russian)
        assert page.is_visible(".card >> nth=0 >> text=Ещё раз"), "another attempt must be possible"
    page.evaluate(DELIVER.replace('".png", {type: "image/png"}', '".txt", {type: "text/plain"}'), [[1], "paste"])
    shown(page, "#error", re.compile("Это не картинки"))
    page.click("[data-language=en]")
    shown(page, "#error", re.compile("These are no picture files"))


@pytest.mark.slow
def test_a_server_that_is_gone_is_told_and_found_again(page: Any, photo: Path) -> None:
    page.context.set_offline(True)
    page.set_input_files("#file", photo)
    shown(page, ".card .status", "The server cannot be reached. Check the connection and try again.")
    page.context.set_offline(False)  # the browser notices, and nobody has to click
    page.wait_for_selector(".card[data-state=succeeded]", timeout=LONG)


@pytest.mark.slow
def test_it_speaks_russian_to_russian_browsers_on_a_phone(open_page: Open, photo: Path, complaints: list[str]) -> None:
    page = open_page(**{**PHONE, "locale": "ru-RU", "color_scheme": "dark"})
    assert page.get_attribute("html", "lang") == "ru"
    assert "чётко" in page.inner_text("h1")
    enlarge(page, photo)
    assert page.inner_text(".card .primary") == "Скачать"
    wide = "[...document.querySelectorAll('body *')].filter(n => n.getBoundingClientRect().right > innerWidth + 1"
    wide += " && !n.closest('.scrolls, .unseen, pre, .sprite')).map(n => n.id || n.className)"
    assert page.evaluate(wide) == [], "the page is wider than the phone"
    page.click("[data-language=en]")
    assert page.inner_text(".card .primary") == "Download"
    page.reload()
    assert page.get_attribute("html", "lang") == "en", "the choice is remembered"
    assert complaints == []


@pytest.mark.slow
def test_all_models_are_compared_saved_and_shared(page: Any, server: RealServer, complaints: list[str]) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#stage-actions >> text=Compare all models")
    page.wait_for_selector("#compare-actions button", timeout=LONG)
    labels = page.locator("#compare-strip strong").all_inner_texts()
    assert labels[0] == "Bicubic"
    assert labels.count("Bicubic") == 1
    assert labels[-1] == "Fast", "baselines come first"
    assert page.inner_text("#tag-left") == "Bicubic"
    pressed = page.locator("#compare-strip [aria-pressed=true]")
    assert pressed.count() == 2
    page.locator("#compare-strip button").first.click()
    assert page.inner_text("#tag-right") == "Bicubic"
    with page.expect_download() as waiting:
        page.click("#compare-actions >> text=Save as PNG")
    assert waiting.value.suggested_filename == "kitten_compare.png"
    strip = Image.open(waiting.value.path())
    assert strip.width == 8 + len(labels) * (104 * 4 + 8)
    assert strip.height == 26 + 78 * 4 + 22 + 8
    assert Image.open(io.BytesIO(httpx.get(strip_link(page, "compare", server)).content)) == strip
    page.click("#compare-close")
    assert page.is_hidden("#compare")
    assert complaints == []


def strip_link(page: Any, name: str, server: RealServer) -> str:
    """The link to a strip, as its button puts it on the clipboard."""
    page.click(f"#{name}-actions >> text=Copy link")
    shown(page, f"#{name}-status", re.compile("The link is on the clipboard. It works until"))
    link = str(page.evaluate("navigator.clipboard.readText()"))
    assert link.startswith(f"{server.url}/v1/shared/")
    return link


@pytest.mark.slow
def test_the_strip_of_a_result_is_shared_as_long_as_the_result_lives(
    page: Any, server: RealServer, tmp_path: Path, complaints: list[str]
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fresh = tmp_path / "strip.png"
    Image.effect_noise((60, 50), 60).convert("RGB").save(fresh)
    enlarge(page, fresh)
    page.click("#stage-actions >> text=Compare all models")
    page.wait_for_selector("#compare-actions button", timeout=LONG)
    link = strip_link(page, "compare", server)
    assert httpx.get(link).headers["content-type"] == "image/png"
    page.click(".card button:has-text('Remove')")
    page.wait_for_selector("#work", state="hidden")
    assert httpx.get(link).status_code == 404
    assert complaints == []


@pytest.mark.slow
def test_the_first_load_is_small_and_from_here(open_page: Open, server: RealServer, complaints: list[str]) -> None:
    page = open_page(reduced_motion="reduce")
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.update({answer.url: answer.request.sizes()["responseBodySize"]}))
    page.goto("about:blank")
    page.context.clear_cookies()
    page.goto(server.url)
    page.wait_for_selector(".model .sample:not([hidden])", state="attached", timeout=LONG)
    page.wait_for_load_state("networkidle")
    assert {url for url in sizes if not url.startswith(("blob:", server.url, "about:"))} == set()
    own = {url: size for url, size in sizes.items() if "/examples/" not in url and "/v1/upscale" not in url}
    assert len(own) > 20
    assert sum(own.values()) <= 200_000, own
    assert complaints == []


@pytest.mark.slow
def test_thumbnails_stand_upright_and_are_the_picture(page: Any, tmp_path: Path, complaints: list[str]) -> None:
    """JPEG is decoded small by a way of its own, whatever its orientation; a PNG called JPEG takes the common way."""
    dog = Image.open(Path(__file__).parents[2] / "app/web/examples/dog.jpg").convert("RGB").resize((800, 532))
    paths = []
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        paths.append(tmp_path / f"turned-{turn}.jpg")
        dog.save(paths[-1], quality=95, exif=exif)
    paths.append(tmp_path / "no-jpeg.jpg")
    dog.save(paths[-1], "PNG", compress_level=1)
    page.route("**/v1/upscale?*", lambda _: None)  # nothing has to be computed for this
    page.set_input_files("#file", paths)
    page.wait_for_selector(".thumbnail img >> nth=8", timeout=LONG)
    for path in paths:
        shot = page.evaluate(THUMBNAIL, path.name)
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot.split(",")[1]))).convert("RGB")).astype(int)
        assert min(seen.shape[:2]) == 168
        upright = ImageOps.exif_transpose(Image.open(path)).resize((seen.shape[1], seen.shape[0]), Image.Resampling.BOX)
        assert np.abs(seen - np.asarray(upright)).mean() < 6, path.name
    assert complaints == []


THUMBNAIL = """async (name) => {
    const card = [...document.querySelectorAll(".card")].find(each => each.querySelector("h3").textContent === name);
    const image = card.querySelector(".thumbnail img");
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL();
}"""


@pytest.fixture
def long_photo(tmp_path: Path) -> Path:
    """1100 x 900 px of noise: a job of seconds."""
    path = tmp_path / "long.jpg"
    Image.effect_noise((1100, 900), 60).convert("RGB").save(path)
    return path


UNDERWAY = ".card[data-state=queued], .card[data-state=preparing], .card[data-state=running]"


@pytest.mark.slow
def test_a_job_goes_on_while_the_page_is_reloaded(page: Any, long_photo: Path, complaints: list[str]) -> None:
    page.set_input_files("#file", long_photo)
    page.wait_for_selector(UNDERWAY, timeout=LONG)
    job = page.evaluate("JSON.parse(localStorage['chetko-cards'])[0].job.id")
    page.reload()
    page.wait_for_selector(UNDERWAY + ", .card[data-state=succeeded]", timeout=LONG)
    page.wait_for_selector(".card[data-state=succeeded]", timeout=LONG)
    assert page.evaluate("JSON.parse(localStorage['chetko-cards'])[0].job.id") == job
    assert "1100 × 900 → 4400 × 3600" in facts(page)
    assert complaints == []


@pytest.mark.slow
def test_a_job_is_cancelled_here_and_on_the_server(page: Any, server: RealServer, long_photo: Path) -> None:
    page.set_input_files("#file", long_photo)
    page.wait_for_selector(UNDERWAY, timeout=LONG)
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.click(".card button:has-text('Cancel')")
    shown(page, ".card .status", "Cancelled.")
    job = page.evaluate("JSON.parse(localStorage['chetko-cards'])[0].job.id")
    assert httpx.get(f"{server.url}/v1/jobs/{job}").json()["state"] == "cancelled"


@pytest.mark.slow
def test_a_result_that_the_server_no_longer_has_is_made_anew(page: Any, server: RealServer, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.png"  # what was computed before is answered at once, without a job
    Image.effect_noise((70, 50), 60).convert("RGB").save(fresh)
    enlarge(page, fresh)
    job = page.evaluate("JSON.parse(localStorage['chetko-cards'])[0].job.id")
    assert httpx.delete(f"{server.url}/v1/jobs/{job}").status_code == 204
    page.reload()
    shown(page, ".card .status", re.compile("The server has deleted the result"))
    page.click(".card button:has-text('Try again')")
    page.wait_for_selector(".card[data-state=succeeded]", timeout=LONG)
    page.click("[data-language=ru]")
    shown(page, ".card .status", re.compile("Готово"))


@pytest.mark.slow
def test_a_page_that_was_closed_while_it_sent_sends_again_and_makes_one_job(
    page: Any, server: RealServer, photo: Path
) -> None:
    """The connection dies after the server took the picture, before the page was told."""
    page.route("**/v1/upscale?*", lambda route: (route.fetch(), route.abort())[1])
    page.set_input_files("#file", photo)
    page.wait_for_selector(".card[data-state=failed]", timeout=LONG)
    page.unroute("**/v1/upscale?*")
    # As a page leaves it that is closed while it sends.
    page.evaluate("""() => {
        const cards = JSON.parse(localStorage["chetko-cards"]);
        cards[0].state = "sending";
        localStorage["chetko-cards"] = JSON.stringify(cards);
    }""")
    with page.expect_response("**/v1/upscale?*") as answer:
        page.reload()
    assert answer.value.request.headers["idempotency-key"]
    page.wait_for_selector(".card[data-state=succeeded]", timeout=LONG)


@pytest.mark.slow
def test_a_target_size_and_other_factors(page: Any, photo: Path, complaints: list[str]) -> None:
    page.locator("#scales label", has_text="Factor").click()
    page.fill("#factor", "2.5")
    page.locator("#factor").blur()
    shown(page, "#choice", "Fast · 2.5×")
    enlarge(page, photo)
    assert "80 × 60 → 200 × 150" in facts(page)
    page.locator("#scales label", has_text="Size").click()
    page.fill("#width", "300")
    page.fill("#height", "300")
    page.select_option("#fit", "cover")
    page.click("#stage-actions >> text=Again with Fast")
    page.wait_for_selector(".card[data-state=succeeded] .facts:has-text('300 × 300')", timeout=LONG)
    page.wait_for_selector("#busy", state="hidden", timeout=LONG)
    assert page.inner_text("#tag-left") == "Bicubic"
    assert complaints == []


@pytest.mark.slow
def test_a_sharp_picture_is_shrunk_restored_and_measured(page: Any, server: RealServer, complaints: list[str]) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#evaluate-example")
    page.wait_for_selector("#evaluate-table table", timeout=LONG)
    example = Path(__file__).parents[2] / "app/web/examples/dog.jpg"
    files = {"image": ("dog.jpg", example.read_bytes())}
    listed = [
        model
        for model in httpx.get(f"{server.url}/v1/models").json()["models"]
        if any(each["scale"] == 4 for each in model["scales"])
    ]
    names = ",".join(model["name"] for model in sorted(listed, key=lambda model: model["kind"] != "baseline"))
    answer = httpx.post(f"{server.url}/v1/evaluations?models={names}&scale=4", files=files, timeout=120).json()
    titles = [method["title"]["en"] for method in answer["methods"]]
    assert titles[0] == "Bicubic"
    assert titles[-1] == "Fast"
    rows = page.locator("#evaluate-table tbody tr")
    assert rows.count() == len(answer["methods"])
    for number, method in enumerate(answer["methods"]):
        cells = rows.nth(number).locator("th, td").all_inner_texts()
        assert cells[0] == method["title"]["en"]
        told = [float(cell) for cell in cells[1:4]]
        assert told == pytest.approx([method["psnr"], method["ssim"], method["lpips"]], abs=0.006)
    assert page.locator("#evaluate-strip strong").all_inner_texts() == [*titles, "Original"]
    assert page.inner_text("#tag-left") == "Fast"
    assert page.inner_text("#tag-right") == "Original"
    assert page.inner_text("#stage-title") == "Test: dog.jpg"
    page.click("#stage-actions >> text=Back to “An example”")
    shown(page, "#stage-title", "An example")
    page.locator("#evaluate-strip button").first.click()
    shown(page, "#stage-title", "Test: dog.jpg")
    with page.expect_download() as waiting:
        page.click("#evaluate-actions >> text=Save as PNG")
    assert waiting.value.suggested_filename == "dog_test_x4.png"
    strip = Image.open(waiting.value.path())
    assert strip.width == 8 + (len(titles) + 1) * (416 + 8)
    assert Image.open(io.BytesIO(httpx.get(strip_link(page, "evaluate", server)).content)) == strip
    page.click("[data-language=ru]")
    assert "PSNR и SSIM говорят" in page.inner_text("#evaluate-table")
    assert "PSNR, дБ" in page.inner_text("#evaluate-table")
    assert complaints == []


@pytest.mark.slow
def test_a_result_is_shared_by_link(page: Any, server: RealServer, tmp_path: Path, complaints: list[str]) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fresh = tmp_path / "shared.png"
    Image.effect_noise((50, 40), 60).convert("RGB").save(fresh)
    enlarge(page, fresh)
    page.click("#stage-actions >> text=Copy link")
    shown(page, "#stage-note", re.compile("The link is on the clipboard. It works until"))
    link = page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{server.url}/v1/shared/")
    assert Image.open(io.BytesIO(httpx.get(link).content)).size == (200, 160)
    assert complaints == []


@pytest.mark.slow
def test_a_page_that_waits_does_nothing(page: Any, photo: Path, tmp_path: Path, complaints: list[str]) -> None:
    """A loop that nobody sees would take a core from the service, which often runs on the same machine."""
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    hold_still(page)
    page.set_input_files("#file", [photo, other])
    page.wait_for_selector(".card[data-state=running]", timeout=LONG)
    page.wait_for_selector(".card[data-state=queued]", timeout=LONG)
    page.wait_for_selector(".thumbnail img >> nth=1", timeout=LONG)
    page.wait_for_timeout(5000)  # the example's tour is over
    client = page.context.new_cdp_session(page)
    client.send("Performance.enable")

    def busy() -> float:
        metrics = client.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in metrics if each["name"] == "ScriptDuration"))

    before = busy()
    page.wait_for_timeout(3000)
    assert busy() - before < 0.3, "seconds of script in three"
    assert complaints == []
