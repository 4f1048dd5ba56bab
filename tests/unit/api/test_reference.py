"""``/docs``: everything of the document, nothing that could run, nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from app.api.reference import render
from app.main import create_app
from app.settings import Settings
from tests.unit.api.asgi import call, http_scope


class Elements(HTMLParser):
    """All elements with their attributes, and the ids among them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings()).openapi()


@pytest.fixture(scope="module")
def elements(document: dict[str, Any]) -> Elements:
    return Elements(render(document))


def test_every_call_and_every_document_has_a_place_that_links_find(
    document: dict[str, Any], elements: Elements
) -> None:
    ids = {attributes["id"] for _, attributes in elements.found if "id" in attributes}
    wanted = {operation["operationId"] for item in document["paths"].values() for operation in item.values()}
    assert wanted <= ids
    assert {f"schema-{name}" for name in document["components"]["schemas"]} <= ids
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    assert {link[1:] for link in links if link and link.startswith("#")} <= ids


def test_nothing_runs_and_nothing_comes_from_elsewhere(elements: Elements) -> None:
    for tag, attributes in elements.found:
        assert tag not in ("script", "style", "iframe", "object", "embed", "form")
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            assert not re.match(r"(https?:)?//|javascript:|data:", value or "")


def test_texts_are_escaped() -> None:
    document = create_app(Settings()).openapi()
    operation = document["paths"]["/v1/models"]["get"]
    operation["summary"] = operation["description"] = "<script>alert(1)</script> `a & b`"
    page = render(document)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; <code>a &amp; b</code>" in page


def test_it_is_served_once_and_then_known() -> None:
    app = create_app(Settings())
    first = call(app, http_scope(target="/docs"))
    assert first.status == 200
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    again = call(app, http_scope(target="/docs", headers={"if-none-match": first.headers["etag"]}))
    assert (again.status, again.body) == (304, b"")
    assert call(app, http_scope(target="/static/reference.css")).status == 200
