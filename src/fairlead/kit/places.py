"""The URL of a stream, subject, queue or topic."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote, urlsplit

from fairlead.contracts.broker import Place
from fairlead.contracts.errors import UsageError

FORM = "scheme://HOST:PORT/NAME, such as nats://127.0.0.1:4222/orders"


def place(url: str, option: str, schemes: tuple[str, ...] | list[str]) -> Place:
    """The place behind ``url``. ``option``: the flag that it came with.  ``schemes``: those that a plugin serves.

    Raises UsageError that names the flag, what is wrong and the form.
    """
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower()
    if not mark or not rest:
        shown = "no URL" if "@" in url else repr(url)
        raise UsageError(f"{option} is {shown}; expected {FORM}")
    if scheme not in schemes:
        raise UsageError(f"{option}: no broker for {scheme}:// (installed: {', '.join(schemes) or 'none'})")
    found = urlsplit(f"x://{rest}")
    credentials, _, address = found.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    name = unquote(found.path.removeprefix("/"))
    if not address:
        raise UsageError(f"{option}: {scheme}:// names no host; expected {FORM}")
    for one in address.split(","):
        _check_port(one, option)
    if not name or found.fragment or any(letter.isspace() for letter in name):
        raise UsageError(f"{option}: {scheme}://{address} names no stream, queue or topic; expected {FORM}")
    return Place(scheme, address, name, unquote(user), unquote(password), dict(parse_qsl(found.query)))


def only(place: Place, *known: str) -> None:
    """Raises UsageError for an option of the URL that the broker does not know."""
    for name in place.options:
        if name not in known:
            raise UsageError(f"{place}: unknown option {name!r} (known: {', '.join(known) or 'none'})")


def _check_port(address: str, option: str) -> None:
    host, _, port = address.rpartition(":") if ":" in address.rpartition("]")[2] else (address, "", "1")
    if not host or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UsageError(f"{option}: {address!r} is not HOST:PORT with a port from 1 to 65535")


def covers(reader: Place, written: Place) -> bool:
    """Whether what is written to one place is read from the other; ``*`` and ``>`` are wildcards of NATS subjects."""
    if (reader.scheme, reader.address) != (written.scheme, written.address):
        return False
    if reader.options.get("db", "0") != written.options.get("db", "0"):
        return False
    if reader.scheme != "nats":
        return reader.name == written.name
    pattern, words = reader.name.split("."), written.name.split(".")
    for at, part in enumerate(pattern):
        if part == ">":
            return len(words) > at
        if at >= len(words) or part not in ("*", words[at]):
            return False
    return len(pattern) == len(words)
