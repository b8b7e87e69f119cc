"""Detector ``http``: another server says what is in a text.

It is sent ``POST url`` with ``{"text": "...", "channel": "user"}`` and answers with status 200 and
``{"findings": [{"kind": "injection", "score": 0.98, "start": 0, "end": 12}]}``; ``start`` and ``end`` are characters,
and where they are left out the finding is the whole text. Everything else is no answer: then the rule's ``fail``
decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.guardrail import Channel, DetectorOptions, Finding
from fairlead.kit.hosts import loopback
from fairlead.kit.options import given
from fairlead.kit.secrets import secret

SECONDS: Final = 60.0
"""For one question, at most, whatever the budget is."""
LARGEST: Final = 1 << 20
"""Bytes of an answer."""


class _Found(msgspec.Struct):
    kind: str
    score: float = 1.0
    start: int = 0
    end: int = -1


class _Answer(msgspec.Struct):
    findings: list[_Found]


class HttpGuard:
    """Options: ``url``; ``token``, a reference to the credential, sent as bearer; ``reach``, how long a finding is at
    most (0: it judges whole texts). Redirects are not followed; a credential goes out by https, or to this machine.
    """

    name = "http"
    cost = 0.05

    def __init__(self, options: DetectorOptions) -> None:
        found = given(options.options or {}, {"url": "", "token": "", "reach": 0}, "detector http")
        self._url = str(found["url"])
        try:
            parts = urlsplit(self._url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or parts.username is not None:
            raise UsageError("detector http needs url: http(s)://HOST/PATH, without a user in it")
        own = loopback(host)
        if found["token"] and parts.scheme != "https" and not own:
            raise UsageError("detector http sends its token by https only; give an https url")
        self._token = secret(str(found["token"])) if found["token"] else None
        self._kinds = frozenset(options.kinds)
        self._least = 0.5 if options.threshold is None else options.threshold
        self.reach = int(found["reach"])
        self._client = httpx.AsyncClient(timeout=SECONDS, trust_env=not own, limits=httpx.Limits(max_connections=64))

    async def ask(self, text: str, channel: Channel, seconds: float) -> Sequence[Finding]:
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal()}"
        body = msgspec.json.encode({"text": text, "channel": str(channel)})
        try:
            async with self._client.stream("POST", self._url, content=body, headers=headers, timeout=seconds) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise Unavailable(f"the guard at {self._place()} answers with status {answer.status_code}")
                got = bytearray()
                async for piece in answer.aiter_bytes():
                    got += piece
                    if len(got) > LARGEST:
                        raise Unavailable(f"the guard at {self._place()} answers with more than {LARGEST} bytes")
            told = msgspec.json.decode(bytes(got), type=_Answer)
        except httpx.HTTPError as error:
            raise Unavailable(f"the guard at {self._place()} does not answer: {type(error).__name__}") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Unavailable(f"the guard at {self._place()} answers with something else than findings") from None
        found = [
            Finding(one.kind[:64], one.start, one.end if one.end >= 0 else len(text), one.score)
            for one in told.findings
            if one.score >= self._least and (not self._kinds or one.kind in self._kinds)
        ]
        return sorted(found, key=lambda one: one.start)

    async def close(self) -> None:
        await self._client.aclose()

    def _place(self) -> str:
        return urlsplit(self._url).netloc
