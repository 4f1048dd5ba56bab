"""Who may do what, tried on every route there is: a route that is missing in the table fails here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from redis.asyncio import Redis

from app.api.keys import KeyLimits, KeyStore
from app.main import create_app
from app.settings import Settings
from tests.integration.http.live import Computing, Live, live, problem, start_serve
from tests.integration.http.pictures import png
from tests.queue_server import queue_socket

T = TypeVar("T")

TABLE = {
    # Everybody, without being asked.
    ("GET", "/"): "open",
    ("GET", "/favicon.ico"): "open",
    ("GET", "/static/{name:path}"): "open",
    ("GET", "/livez"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/openapi.json"): "open",
    ("GET", "/docs"): "open",
    ("GET", "/v1/shared/{token}"): "open",
    ("POST", "/v1/session"): "open",
    ("DELETE", "/v1/session"): "open",
    # Everybody, and a key changes what they are told.
    ("GET", "/v1"): "public",
    ("GET", "/v1/limits"): "public",
    # A key with this scope.
    ("GET", "/v1/models"): "read",
    ("GET", "/v1/models/{name}"): "read",
    ("POST", "/v1/upscale"): "write",
    ("POST", "/v1/evaluations"): "evaluate",
    ("POST", "/v1/uploads"): "write",
    ("PUT", "/v1/uploads/{upload_id}"): "write",
    ("DELETE", "/v1/uploads/{upload_id}"): "write",
    ("POST", "/v1/uploads/{upload_id}/share"): "write",
    ("POST", "/v1/jobs"): "write",
    ("GET", "/v1/jobs"): "read",
    ("GET", "/v1/jobs/{job_id}"): "read",
    ("DELETE", "/v1/jobs/{job_id}"): "write",
    ("GET", "/v1/jobs/{job_id}/events"): "read",
    ("GET", "/v1/jobs/{job_id}/result"): "read",
    ("GET", "/v1/jobs/{job_id}/tiles"): "read",
    ("GET", "/v1/jobs/{job_id}/tiles/{which}/{level}/{column}/{row}"): "read",
    ("POST", "/v1/jobs/{job_id}/share"): "write",
}
"""(method, path) -> who may."""

GUARDED = {call: who for call, who in TABLE.items() if who not in ("open", "public")}
NO_SUCH_ID = "A" * 24


def with_keys(queue: Path, work: Callable[[KeyStore], Awaitable[T]]) -> T:
    async def main() -> T:
        async with Redis(unix_socket_path=str(queue)) as client:
            return await work(KeyStore(client))

    return asyncio.run(main())


@dataclass
class Guarded:
    """A service in which every call needs a key."""

    server: Live
    queue: Path
    keys: dict[str, str]
    """``read``, ``write``, ``evaluate``: keys with one scope; ``revoked``: one that was valid."""

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        for name in ("name:path", "name"):
            path = path.replace(f"{{{name}}}", "double")
        path = path if "{" not in path else path.split("{")[0] + NO_SUCH_ID
        return httpx.request(method, self.server.url + path, headers=headers, timeout=30, **more)

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    async def make(store: KeyStore) -> dict[str, str]:
        keys = {scope: (await store.create(scope, [scope]))[1] for scope in ("read", "write", "evaluate")}
        revoked, keys["revoked"] = await store.create("revoked")
        await store.revoke(revoked.id)
        return keys

    with queue_socket() as queue:
        keys = with_keys(queue, make)
        with live(Computing(), queue=queue, allow_anonymous=False) as server:
            yield Guarded(server, queue, keys)


def calls_of(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """(method, path) of all routes; newer FastAPI keeps included routers as they are, older copies their routes."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is not None:
            yield from calls_of(router.routes)
        else:
            yield from ((method, route.path) for method in route.methods if method != "HEAD")


