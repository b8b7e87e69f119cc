"""How another server is named: addresses, and ``oip+`` URIs of a model there.

``oip+http://HOST:PORT[,HOST:PORT ...]/NAME[/VERSION]``; ``https``, ``grpc`` and ``grpcs`` likewise. An address after a
comma may have a scheme of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from fairlead.contracts.errors import UsageError
from fairlead.contracts.upstream import Address

MARK = "oip+"
_PORTS = {"http": 80, "https": 443, "grpc": 8001, "grpcs": 8001}
_EXAMPLE = "oip+http://10.0.0.5:8000/fraud"
_URI = re.compile(
    r"oip\+(?P<scheme>\w+)://(?P<places>[^/,]+(?:,(?:\w+://)?[^/,]+)*)/(?P<model>[^/,]+)(?:/(?P<version>[^/,]+))?"
)


class Remote(NamedTuple):
    """A model on other servers. ``version`` empty: the one that they choose."""

    addresses: tuple[Address, ...]
    model: str
    version: str = ""


def address(url: str) -> Address:
    """``http://10.0.0.5:8000``. Raises UsageError that says how to write it; a password in it is not repeated."""
    scheme, found, rest = url.partition("://")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not found or scheme not in _PORTS or not host or any(one <= " " for one in url):
        shown = url if "@" not in url else "an address"
        raise UsageError(f"{shown[:100]!r} is no address; give http://HOST:PORT, or https, grpc or grpcs")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError(f"the address {scheme}://{host} has a user, a query or a fragment; leave it out")
    prefix = parts.path.rstrip("/")
    if prefix and scheme.startswith("grpc"):
        raise UsageError(f"the address {scheme}://{host} has a path, and gRPC has none; leave {prefix} out")
    return Address(scheme, host, _PORTS[scheme] if port is None else port, prefix)


def parse(uri: str) -> Remote:
    """An ``oip+`` URI. Raises UsageError."""
    match = _URI.fullmatch(uri)
    if match is None or match["scheme"] not in _PORTS:
        raise UsageError(f"{uri.partition('@')[0][:100]!r} names no model on a server; write it as {_EXAMPLE}")
    scheme = match["scheme"]
    found = (address(one if "://" in one else f"{scheme}://{one}") for one in match["places"].split(","))
    return Remote(unique(found), unquote(match["model"]), unquote(match["version"] or ""))


def unique(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Raises UsageError when two are the same."""
    found: list[Address] = []
    for one in addresses:
        if one in found:
            raise UsageError(f"the address {one} is given twice; leave one out")
        found.append(one)
    return tuple(found)


def uri_of(remote: Remote) -> str:
    """How it is named in one line; without the paths before ``/v2``."""
    first = remote.addresses[0].scheme
    places = [one.authority if one.scheme == first else f"{one.scheme}://{one.authority}" for one in remote.addresses]
    ends = [quote(remote.model, safe=""), *([quote(remote.version, safe="")] if remote.version else [])]
    return f"{MARK}{first}://{','.join(places)}/{'/'.join(ends)}"
