"""The examples of ``docs/http-api.md``, executed in their order: what the page says is what the service does."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx

from app.api.problems import all_problems
from app.inference.registry import Registry
from tests.contract.served import KEY, served
from tests.integration.http.pictures import png

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
FILES = {
    "cat.png": png(64, 56),
    "tiny.png": png(4, 3),
    "empty.png": b"",
    "broken.png": png(64, 56)[:-40],
    "notes.txt": b"These are notes.",
}


def examples() -> list[tuple[str, str]]:
    """(request, answer) of all examples."""
    blocks = re.findall(r"^```http\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) % 2 == 0
    return list(zip(blocks[::2], blocks[1::2], strict=True))


def send(client: httpx.Client, example: str, known: dict[str, str]) -> httpx.Response:
    for name, value in known.items():
        example = example.replace(f"{{{name}}}", value)
    head, _, body = example.strip().partition("\n\n")
    first, *lines = head.split("\n")
    method, path = first.split(" ")
    headers = {"X-API-Key": KEY}
    more: dict[str, Any] = {}
    for line in lines:
        part = re.fullmatch(r"\(part (\w+): (.+)\)", line)
        if part:
            more["files"] = {part[1]: (part[2], FILES[part[2]])}
        elif line.startswith("(body: "):
            more["content"] = FILES[line[7:-1]]
        else:
            name, _, value = line.partition(":")
            headers[name] = value.strip()
    if body:
        more["content"] = body
        headers["Content-Type"] = "application/json"
    return client.request(method, path, headers=headers, timeout=60, **more)


def agrees(said: str, found: str, known: dict[str, str]) -> bool:
    """``...`` is anything; ``{name}`` what it was before, or from now on."""
    pattern = re.escape(said).replace(r"\.\.\.", ".*")
    for name in re.findall(r"\\\{(\w+)\\\}", pattern):
        known_value = re.escape(known[name]) if name in known else f"(?P<{name}>.+)"
        pattern = pattern.replace(rf"\{{{name}\}}", known_value, 1)
    match = re.fullmatch(pattern, found, re.DOTALL)
    if match is not None:
        known.update(match.groupdict())
    return match is not None


def compare(said: Any, found: Any, known: dict[str, str], where: str) -> None:
    if said == "...":
        return
    if isinstance(said, dict):
        assert isinstance(found, dict), where
        open_ended = said.pop("...", None) is not None
        assert set(said) <= set(found) if open_ended else set(said) == set(found), f"{where}: {sorted(found)}"
        for name, value in said.items():
            compare(value, found[name], known, f"{where}.{name}")
    elif isinstance(said, str):
        assert agrees(said, found, known), f"{where}: {found}"
    else:
        assert said == found, where


def test_the_examples_of_the_page_are_true(tmp_path: Path, registry: Registry) -> None:
    known = {
        "size": str(len(FILES["cat.png"])),
        "key": KEY,
        "tiny": base64.b64encode(FILES["tiny.png"]).decode(),
    }
    with served(tmp_path, registry) as url, httpx.Client(base_url=url) as client:
        for request, answer in examples():
            # The tests' default model is another one than the page's.
            sent = re.sub(r"/v1/upscale\?(?=scale=[24]\b)", "/v1/upscale?model=nearest&", request)
            response = send(client, sent, known)
            where = request.split("\n", 1)[0]
            head, _, body = answer.strip().partition("\n\n")
            first, *lines = head.split("\n")
            assert first == f"HTTP/1.1 {response.status_code}", f"{where}: {response.text[:500]}"
            for line in lines:
                name, _, value = line.partition(": ")
                assert agrees(value, response.headers.get(name, ""), known), f"{where}: {response.headers}"
            if body:
                said = json.loads(re.sub(r", \.\.\.\}", ', "...": 0}', body))
                compare(said, response.json(), known, where)
    assert {"job", "etag", "link", "upload", "place", "same", "zip", "cat", "strip"} <= set(known)


def test_the_page_tells_what_to_do_about_every_problem() -> None:
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| .+ \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = [(int(status), code) for status, code in rows]
    assert len(told) == len(set(told))
    assert set(told) == {(kind.status, code) for kind in all_problems() for code in kind.codes or (kind.code,)}
