"""axe-core on every state of the page, in both languages, both themes, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PHONE, Open
from tests.browser.doing import LONG, enlarge
from tests.browser.scripted import hold_still

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"

RUN = """async () => {
    const found = await axe.run(document, {resultTypes: ["violations"]});
    return found.violations.map(each => ({
        id: each.id, impact: each.impact,
        nodes: each.nodes.map(node => node.html.slice(0, 160) + " " + node.failureSummary),
    }));
}"""


def check(page: Any, state: str) -> None:
    """Finds nothing serious or critical; controls have names, contrast is AA (both are serious rules)."""
    if not AXE.exists():
        pytest.skip("axe-core is missing: make page-tools")
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    # Things that fade in have the contrast of their middle for a moment.
    page.evaluate("Promise.all(document.getAnimations().map(each => each.finished.catch(() => 0)))")
    found = [each for each in page.evaluate(RUN) if each["impact"] in ("serious", "critical")]
    assert found == [], state


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{"locale": "en-US"}, {"locale": "ru-RU", **PHONE}], ids=["desk", "phone"])
def test_every_state_is_accessible(
    open_page: Open, photo: Path, tmp_path: Path, scheme: str, device: dict[str, Any]
) -> None:
    page = open_page(**device, color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_selector("#tag-left:not([hidden])")
    check(page, "example")
    if "is_mobile" in device:
        page.click("#options-fold > summary")
    page.click(".more summary")
    check(page, "options")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    page.set_input_files("#file", broken)
    page.wait_for_selector(".card[data-state=failed]", timeout=LONG)
    check(page, "failed")
    enlarge(page, photo)
    check(page, "done")
    for mode in ("side", "blink", "slider"):
        page.click(f"[data-mode={mode}]")
        check(page, mode)
    page.click("#magnify")
    page.click("#expand")
    check(page, "whole window")
    page.click("#expand")
    page.locator("#stage-actions button").nth(1).click()
    page.wait_for_selector("#compare-actions button", timeout=LONG)
    check(page, "compared")
    page.click("#evaluate-example")
    page.wait_for_selector("#evaluate-table table", timeout=LONG)
    check(page, "measured")
    hold_still(page)
    copies = [tmp_path / "one.png", tmp_path / "two.png"]
    for copy in copies:
        copy.write_bytes(photo.read_bytes())
    page.set_input_files("#file", copies)
    page.wait_for_selector(".card[data-state=running]", timeout=LONG)
    page.wait_for_selector(".card[data-state=queued]", timeout=LONG)
    check(page, "under way")
    page.evaluate("document.getElementById('session').showModal()")
    check(page, "asked for a key")


def test_every_control_can_be_reached_by_the_keyboard(page: Any, photo: Path) -> None:
    enlarge(page, photo)
    reached = set()
    page.locator("body").focus()
    for _ in range(80):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)")
        )
    for wanted in ("file", "view", "slider", "zoom-in", "magnify", "expand", "curl-copy", "Download", "Remove"):
        assert wanted in reached, f"{wanted} cannot be reached: {reached}"
