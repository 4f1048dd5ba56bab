"""The one gate through which the service calls addresses that its callers name: webhooks and ``source.url``.

Plain asyncio streams, with h11 (which uvicorn brings) for the protocol, rather than httpx: what is wanted is a single
request on a connection of its own to an address that was checked before; a pool, cookies, proxies, decompression and
redirects are what an attacker would use.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urlsplit

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to IP addresses, each as text; raises OSError if the name has none."""

_PORTS = {"http": 80, "https": 443}
_CONNECT_SECONDS = 5.0
_ADDRESSES_TRIED = 3
_MAX_URL = 2000
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_DOCUMENTATION = IPv6Network("3fff::/20")  # not in every Python's list


class EgressError(Exception):
    """An address was not called, or did not answer as it should. ``message`` is for the caller who named the address:
    it holds nothing about the service's own network."""

    code = "download_failed"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class AddressNotAllowedError(EgressError):
    """The service does not call this address, whatever is behind it."""

    code = "address_not_allowed"


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of an address that may be called, if its host's IP addresses may."""

    scheme: str
    """``http`` or ``https``."""
    host: str
    """In lower case, without brackets; international names in their ASCII form."""
    port: int
    path: str
    """With the query; begins with a slash and is ASCII."""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the public internet.

    Guarantees no false positive among what the registries of IANA list as private, local, shared, reserved or for
    documentation, also if it is wrapped as IPv4-mapped, 6to4 or NAT64 (``64:ff9b::/96``). Teredo, multicast and every
    IPv6 address outside 2000::/3 count as not public. A network's own NAT64 prefix cannot be known.
    """
    try:
        found: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return False
        if found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        elif found in _NAT64:
            found = IPv4Address(found.packed[-4:])
        elif found not in _GLOBAL_UNICAST or found in _DOCUMENTATION or found.teredo is not None:
            return False
        elif found.sixtofour is not None:
            found = found.sixtofour
    return found.is_global and not found.is_multicast


async def resolve(host: str, port: int) -> list[str]:
    """What this machine's resolver says, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Gate:
    """Opens connections to public addresses on ports 80 and 443, and to the hosts that the settings allow.

    A name is resolved once for each connection, every one of its addresses must be public, and the connection goes to
    an address that was checked: what the name says a moment later changes nothing.
    """

    def __init__(
        self, allowed_hosts: Iterable[str] = (), *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None
    ) -> None:
        """``allowed_hosts``: ``name`` (on port 80 and 443) or ``name:port``, callable wherever they lead to; an IPv6
        address in brackets. ``tls`` None trusts what the system trusts."""
        self._allowed = {host.lower() for host in allowed_hosts}
        self._resolver = resolver
        self._tls = tls

    def parse(self, url: str) -> Target:
        """What can be told from the address alone. Raises AddressNotAllowedError with what is wrong with it."""
        if len(url) > _MAX_URL:
            raise AddressNotAllowedError(f"The address has more than {_MAX_URL} characters.")
        if re.search(r"[\x00-\x20\x7f\\]", url):
            raise AddressNotAllowedError("The address contains a space, a backslash or a control character.")
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode("ascii").lower() if parts.hostname else ""
        except ValueError:  # UnicodeError is one
            raise AddressNotAllowedError("The address cannot be understood.") from None
        if parts.scheme not in _PORTS or not host:
            raise AddressNotAllowedError("An address begins with https:// or http:// and a host.")
        if "@" in parts.netloc:
            raise AddressNotAllowedError("An address must not contain a user name or a password.")
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]-._")
        if parts.query:
            path += "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]-._")
        target = Target(parts.scheme, host, port if port is not None else _PORTS[parts.scheme], path)
        if target.port not in _PORTS.values() and not self._is_allowed(target):
            raise AddressNotAllowedError(f"Only ports 80 and 443 are called, not {target.port}.")
        return target

    async def connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the target, with TLS for https; the caller closes it, and bounds the time.

        Raises AddressNotAllowedError, and EgressError if nothing answers.
        """
        try:
            addresses = [target.host] if _is_literal(target.host) else await self._resolver(target.host, target.port)
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise EgressError(f"The name {target.host} is not known.")
        if not self._is_allowed(target) and not all(is_public(address) for address in addresses):
            raise AddressNotAllowedError(
                f"{target.host} is not on the public internet, so the service does not call it."
            )
        tls = (self._tls or _trusted()) if target.scheme == "https" else None
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    # A literal address is not resolved again; the certificate must be the name's.
                    return await asyncio.open_connection(
                        address, target.port, ssl=tls, server_hostname=target.host if tls else None
                    )
            except ssl.SSLCertVerificationError:
                raise EgressError(f"The certificate of {target.host} is not valid for it.") from None
            except (OSError, TimeoutError):
                continue
        raise EgressError(f"{target.host} cannot be reached on port {target.port}.")

    def _is_allowed(self, target: Target) -> bool:
        host = f"[{target.host}]" if ":" in target.host else target.host
        return f"{host}:{target.port}" in self._allowed or (target.port in _PORTS.values() and host in self._allowed)


@cache
def _trusted() -> ssl.SSLContext:
    """What the system trusts; reading it takes tens of milliseconds."""
    return ssl.create_default_context()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