def test_the_table_has_every_route() -> None:
    assert set(calls_of(create_app(Settings()).routes)) == set(TABLE)


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key_nothing_is_done(guarded: Guarded, method: str, path: str) -> None:
    answer = guarded.call(method, path)
    problem(answer, 401, "needs_key")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_revoked_key_does_nothing(guarded: Guarded, method: str, path: str) -> None:
    problem(guarded.call(method, path, guarded.bearer("revoked")), 401, "invalid_key")


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_a_key_does_what_its_scope_says(guarded: Guarded, method: str, path: str) -> None:
    for scope in ("read", "write", "evaluate"):
        answer = guarded.call(method, path, guarded.bearer(scope))
        if scope == TABLE[method, path]:
            assert answer.status_code not in (401, 403), answer.text
            assert answer.headers["ratelimit"].startswith('"requests";r=')
        else:
            problem(answer, 403, "missing_scope")


@pytest.mark.parametrize(("method", "path"), [call for call, who in TABLE.items() if who in ("open", "public")])
def test_what_is_open_is_open(guarded: Guarded, method: str, path: str) -> None:
    # Signing in without a key is refused, by the route itself.
    expected = {422} if (method, path) == ("POST", "/v1/session") else {200, 204, 404}
    assert guarded.call(method, path).status_code in expected


def test_who_shows_a_key_is_told_what_holds_for_it(guarded: Guarded) -> None:
    nobody = guarded.call("GET", "/v1").json()["authentication"]
    assert nobody == {"required": True, "signed_in": False, "scopes": [], "may_list": True}
    somebody = guarded.call("GET", "/v1", guarded.bearer("read")).json()["authentication"]
    assert somebody == {"required": True, "signed_in": True, "scopes": ["read"], "may_list": True}
    assert guarded.call("GET", "/v1/limits").json()["requests_per_minute"] is None
    limits = guarded.call("GET", "/v1/limits", guarded.bearer("read")).json()
    assert (limits["requests_per_minute"], limits["max_jobs"]) == (600, 100)
    problem(guarded.call("GET", "/v1/limits", guarded.bearer("revoked")), 401, "invalid_key")


def test_what_is_not_there_is_closed_too(guarded: Guarded) -> None:
    problem(guarded.call("GET", "/v1/jobs-of-all"), 401, "needs_key")
    problem(guarded.call("GET", "/v1/jobs-of-all", guarded.bearer("read")), 404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer no"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer ck_" + "a" * 43},
        {"X-API-Key": ""},
        {"X-API-Key": "ck_"},
        {"X-API-Key": "x" * 5000},
    ],
)
def test_what_is_no_key_opens_nothing(guarded: Guarded, headers: dict[str, str]) -> None:
    problem(guarded.call("GET", "/v1/models", headers), 401, "invalid_key")


def test_two_different_keys_open_nothing(guarded: Guarded) -> None:
    headers = {**guarded.bearer("read"), "X-API-Key": guarded.keys["write"]}
    problem(guarded.call("GET", "/v1/models", headers), 401, "invalid_key")
    assert guarded.call("GET", "/v1/models", {"X-API-Key": guarded.keys["read"]}).status_code == 200


def test_the_page_signs_in_and_out(guarded: Guarded) -> None:
    with httpx.Client(base_url=guarded.server.url) as page:
        answer = page.post("/v1/session", json={"key": guarded.keys["read"]})
        assert answer.status_code == 204
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert guarded.keys["read"] not in cookie
        assert page.get("/v1/models").status_code == 200
        problem(page.post("/v1/upscale"), 403, "missing_scope")
        # Another site's page, for which CORS would be on, gets nothing by the cookie.
        problem(page.get("/v1/models", headers={"Origin": "https://evil.example"}), 401, "needs_key")
        value = page.cookies["chetko_session"]
        assert page.delete("/v1/session").status_code == 204
        page.cookies.set("chetko_session", value)
        problem(page.get("/v1/models"), 401, "needs_key")


def test_a_revoked_key_ends_its_sessions(guarded: Guarded) -> None:
    key, text = with_keys(guarded.queue, lambda store: store.create("page"))
    with httpx.Client(base_url=guarded.server.url) as page:
        assert page.post("/v1/session", json={"key": text}).status_code == 204
        assert page.get("/v1/models").status_code == 200
        assert with_keys(guarded.queue, lambda store: store.revoke(key.id))
        problem(page.get("/v1/models"), 401, "needs_key")
        problem(page.post("/v1/session", json={"key": text}), 401, "invalid_key")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff{}", "invalid_json"),
        (b"[" * 60_000, "invalid_json"),
        (b"[]", "invalid_body"),
        (b"{}", "invalid_body"),
        (b'{"key":"a","b":1}', "invalid_body"),
    ],
)
def test_a_body_that_makes_no_sense_is_told_so(guarded: Guarded, body: bytes, code: str) -> None:
    answer = guarded.call("POST", "/v1/session", {"Content-Type": "application/json"}, content=body)
    problem(answer, 422, code)


