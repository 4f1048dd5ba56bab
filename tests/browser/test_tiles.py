"""Results too large to be held whole: only the tiles that are seen are fetched, and drawn pixel for pixel.

For all but the last test the tiles come from here, without loss, so that pixels can be compared; those of the service
are JPEG or WebP.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Open
from tests.browser.doing import LONG, canvas, in_viewer, split, zoom
from tests.integration.http.live import RealServer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]

WIDTH, HEIGHT, EDGE = 6000, 4000, 512


class Tiles:
    """Two pictures as pyramids, and what was asked of them."""

    def __init__(self) -> None:
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        after = np.stack([x // 8 % 256, y // 8 % 256, (x ^ y) % 256], axis=-1).astype(np.uint8)
        self.levels = {"result": [Image.fromarray(after)], "before": [Image.fromarray(255 - after)]}
        for levels in self.levels.values():
            while max(levels[-1].size) > EDGE:
                levels.append(levels[-1].reduce(2))
        self.asked: list[str] = []

    def index(self) -> dict[str, Any]:
        count = len(self.levels["result"])
        return {"width": WIDTH, "height": HEIGHT, "tile": EDGE, "levels": count, "before": True}

    def tile(self, path: str) -> bytes:
        self.asked.append(path)
        kind, level, column, row = path.split("/")
        picture = self.levels[kind][int(level)]
        left, top = int(column) * EDGE, int(row) * EDGE
        assert left < picture.width, path
        assert top < picture.height, path
        target = io.BytesIO()
        box = (left, top, min(left + EDGE, picture.width), min(top + EDGE, picture.height))
        picture.crop(box).save(target, "PNG", compress_level=1)
        return target.getvalue()


@pytest.fixture(scope="module")
def pictures() -> Tiles:
    return Tiles()


@pytest.fixture
def page(open_page: Open, pictures: Tiles, photo: Any) -> Any:
    """A page whose one picture has just become a job with tiles."""
    pictures.asked.clear()
    links = {name: f"/v1/jobs/job_large/{name}" for name in ("events", "result", "tiles")}
    job = {
        "id": "job_large", "state": "succeeded", "progress": 1, "strips": {"done": 9, "total": 9}, "position": None,
        "seconds_left": None, "expires_at": None, "options": {"model": "fast"}, "sources": [], "error": None,
        "notices": [], "links": {"self": "/v1/jobs/job_large", **links},
        "result": {"width": WIDTH, "height": HEIGHT, "bytes": 1, "media_type": "image/png", "name": "large.png"},
    }  # fmt: skip
    page = open_page(reduced_motion="reduce")
    page.route("**/v1/upscale?*", lambda route: route.fulfill(status=202, json=job))
    page.route("**/job_large/tiles", lambda route: route.fulfill(body=json.dumps(pictures.index())))
    page.route(
        "**/job_large/tiles/*/*/*/*",
        lambda route: route.fulfill(
            body=pictures.tile(route.request.url.split("/tiles/")[1]), content_type="image/png"
        ),
    )
    page.set_input_files("#file", photo)
    in_viewer(page)
    return page


def settled(page: Any, pictures: Tiles) -> np.ndarray:
    """The canvas once no further tile was asked for for a while."""
    before = -1
    while before != len(pictures.asked):
        before = len(pictures.asked)
        page.wait_for_timeout(1500)
    return canvas(page)


def test_real_pixels_come_from_the_tiles_that_are_seen(page: Any, pictures: Tiles, complaints: list[str]) -> None:
    whole = settled(page, pictures)
    assert 0 < len(pictures.asked) < 60
    assert all(not path.startswith(("result/0", "before/0")) for path in pictures.asked), "seen whole, level 0 is waste"
    assert whole.shape[1] < 1300, "the canvas stays as large as the view"
    page.click("#zoom-one")
    assert zoom(page) == "100 %"
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    assert split(page) == 0
    seen = settled(page, pictures)
    height, width = seen.shape[:2]
    left, top = round(WIDTH / 2 - width / 2), round(HEIGHT / 2 - height / 2)
    result = np.asarray(pictures.levels["result"][0])
    near = [
        (y, x)
        for y in (top - 1, top, top + 1)
        for x in (left - 1, left, left + 1)
        if np.array_equal(seen[..., :3], result[y : y + height, x : x + width])
    ]
    assert near, "every pixel is the result's"
    page.keyboard.press("End")
    before = settled(page, pictures)
    y, x = near[0]
    assert np.array_equal(before[..., :3], 255 - result[y : y + height, x : x + width])
    level_0 = {path for path in pictures.asked if path.startswith("result/0")}
    assert len(level_0) <= 12, "no tile is fetched that is not seen"
    assert len(pictures.asked) == len(set(pictures.asked)), "none is fetched twice while it is near"
    assert complaints == []


def test_a_long_walk_stays_in_bounded_memory(page: Any, pictures: Tiles, complaints: list[str]) -> None:
    page.click("#zoom-one")
    page.locator("#view").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        for _ in range(25):
            page.keyboard.press(key)
        settled(page, pictures)
    page.keyboard.press("0")
    settled(page, pictures)
    held = page.evaluate("""async () => {
        const { TileLayer } = await import("/static/layers.js");
        return TileLayer.held;
    }""")
    assert 0 < held <= 160, "tiles of both pictures"
    assert complaints == []


def test_tiles_that_fail_are_asked_for_again(page: Any, pictures: Tiles) -> None:
    settled(page, pictures)
    page.context.set_offline(False)
    page.route("**/tiles/result/0/*/*", lambda route: route.abort())
    page.click("#zoom-one")
    blurred = settled(page, pictures)
    assert blurred[..., 3].min() == 255, "coarser tiles stand in"
    page.unroute("**/tiles/result/0/*/*")
    page.wait_for_timeout(4000)
    assert not np.array_equal(settled(page, pictures), blurred)


def test_a_large_result_of_the_service_is_looked_at_by_its_tiles(
    open_page: Open, server: RealServer, tmp_path: Path, complaints: list[str]
) -> None:
    path = tmp_path / "large.png"
    y, x = np.mgrid[0:900, 0:1200]
    Image.fromarray(np.stack([x // 5, y // 4, 255 - x // 6], axis=-1).astype(np.uint8)).save(path)
    page = open_page(reduced_motion="reduce")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(server.url)))
    page.set_input_files("#file", path)
    in_viewer(page, 3 * LONG)
    assert page.inner_text("#tag-left") == "Bicubic"
    page.click("#zoom-one")
    page.locator("#slider").focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(4000)
    seen = canvas(page).astype(int)
    assert not [url for url in asked if url.endswith("/result")], "the whole is never fetched to be looked at"
    assert any("/tiles/result/0/" in url for url in asked)
    job = page.evaluate("JSON.parse(localStorage['chetko-cards'])[0].job.id")
    result = np.asarray(Image.open(io.BytesIO(httpx.get(f"{server.url}/v1/jobs/{job}/result").content))).astype(int)
    assert result.shape == (3600, 4800, 3)
    height, width = seen.shape[:2]
    top, left = round(1800 - height / 2), round(2400 - width / 2)
    difference = np.abs(seen[..., :3] - result[top : top + height, left : left + width])
    assert difference.mean() < 3, "tiles are JPEG"
    page.keyboard.press("End")
    page.wait_for_timeout(4000)
    assert np.abs(canvas(page).astype(int) - seen).mean() < 6, "before is the same place, and this picture is smooth"
    assert complaints == []
