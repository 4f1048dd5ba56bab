"""Looking at pictures: exact pixels, zoom, pan, pinch, keys, loupe, and the three ways to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import PHONE, Open
from tests.browser.doing import canvas, enlarge, facts, split, zoom

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def looked(page: Any, photo: Path) -> Any:
    """The page with a picture of 320 x 240 in the viewer; it is wider than that, so all is seen at 100 or 200 %."""
    enlarge(page, photo)
    return page


def test_every_pixel_is_exact_and_before_is_bicubic(looked: Any, photo: Path) -> None:
    page = looked
    page.click("#zoom-one")
    with page.expect_download() as waiting:
        page.click(".card .primary")
    result = np.asarray(Image.open(waiting.value.path()).convert("RGB"))
    source = Image.open(photo).convert("RGB")
    bicubic = np.asarray(source.resize((320, 240), Image.Resampling.BICUBIC)).astype(int)
    page.locator("#slider").focus()
    for key, expected, tolerance in (("Home", result, 0), ("End", bicubic, 1)):
        page.keyboard.press(key)
        seen = canvas(page)
        top, left = (seen.shape[0] - 240) // 2, (seen.shape[1] - 320) // 2
        found = [
            (y, x)
            for y in (top, top + 1)
            for x in (left, left + 1)
            if np.abs(seen[y : y + 240, x : x + 320, :3].astype(int) - expected).max() <= tolerance
        ]
        assert found, f"the picture is not in the middle of the canvas, pixel for pixel ({key})"
    page.keyboard.press("Home")
    for _ in range(5):
        page.click("#zoom-in")
    assert zoom(page) == "800 %"
    seen = canvas(page)
    block = seen[: seen.shape[0] // 8 * 8, : seen.shape[1] // 8 * 8]
    offsets = [
        (y, x)
        for y in range(8)
        for x in range(8)
        if np.ptp(block[y : y + 8, x : x + 8, :3].astype(int), axis=(0, 1)).max() == 0
        and np.ptp(block[y + 80 : y + 88, x + 160 : x + 168, :3].astype(int), axis=(0, 1)).max() == 0
    ]
    assert offsets, "at 800 % a pixel is a square of 8 x 8 of one colour"


@pytest.mark.parametrize(("width", "height", "to"), [(80, 60, (320, 240)), (13, 1, (52, 4)), (61, 40, (30, 77))])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_bicubic_is_that_of_other_programs(page: Any, width: int, height: int, to: tuple[int, int], mode: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, 4), np.uint8)
    if mode == "RGB":
        pixels[..., 3] = 255
    expected = np.asarray(Image.fromarray(pixels, "RGBA").resize(to, Image.Resampling.BICUBIC)).astype(int)
    run = """async ([pixels, width, height, toWidth, toHeight]) => {
        const { bicubic } = await import("/static/bicubic.js");
        return [...bicubic(new Uint8ClampedArray(pixels), width, height, toWidth, toHeight)];
    }"""
    answer = page.evaluate(run, [pixels.ravel().tolist(), width, height, *to])
    ours = np.array(answer, int).reshape(to[1], to[0], 4)
    assert np.abs(ours[..., 3] - expected[..., 3]).max() <= 1
    solid = expected[..., 3] > 64  # where little is seen, dividing by alpha makes levels of rounding
    assert np.abs(ours - expected)[solid].max() <= (1 if mode == "RGB" else 4)


def test_the_divider_follows_the_mouse(looked: Any) -> None:
    page = looked
    box = page.locator("#view").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 100, steps=4)
    page.mouse.up()
    assert abs(split(page) - 25) < 1
    assert page.locator("#slider").input_value() == "25"


def test_zoom_pan_and_keys(looked: Any) -> None:
    page = looked
    page.click("#zoom-fit")
    fit = zoom(page)
    page.locator("#slider").focus()
    page.keyboard.press("Home")  # the divider would stay where it is while the picture moves
    page.locator("#view").focus()
    page.keyboard.press("+")
    assert zoom(page) != fit
    page.keyboard.press("1")
    assert zoom(page) == "100 %"
    for _ in range(8):
        page.keyboard.press("+")
    assert zoom(page) == "800 %", "and no further"
    before = canvas(page)
    page.keyboard.press("ArrowRight")
    after = canvas(page)
    assert np.array_equal(before[:, 80:], after[:, :-80]), "the picture moved by 80 pixels"
    box = page.locator("#view").bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 90, steps=3)
    page.mouse.up()
    moved = canvas(page)
    assert np.array_equal(after[:-30, :-40], moved[30:, 40:]), "and by what it was dragged"
    page.keyboard.press("0")
    assert zoom(page) == fit
    page.mouse.wheel(0, -400)
    assert zoom(page) != fit, "the wheel zooms once the picture has the focus"


def test_side_by_side_blink_loupe_and_whole_window(looked: Any) -> None:
    page = looked
    page.click("#zoom-one")
    page.click("[data-mode=side]")
    assert page.is_hidden("#slider")
    seen = canvas(page)
    half = seen.shape[1] // 2
    assert not np.array_equal(seen[:, :half], seen[:, -half:])
    page.click("[data-mode=blink]")
    page.locator("#view").focus()
    page.keyboard.press(" ")
    first = canvas(page)
    tags = [page.is_visible("#tag-left"), page.is_visible("#tag-right")]
    assert sorted(tags) == [False, True]
    page.keyboard.press(" ")
    assert not np.array_equal(first, canvas(page))
    page.keyboard.press("l")
    assert page.is_visible("#loupe")
    assert page.get_attribute("#magnify", "aria-pressed") == "true"
    page.keyboard.press("f")
    page.wait_for_selector("#full[open] #stage")
    size = page.locator("#view").bounding_box()
    assert size["width"] == 1280
    page.keyboard.press("Escape")
    page.wait_for_selector("#full:not([open])", state="attached")
    assert page.locator(".see > #stage").count() == 1, "the viewer is back in its place"
    assert page.evaluate("document.activeElement.id") == "expand"


TOUCH = """([kind, ...points]) => {
    const view = document.getElementById("view");
    const box = view.getBoundingClientRect();
    view.setPointerCapture = () => undefined;
    for (const [id, x, y] of points) view.dispatchEvent(new PointerEvent("pointer" + kind, {
        pointerId: id, pointerType: "touch", clientX: box.left + x, clientY: box.top + y, bubbles: true,
    }));
}"""


def test_fingers_divide_pan_and_pinch(open_page: Open, photo: Path, complaints: list[str]) -> None:
    page = open_page(**PHONE)
    enlarge(page, photo)
    width = page.locator("#view").bounding_box()["width"]
    page.click("#zoom-fit")
    page.evaluate(TOUCH, ["down", [1, width / 2, 100]])
    page.evaluate(TOUCH, ["move", [1, width * 0.7, 104]])
    page.evaluate(TOUCH, ["up", [1, width * 0.7, 104]])
    assert abs(split(page) - 70) < 1
    fit = float(zoom(page).removesuffix(" %"))
    page.evaluate(TOUCH, ["down", [1, 100, 100], [2, 200, 200]])
    page.evaluate(TOUCH, ["move", [1, 50, 50], [2, 250, 250]])
    page.evaluate(TOUCH, ["up", [1, 50, 50], [2, 250, 250]])
    pinched = float(zoom(page).removesuffix(" %"))
    assert 1.8 * fit <= pinched <= 2.2 * fit
    before = canvas(page)
    page.evaluate(TOUCH, ["down", [1, 40, 200]])
    page.evaluate(TOUCH, ["move", [1, 60, 210]])
    page.evaluate(TOUCH, ["up", [1, 60, 210]])
    assert not np.array_equal(before, canvas(page)), "one finger moves a picture that is larger than the view"
    assert complaints == []


def test_the_example_moves_once_by_itself_unless_motion_is_unwanted(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector("#tag-left:not([hidden])")
    places = {split(page) for _ in range(30)}
    assert len(places) > 5
    still = open_page(reduced_motion="reduce")
    still.wait_for_selector("#tag-left:not([hidden])")
    assert {split(still) for _ in range(10)} == {50.0}


def test_transparent_and_single_pixel_pictures(page: Any, tmp_path: Path, complaints: list[str]) -> None:
    clear = tmp_path / "clear.png"
    Image.new("RGBA", (20, 10), (255, 0, 0, 90)).save(clear)
    dot = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (0, 200, 0)).save(dot)
    enlarge(page, clear)
    enlarge(page, dot)
    assert zoom(page).endswith("%")
    assert complaints == []


def test_an_upright_phone_photo_is_compared_upright(page: Any, tmp_path: Path, complaints: list[str]) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(np.dstack([np.tile(np.arange(0, 240, 3, np.uint8), (60, 1))] * 3)).save(path, exif=exif)
    enlarge(page, path)
    assert "60 × 80 → 240 × 320" in facts(page)
    page.click("#zoom-one")
    page.locator("#slider").focus()
    page.keyboard.press("End")
    before = canvas(page).astype(int)
    page.keyboard.press("Home")
    after = canvas(page).astype(int)
    assert np.abs(before - after).mean() < 6, "both stand the same way up"
    assert complaints == []
