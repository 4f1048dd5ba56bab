"""``/docs``: the OpenAPI document for people, as one page without scripts and without anything from other hosts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.api.openapi import METHODS, example_of

router = APIRouter(include_in_schema=False)

_PARAGRAPH = re.compile(r"\n\s*\n")
_CODE = re.compile(r"`([^`]+)`")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The page, made from the document when it is first asked for."""
    state = request.app.state
    if getattr(state, "reference", None) is None:
        state.reference = render(request.app.openapi())
    page: str = state.reference
    etag = f'"{hashlib.sha256(page.encode()).hexdigest()[:24]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(page, headers=headers)


def render(document: dict[str, Any]) -> str:
    """The whole document as HTML; every text in it is escaped."""
    schemas = document["components"]["schemas"]
    info = document["info"]
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                by_tag.setdefault(item[method]["tags"][0], []).append((path, method.upper(), item[method]))
    told = {tag["name"]: tag["description"] for tag in document["tags"]}
    ordered = [(tag, by_tag[tag]) for tag in told if tag in by_tag]
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
        f"<title>{escape(info['title'])}: the HTTP API</title>\n",
        '<link rel="icon" href="/static/icon.svg" type="image/svg+xml">\n',
        '<link rel="stylesheet" href="/static/reference.css">\n</head>\n<body>\n',
        f"<header><h1>{escape(info['title'])}: the HTTP API <small>{escape(info['version'])}</small></h1>\n",
        _text(info.get("description", "")),
        '<p>For programs: <a href="/openapi.json">openapi.json</a>. <a href="/">The page</a>.</p></header>\n',
        '<nav aria-label="Calls"><ul>\n',
    ]
    for tag, calls in ordered:
        parts.append(f"<li><strong>{escape(tag)}</strong><ul>\n")
        parts += [
            f'<li><a href="#{escape(call["operationId"])}"><code>{method} {escape(path)}</code></a></li>\n'
            for path, method, call in calls
        ]
        parts.append("</ul></li>\n")
    parts.append("</ul></nav>\n<main>\n")
    for tag, calls in ordered:
        parts.append(f'<section><h2 id="tag-{escape(tag)}">{escape(tag)}</h2>\n{_text(told[tag])}')
        for path, method, call in calls:
            parts += _call(path, method, call, document)
        parts.append("</section>\n")
    parts.append('<section><h2 id="schemas">Documents</h2>\n')
    for name, schema in sorted(schemas.items()):
        parts.append(f'<article id="schema-{escape(name)}"><h3>{escape(name)}</h3>\n')
        parts.append(_text(schema.get("description", "")))
        parts += _fields(schema)
        parts.append("</article>\n")
    parts.append("</section>\n</main>\n</body>\n</html>\n")
    return "".join(parts)


def _call(path: str, method: str, call: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    yield f'<article id="{escape(call["operationId"])}"><h3>{escape(call.get("summary", ""))}</h3>\n'
    yield f'<p class="call"><code><b>{method}</b> {escape(path)}</code></p>\n{_text(call.get("description", ""))}'
    if call.get("parameters"):
        yield "<table><caption>Parameters</caption><thead><tr><th>Name<th>In<th>Takes<th>What it is</thead><tbody>\n"
        for each in call["parameters"]:
            needed = " <em>needed</em>" if each.get("required") else ""
            yield (
                f"<tr><td><code>{escape(each['name'])}</code>{needed}<td>{escape(each['in'])}"
                f"<td>{_takes(each['schema'])}<td>{_inline(each.get('description', ''))}\n"
            )
        yield "</tbody></table>\n"
    for media_type, content in call.get("requestBody", {}).get("content", {}).items():
        yield f"<h4>Body: <code>{escape(media_type)}</code></h4>\n"
        yield from _fields(content["schema"])
        if media_type == "application/json":
            yield _json(content.get("example", example_of(content["schema"], schemas)))
    yield "<table><caption>Answers</caption><thead><tr><th>Status<th>What it means<th>Body</thead><tbody>\n"
    for status, answer in call["responses"].items():
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in answer.get("content", {})) or "none"
        yield f"<tr><td>{escape(status)}<td>{_inline(answer['description'])}<td>{kinds}\n"
    yield "</tbody></table>\n"
    for status, answer in call["responses"].items():
        content = answer.get("content", {}).get("application/json")
        if content and "example" in content:
            yield f"<h4>{escape(status)}: {_reference(content['schema']) or 'for instance'}</h4>\n"
            yield _json(content["example"])
    yield "</article>\n"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    reference = _reference(schema)
    if reference:
        yield f"<p>{reference}</p>\n"
    if schema.get("properties"):
        yield "<table><thead><tr><th>Field<th>Takes<th>What it is</thead><tbody>\n"
        for name, inner in schema["properties"].items():
            needed = " <em>needed</em>" if name in schema.get("required", ()) else ""
            yield (
                f"<tr><td><code>{escape(name)}</code>{needed}<td>{_takes(inner)}"
                f"<td>{_inline(inner.get('description', ''))}\n"
            )
        yield "</tbody></table>\n"


def _takes(schema: dict[str, Any]) -> str:
    """What a value may be, with its bounds and its default."""
    reference = _reference(schema)
    if reference:
        return reference
    if "anyOf" in schema:
        return " or ".join(_takes(each) for each in schema["anyOf"])
    if "const" in schema:
        return f"<code>{escape(repr(schema['const']))}</code>"
    if "enum" in schema:
        text = ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    elif schema.get("type") == "array":
        text = "list of " + _takes(schema.get("items", {}))
    else:
        text = escape(str(schema.get("format") or schema.get("type", "anything")))
    bounds = {
        "minimum": "from {}", "maximum": "to {}", "minLength": "at least {} characters",
        "maxLength": "at most {} characters", "default": "default {}",
    }  # fmt: skip
    told = [words.format(escape(str(schema[name]))) for name, words in bounds.items() if name in schema]
    return ", ".join([text, *told])


def _reference(schema: dict[str, Any]) -> str:
    if "$ref" not in schema:
        return ""
    name = escape(schema["$ref"].rsplit("/", 1)[1])
    return f'<a href="#schema-{name}">{name}</a>'


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>\n"


def _text(markdown: str) -> str:
    """Paragraphs and `code`: all the Markdown that our descriptions use."""
    return "".join(f"<p>{_inline(part.strip())}</p>\n" for part in _PARAGRAPH.split(markdown) if part.strip())


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
