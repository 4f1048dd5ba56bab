"""The command that the page shows does what the page did: run in a shell, it writes the file that is downloaded."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.conftest import KEY, Open
from tests.browser.doing import enlarge, shown
from tests.browser.test_keys import signed_in
from tests.integration.http.live import RealServer, real_server

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """A service that makes a job of everything above 50,000 pixels."""
    folder = tmp_path_factory.mktemp("data")
    with real_server(worker=True, CHETKO_DATA_DIR=str(folder), CHETKO_SYNC_MAX_OUTPUT_PIXELS="50000") as one:
        yield one


def run(page: Any, source: Path, folder: Path, **environ: str) -> dict[str, bytes]:
    """The shown command, run beside the picture: the files that it wrote."""
    folder.mkdir()
    shutil.copy(source, folder)
    command = page.inner_text("#curl")
    done = subprocess.run(
        ["bash", "-euc", command],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != source.name}


def downloaded(page: Any) -> dict[str, bytes]:
    with page.expect_download() as waiting:
        page.click(".card .primary")
    return {waiting.value.suggested_filename: Path(waiting.value.path()).read_bytes()}


def test_one_request_under_the_results_own_name(
    open_page: Open, small: RealServer, photo: Path, tmp_path: Path
) -> None:
    page = open_page(url=small.url)
    page.locator("#scales label", has_text="2×").click()
    page.locator(".more summary").click()
    page.select_option("#format", "webp")
    enlarge(page, photo)
    shown(page, "#curl", re.compile("^curl -F .* -o 'мой кот_x2.webp'$"))
    assert run(page, photo, tmp_path / "shell") == downloaded(page)


def test_before_anything_is_done_the_service_names_the_file(open_page: Open, small: RealServer, tmp_path: Path) -> None:
    page = open_page(url=small.url)
    page.locator("#scales label", has_text="2×").click()
    page.locator(".more summary").click()
    page.select_option("#format", "avif")
    picture = tmp_path / "photo.jpg"
    Image.effect_noise((40, 30), 60).convert("RGB").save(picture)
    (written,) = run(page, picture, tmp_path / "shell")
    assert written == "photo_x2.avif"


def test_a_job_is_followed_to_its_result(open_page: Open, small: RealServer, photo: Path, tmp_path: Path) -> None:
    page = open_page(url=small.url)
    enlarge(page, photo)
    shown(page, "#curl", re.compile("^job="))
    assert run(page, photo, tmp_path / "shell") == downloaded(page)


def test_the_frames_of_an_animation_are_counted_together(open_page: Open, small: RealServer, tmp_path: Path) -> None:
    page = open_page(url=small.url)
    source = tmp_path / "it's; moving.gif"
    frames = [Image.new("RGB", (24, 20), (60 * number, 90, 0)) for number in range(4)]
    frames[0].save(source, save_all=True, append_images=frames[1:])
    page.locator("#scales label", has_text="2×").click()
    enlarge(page, source)
    assert run(page, source, tmp_path / "shell") == downloaded(page)


def test_where_a_key_is_needed_it_comes_from_the_environment(
    open_page: Open, keyed: RealServer, photo: Path, tmp_path: Path
) -> None:
    page = signed_in(open_page, keyed)
    enlarge(page, photo)
    assert KEY not in page.content()
    assert run(page, photo, tmp_path / "shell", CHETKO_KEY=KEY) == downloaded(page)
