"""Which addresses the service calls, and that it calls exactly these."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import Any

import pytest

from app.jobs import egress
from app.jobs.call import call
from app.jobs.egress import AddressNotAllowedError, EgressError, Gate, is_public
from tests.unit.jobs.receiver import CERTIFICATE, Receiver, answer, receiver, resolver

PUBLIC = "93.184.216.34"
NOT_PUBLIC = """
    127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1
    224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 fe80::1 fe80::1%eth0 fc00::1 fd00:ec2::254 fec0::1
    ff02::1 ff0e::1 2001:db8::1 3fff::1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1
    64:ff9b::a9fe:a9fe 64:ff9b:1::808:808 2002:7f00:1:: 2002:a9fe:a9fe::1 2001:0:808:808:: 100::1 5f00::1 x
"""


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/a", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("//example.org/", "begins with https"),
        ("https:///a", "begins with https"),
        ("http://example.org:22/", "ports 80 and 443"),
        ("http://example.org:0/", "ports 80 and 443"),
        ("http://example.org:99999/", "cannot be understood"),
        ("http://[::1/", "cannot be understood"),
        ("http://user:pass@example.org/", "user name"),
        ("http://example.org@127.0.0.1/", "user name"),
        ("http://example.org\\@127.0.0.1/", "backslash"),
        ("http://example.org/\r\nHost: x", "control character"),
        ("http://exa mple.org/", "a space"),
        ("http://" + "a" * 64 + ".org/", "cannot be understood"),
        ("https://example.org/" + "a" * 2000, "more than 2000"),
    ],
)
def test_addresses_that_are_refused_unseen(url: str, reason: str) -> None:
    with pytest.raises(AddressNotAllowedError, match=reason) as error:
        Gate().parse(url)
    assert error.value.code == "address_not_allowed"


def test_the_parts_of_an_address() -> None:
    target = Gate().parse("HTTPS://Bücher.Example:443/päth/a%20b?q=ü&x=1#fragment")
    assert (target.scheme, target.host, target.port) == ("https", "xn--bcher-kva.example", 443)
    assert target.path == "/p%C3%A4th/a%20b?q=%C3%BC&x=1"
    assert target.authority == "xn--bcher-kva.example"
    assert Gate().parse("http://example.org:443").authority == "example.org:443"
    assert Gate().parse("http://[2606:4700::1111]/").authority == "[2606:4700::1111]"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], ["::ffff:127.0.0.1"], [PUBLIC, "64:ff9b::7f00:1"]],
)
def test_one_private_address_is_enough_to_refuse(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "open_connection", lambda *_, **__: pytest.fail("a connection was opened"))
    gate = Gate(resolver=resolver(addresses))
    with pytest.raises(AddressNotAllowedError, match=r"pictures\.example is not on the public internet"):
        asyncio.run(gate.connect(gate.parse("http://pictures.example/")))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:7f00:1]", "169.254.169.254", "[fe80::1%25eth0]"])
def test_literal_addresses_are_checked_without_asking(host: str) -> None:
    async def nobody(_host: str, _port: int) -> list[str]:
        raise AssertionError("a literal address was looked up")

    gate = Gate(resolver=nobody)
    with pytest.raises(AddressNotAllowedError):
        asyncio.run(gate.connect(gate.parse(f"http://{host}/")))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "localhost."])
def test_other_spellings_of_loopback(host: str) -> None:
    gate = Gate()
    with pytest.raises(EgressError, match=r"not on the public internet|is not known"):
        asyncio.run(gate.connect(gate.parse(f"http://{host}/")))


def test_unknown_names() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    gate = Gate(resolver=unknown)
    with pytest.raises(EgressError, match=r"The name nowhere\.example is not known"):
        asyncio.run(gate.connect(gate.parse("http://nowhere.example/")))


class Wire:
    """Stands between the gate and the network: notes where connections are meant to go, and leads them to a server
    of the test, for the test has no public address."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, server: Receiver) -> None:
        self.meant: list[tuple[str, int]] = []
        opened = asyncio.open_connection

        def connect(host: str, port: int, **options: Any) -> Coroutine[Any, Any, Any]:
            self.meant.append((host, port))
            return opened("127.0.0.1", server.port, **options)

        monkeypatch.setattr(egress.asyncio, "open_connection", connect)


