"""What tests of the page do over and over."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

LONG = 90_000
"""Milliseconds: machines that run tests are busy."""


def shown(page: Any, selector: str, text: str | re.Pattern[str]) -> None:
    """Waits for a text. Not by wait_for_function, which evaluates strings, which the page's policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_text(text, timeout=LONG)


def has(page: Any, selector: str, name: str, value: str | re.Pattern[str]) -> None:
    """Waits for an attribute."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_attribute(name, value, timeout=LONG)


def enlarge(page: Any, *files: Path) -> None:
    """Chooses the files and waits until all of their cards are done and the viewer shows one."""
    page.set_input_files("#file", list(files))
    page.wait_for_selector(f".card[data-state=succeeded] >> nth={len(files) - 1}", timeout=LONG)
    in_viewer(page)


def in_viewer(page: Any, timeout: float = LONG) -> None:
    """Waits until a finished picture is in the viewer.

    Raises AssertionError with what the cards say as soon as one has failed, and after ``timeout`` milliseconds: "not
    within two minutes" does not tell whether the service or the page was at fault.
    """
    from playwright.sync_api import TimeoutError as TooLate

    with contextlib.suppress(TooLate):
        page.wait_for_selector(".card.looked, .card[data-state=failed]", timeout=timeout)
    if page.locator(".card.looked").count() == 0:
        cards = page.locator(".card").evaluate_all("all => all.map(card => card.dataset.state + ': ' + card.innerText)")
        raise AssertionError(f"no picture came into the viewer; the cards: {cards}; {page.inner_text('#error')!r}")
    page.wait_for_selector("#busy", state="hidden", timeout=timeout)


def facts(page: Any) -> str:
    """What the first card says of sizes, bytes, model."""
    return str(page.locator(".card .facts").first.inner_text()).replace("\u00a0", " ")


def split(page: Any) -> float:
    """Where the divider stands, 0..100, once it was drawn."""
    page.evaluate("new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    value = page.evaluate("document.getElementById('stage').style.getPropertyValue('--split')")
    return float(value.removesuffix("%"))


def zoom(page: Any) -> str:
    """The zoom as the viewer tells it, once it was drawn."""
    page.evaluate("new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    return str(page.inner_text("#zoom"))


def canvas(page: Any, selector: str = "#canvas") -> np.ndarray:
    """height x width x RGBA of what the viewer shows, once it was drawn."""
    address = page.evaluate(
        """selector => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))
            .then(() => document.querySelector(selector).toDataURL())""",
        selector,
    )
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA"))
