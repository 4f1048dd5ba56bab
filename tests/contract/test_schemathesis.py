"""schemathesis: requests made from the OpenAPI document, right ones and wrong ones, against a live service.

One of its checks is off: ``positive_data_acceptance``. It takes every body that fits the schema for one that must be
accepted, and random bytes are no pictures.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.inference.registry import Registry
from tests.contract.served import KEY, served
from tests.integration.http.pictures import png

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]

# Limits that would answer for the service: thousands of requests come in a minute.
UNLIMITED: dict[str, Any] = {"key_requests_per_minute": 10**9, "key_megapixels_per_minute": 10**9}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def explore(url: str, folder: Path, *, seconds: int, phases: str, headers: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [
            *(BIN / "schemathesis", "run", f"{url}/openapi.json"),
            *("--phases", phases, "--max-time", str(seconds), "--max-examples", "20"),
            *("--exclude-checks", "positive_data_acceptance", "--request-timeout", "60", "--no-color"),
            *(part for header in headers for part in ("--header", header)),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    return done.stdout


def selected(told: str) -> tuple[int, int]:
    """(operations there are, operations that were tried)."""
    lines = [line.split() for line in told.splitlines()]
    there = next(int(words[1].split("/")[1]) for words in lines if words[:1] == ["Selected:"])
    tried = next(int(words[1]) for words in lines if words[:1] == ["Tested:"])
    return there, tried


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_every_operation_answers_as_it_is_documented(keys: bool, tmp_path: Path, registry: Registry) -> None:
    with served(tmp_path, registry, allow_anonymous=not keys, max_input_pixels=1_000_000, **UNLIMITED) as url:
        headers = (f"Authorization: Bearer {KEY}",) if keys else ()
        told = explore(url, tmp_path, seconds=60, phases="examples,coverage,fuzzing", headers=headers)
    there, tried = selected(told)
    assert there == tried > 20, told[-3_000:]


def test_calls_that_follow_each_other(tmp_path: Path, registry: Registry) -> None:
    with served(tmp_path, registry, max_input_pixels=1_000_000, **UNLIMITED) as url:
        told = explore(url, tmp_path, seconds=60, phases="stateful", headers=(f"Authorization: Bearer {KEY}",))
    covered = re.search(r"API Links:\s+(\d+) covered", told)
    assert covered, told[-3_000:]
    assert int(covered[1]) >= 3, told[-3_000:]


def test_the_way_of_a_large_file_by_the_links_of_the_document(tmp_path: Path, registry: Registry) -> None:
    """Upload -> job -> result -> removal, each call made from what the document links to the answer before."""
    with served(tmp_path, registry) as url, httpx.Client(base_url=url, headers={"X-API-Key": KEY}) as client:
        document = client.get("/openapi.json").json()
        calls = {
            operation["operationId"]: (method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }

        def follow(source: str, answer: httpx.Response, target: str, **more: Any) -> httpx.Response:
            link = calls[source][2]["responses"][str(answer.status_code)]["links"][target]

            def filled(value: Any) -> Any:
                if isinstance(value, dict):
                    return {name: filled(inner) for name, inner in value.items()}
                return answer.json()["id"] if value == "$response.body#/id" else value

            method, path, _ = calls[link["operationId"]]
            for name, value in filled(link["parameters"]).items():
                path = path.replace(f"{{{name}}}", value)
            if "requestBody" in link:
                more["json"] = filled(link["requestBody"])
            return client.request(method, path, **more)

        picture = png(32, 24)
        upload = client.post("/v1/uploads", json={"name": "cat.png", "bytes": len(picture)})
        assert follow("uploads-create", upload, "uploads-put", content=picture).status_code == 204
        job = follow("uploads-create", upload, "jobs-create")
        assert job.status_code == 202, job.text
        assert "event: end" in follow("jobs-create", job, "jobs-events").text
        assert follow("jobs-create", job, "jobs-get").json()["state"] == "succeeded"
        assert follow("jobs-create", job, "jobs-result").headers["content-type"] == "image/png"
        assert follow("jobs-create", job, "jobs-share").status_code == 200
        assert follow("jobs-create", job, "jobs-delete").status_code == 204
        assert follow("jobs-create", job, "jobs-result").status_code == 404