def test_a_name_that_changes_its_address_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is checked, loopback a moment later. The connection goes to what was checked."""
    questions: list[str] = []
    changing = resolver([PUBLIC], ["127.0.0.1"])

    async def ask(host: str, port: int) -> list[str]:
        questions.append(host)
        return await changing(host, port)

    async def run() -> None:
        async with receiver(answer(200, b"picture")) as server:
            wire = Wire(monkeypatch, server)
            gate = Gate(resolver=ask)
            async with call(gate, "GET", "http://pictures.example/a", headers={}, seconds=30) as got:
                assert b"".join([data async for data in got.body(100)]) == b"picture"
            assert questions == ["pictures.example"]
            assert wire.meant == [(PUBLIC, 80)]
            assert server.requests[0].headers["host"] == "pictures.example"
            with pytest.raises(AddressNotAllowedError):
                async with call(gate, "GET", "http://pictures.example/a", headers={}, seconds=30):
                    pass
            assert len(wire.meant) == len(server.requests) == 1

    asyncio.run(run())


def test_tls_is_with_the_name_over_the_checked_address(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with receiver(answer(204), tls=True) as server:
            wire = Wire(monkeypatch, server)
            gate = Gate(resolver=resolver([PUBLIC]), tls=ssl.create_default_context(cafile=str(CERTIFICATE)))
            async with call(gate, "GET", "https://pictures.example/", headers={}, seconds=30) as got:
                assert got.status == 204
            assert wire.meant == [(PUBLIC, 443)]
            assert server.names == ["pictures.example"]
            with pytest.raises(EgressError, match=r"The certificate of other\.example is not valid"):
                async with call(gate, "GET", "https://other.example/", headers={}, seconds=30):
                    pass
            with pytest.raises(EgressError, match="The certificate of"):
                async with call(
                    Gate(resolver=resolver([PUBLIC])), "GET", "https://pictures.example/", headers={}, seconds=30
                ):
                    pass
            assert len(server.requests) == 1

    asyncio.run(run())


def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    meant: list[str] = []

    async def connect(host: str, _port: int, **_options: Any) -> Any:
        meant.append(host)
        raise ConnectionRefusedError

    monkeypatch.setattr(egress.asyncio, "open_connection", connect)
    gate = Gate(resolver=resolver(["8.8.8.8", "8.8.4.4", "1.1.1.1", "9.9.9.9"]))
    with pytest.raises(EgressError, match="cannot be reached on port 80"):
        asyncio.run(gate.connect(gate.parse("http://pictures.example/")))
    assert meant == ["8.8.8.8", "8.8.4.4", "1.1.1.1"]


def test_allowed_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with receiver(answer(200)) as server:
            gate = Gate([server.host, "Intern.Example", "[::1]"], resolver=resolver(["127.0.0.1"]))
            async with call(gate, "GET", f"http://{server.host}/", headers={}, seconds=30) as got:
                assert got.status == 200
            assert server.requests[0].headers["host"] == server.host
            for url in (f"http://127.0.0.1:{server.port + 1}/", f"http://intern.example:{server.port}/"):
                with pytest.raises(AddressNotAllowedError, match="ports 80 and 443"):
                    gate.parse(url)
            for url in ("http://127.0.0.1/", "http://other.example/"):
                with pytest.raises(AddressNotAllowedError, match="public internet"):
                    await gate.connect(gate.parse(url))
            wire = Wire(monkeypatch, server)
            for url in ("http://intern.example/", "http://[::1]/"):
                _, writer = await gate.connect(gate.parse(url))
                writer.close()
            assert wire.meant == [("127.0.0.1", 80), ("::1", 80)]

    asyncio.run(run())


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def run() -> None:
        async with receiver(answer(200)) as server:
            gate = Gate([server.host])
            async with call(gate, "GET", f"http://{server.host}/x", headers={}, seconds=30):
                assert server.requests[0].path == "/x"

    asyncio.run(run())