def test_a_json_body_is_bounded(guarded: Guarded) -> None:
    answer = guarded.call("POST", "/v1/session", {"Content-Type": "application/json"}, content=b" " * 70_000)
    problem(answer, 413, "body_too_large")


def test_a_key_that_has_used_its_requests_waits(guarded: Guarded) -> None:
    _, text = with_keys(guarded.queue, lambda store: store.create("few", limits=KeyLimits(requests_per_minute=2)))
    bearer = {"Authorization": f"Bearer {text}"}
    for left in (1, 0):
        answer = guarded.call("GET", "/v1/models", bearer)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"requests";q=2;w=60'
        assert answer.headers["ratelimit"].startswith(f'"requests";r={left};t=')
    answer = guarded.call("GET", "/v1/models", bearer)
    assert problem(answer, 429, "rate_limited")["limit"] == 2
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "ratelimit" in answer.headers
    # Others are served.
    assert guarded.call("GET", "/v1/models", guarded.bearer("read")).status_code == 200


def test_without_the_queue_server_nobody_gets_in(tmp_path: Path) -> None:
    with queue_socket() as queue:
        _, text = with_keys(queue, lambda store: store.create("shop"))
        server = live(Computing(), queue=queue, allow_anonymous=False)
        running = server.__enter__()
    try:
        answer = httpx.get(f"{running.url}/v1/models", headers={"X-API-Key": text})
        problem(answer, 503, "queue_unavailable")
        assert answer.headers["retry-after"] == "5"
        assert httpx.get(f"{running.url}/livez").status_code == 200
        assert httpx.get(f"{running.url}/").status_code == 200
    finally:
        server.__exit__(None, None, None)


def test_a_key_is_not_asked_for_on_loopback_and_a_wrong_one_is_refused(queue: Path) -> None:
    with live(Computing(), queue=queue) as server:
        files = {"image": png()}
        assert httpx.post(f"{server.url}/v1/upscale?scale=2", files=files).status_code == 200
        answer = httpx.post(f"{server.url}/v1/upscale?scale=2", files=files, headers={"X-API-Key": "ck_" + "a" * 43})
        problem(answer, 401, "invalid_key")


def test_other_sites_that_are_named_may_call(queue: Path) -> None:
    _, text = with_keys(queue, lambda store: store.create("site"))
    with live(Computing(), queue=queue, cors_origins="https://app.example.org", allow_anonymous=False) as server:
        ask = {
            "Origin": "https://app.example.org",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        answer = httpx.options(f"{server.url}/v1/upscale", headers=ask)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        assert "access-control-allow-credentials" not in answer.headers
        assert httpx.options(f"{server.url}/v1/upscale", headers={**ask, "Origin": "https://b.org"}).status_code == 400
        headers = {"Origin": "https://app.example.org", "X-API-Key": text}
        answer = httpx.post(f"{server.url}/v1/upscale?scale=2", files={"image": png()}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example.org"
        headers["Origin"] = "https://evil.example"
        problem(httpx.post(f"{server.url}/v1/upscale?scale=2", headers=headers), 403, "cross_site_request")


def test_without_cors_no_answer_allows_another_site(guarded: Guarded) -> None:
    answer = guarded.call("GET", "/v1/models", {**guarded.bearer("read"), "Origin": "https://app.example.org"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_it_does_not_start_where_others_can_call_and_nobody_has_a_key() -> None:
    process = start_serve(CHETKO_HOST="0.0.0.0")  # noqa: S104 - which is the point
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "chetko keys create" in output
    assert "CHETKO_ALLOW_ANONYMOUS" in output
    assert "Traceback" not in output
