"""Whole requests to one server, as bytes."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.adapters.engines.served import asking
from fairlead.adapters.engines.served.settings import Settings
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.generation import Generation

_encode = msgspec.json.Encoder().encode


class Requests:
    """Each with the credential as it is now; where no header can hold it, all raise Unavailable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        to = settings.reach.address
        more = "".join(f"{name}: {value}\r\n" for name, value in settings.headers)
        self._rest = f" HTTP/1.1\r\nhost: {to.authority}\r\nuser-agent: fairlead\r\naccept-encoding: identity\r\n{more}"
        self._prefix = to.prefix
        self._root = to.prefix.removesuffix("/v1")

    def generation(self, asked: Generation) -> bytes:
        """For an answer. Raises InputError."""
        path = "/chat/completions" if asking.talks(asked) else "/completions"
        return self._post(f"{self._prefix}{path}", asking.body(asked, self._settings.manner))

    def post(self, path: str, told: dict[str, Any]) -> bytes:
        """Beside the API: ``path`` is one of the server itself."""
        return self._post(f"{self._root}{path}", _encode(told))

    def get(self, path: str, *, below: bool = False) -> bytes:
        """``below``: of the API, else of the server itself."""
        where = self._prefix if below else self._root
        return f"GET {where}{path}{self._rest}{self.credential()}\r\n".encode("ascii")

    def credential(self) -> str:
        """Its header; never shown."""
        token, name = self._settings.token, self._settings.header
        if token is None:
            return ""
        value = token.reveal()
        if not value or not value.isascii() or not value.isprintable():
            raise Unavailable(f"the token {token.reference} is not one line of ASCII text, as a header must be")
        return f"{name}: Bearer {value}\r\n" if name == "authorization" else f"{name}: {value}\r\n"

    def _post(self, path: str, body: bytes) -> bytes:
        head = f"POST {path}{self._rest}{self.credential()}content-type: application/json\r\n"
        return b"%scontent-length: %d\r\n\r\n%s" % (head.encode("ascii"), len(body), body)
