"""Who may call."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse

from app.api.security import HostCheck, OriginCheck, SecurityHeaders, same_origin, split_host
from app.settings import Settings
from tests.unit.api.asgi import call, http_scope

DEFAULT = Settings.model_fields["allowed_hosts"].default
HELLO = PlainTextResponse("hello")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost:8000", ("localhost", 8000)),
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("[::1]", ("[::1]", None)),
        ("[::1]:8000", ("[::1]", 8000)),
        ("localhost:", ("", None)),
        ("localhost:eight", ("", None)),
        ("localhost:80:80", ("", None)),
        ("localhost:" + "9" * 5000, ("", None)),
        ("[::1", ("[::1", None)),
        ("[::1]8000", ("", None)),
        ("", ("", None)),
    ],
)
def test_host_header_is_split(header: str, expected: tuple[str, int | None]) -> None:
    assert split_host(header) == expected


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::2]:8000", 421),
        ("localhost:8000@evil.example", 421),
        ("", 421),
    ],
)
def test_default_hosts(host: str, status: int) -> None:
    answer = call(HostCheck(HELLO, DEFAULT), http_scope(headers={"host": host}))
    assert answer.status == status
    if status == 421:
        assert answer.json["code"] == "host_not_allowed"
        assert "CHETKO_ALLOWED_HOSTS" in answer.json["detail"]


def test_wildcards() -> None:
    check = HostCheck(HELLO, ("*.example.org",))
    assert check.allows("a.b.example.org:443")
    assert not check.allows("example.org")
    assert not check.allows("badexample.org")
    assert HostCheck(HELLO, ("*",)).allows("whatever.example")


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer_to_any_name(path: str) -> None:
    assert call(HostCheck(HELLO, DEFAULT), http_scope(target=path, headers={"host": "10.0.0.7:8000"})).status == 200


def test_two_host_headers_are_refused() -> None:
    scope = http_scope()
    scope["headers"].append((b"host", b"localhost"))
    assert call(HostCheck(HELLO, DEFAULT), scope).status == 421


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://localhost:8000", "localhost:8000", True),
        ("http://LOCALHOST:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("https://big.example", "big.example", True),
        ("https://big.example", "big.example:443", True),
        ("https://big.example:443", "big.example", True),
        ("http://localhost:3000", "localhost:8000", False),
        ("http://localhost", "localhost:8000", False),
        ("http://127.0.0.1:8000", "localhost:8000", False),
        ("https://evil.example", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("", "localhost:8000", False),
        ("file://", "localhost:8000", False),
        ("http://[::1", "[::1]:8000", False),
        ("http://[localhost]", "localhost", False),
        ("http://localhost:" + "9" * 5000, "localhost", False),
    ],
)
def test_same_origin(origin: str, host: str, same: bool) -> None:
    assert same_origin(origin, host) is same


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"origin": "http://localhost:8000"}, 200),
        ("POST", {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "none"}, 200),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "Cross-Site"}, 403),
        ("POST", {"origin": "http://localhost:3000", "sec-fetch-site": "same-site"}, 403),
        ("DELETE", {"origin": "https://evil.example"}, 403),
        ("GET", {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, 200),
        ("HEAD", {"origin": "https://evil.example"}, 200),
    ],
)
def test_writes_of_other_sites_are_refused(method: str, headers: dict[str, str], status: int) -> None:
    answer = call(OriginCheck(HELLO), http_scope(method, "/v1/upscale", headers))
    assert answer.status == status
    if status == 403:
        assert answer.json["code"] == "cross_site_request"


def test_no_origin_hides_behind_another() -> None:
    scope = http_scope("POST", "/v1/upscale", {"origin": "http://localhost:8000"})
    scope["headers"].append((b"origin", b"https://evil.example"))
    assert call(OriginCheck(HELLO), scope).status == 403


def test_security_headers_are_on_every_answer_and_can_be_overridden() -> None:
    own = PlainTextResponse("hello", headers={"referrer-policy": "origin"})
    headers = call(SecurityHeaders(own), http_scope()).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "origin"
