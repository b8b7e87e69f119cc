"""Limits in Redis 6 or later, or what speaks as it does: one script, one round trip for all calls that wait."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from fairlead.adapters.limits.script import SCRIPT
from fairlead.contracts.errors import Unavailable, UsageError
from fairlead.contracts.limits import Charge, Period, Quota, Rate, Verdict
from fairlead.kit import gcra
from fairlead.kit.sentences import cause, without_secrets

_HASH: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_TROUBLES: Final = (RedisError, OSError, TimeoutError)
_KINDS: Final = {Period.HOUR: 1, Period.DAY: 2, Period.WEEK: 3, Period.MONTH: 4}
MICROSECOND: Final = 10**6
"""Of these Redis' clock has so many in a second."""
_PREFIX: Final = "{fairlead}:limits:"
"""In braces what a cluster goes by: all limits of a call must lie together."""

_DATABASE: Final = re.compile(r"/?|/\d{1,9}", re.ASCII)

_Answer = tuple[int, int, list[int]]
_decoder = msgspec.msgpack.Decoder(list[_Answer])
_encode = msgspec.msgpack.Encoder().encode


class RedisLimits:
    """``url``: ``redis://[USER:PASSWORD@]HOST:PORT[/DB]``, or ``rediss://`` for TLS."""

    def __init__(self, url: str) -> None:
        self._where = without_secrets(url)
        try:
            _check(url)
            self._client: Any = Redis.from_url(
                url,
                protocol=2,
                max_connections=4,
                socket_timeout=2.0,
                socket_connect_timeout=2.0,
                socket_keepalive=True,
                retry=Retry(NoBackoff(), 1),
                client_name="fairlead",
            )
            pool: Any = self._client.connection_pool
            pool.make_connection()  # which knows what it can be told
        except (ValueError, TypeError) as error:
            raise UsageError(f"redis is {self._where}: {error}; expected redis://HOST:PORT/DB") from None

    async def take(self, calls: Sequence[Sequence[Charge]]) -> list[Verdict]:
        return [
            Verdict(
                wait / 1e6 if wait > 0 else float(wait),
                refused - 1,
                tuple((left[at], left[at + 1] / 1e6) for at in range(0, len(left), 2)),
            )
            for wait, refused, left in await self._ask(calls, force=False)
        ]

    async def add(self, charges: Sequence[Charge]) -> None:
        await self._ask([[one] for one in charges], force=True)

    async def close(self) -> None:
        with contextlib.suppress(*_TROUBLES):
            await self._client.aclose()

    async def _ask(self, calls: Sequence[Sequence[Charge]], *, force: bool) -> list[_Answer]:
        keys: dict[str, int] = {}
        asked = [
            [[keys.setdefault(one.key, len(keys) + 1), *_terms(one.limit), one.cost] for one in call] for call in calls
        ]
        words = [len(keys), *(_PREFIX + key for key in keys), _encode(asked), int(force)]
        try:
            try:
                answer = await self._client.execute_command("EVALSHA", _HASH, *words)
            except NoScriptError:
                answer = await self._client.execute_command("EVAL", SCRIPT, *words)
            return _decoder.decode(answer)
        except _TROUBLES as error:
            raise Unavailable(f"{self._where} cannot count limits: {cause(error)}", retry_after=1) from error


def _check(url: str) -> None:
    """Raises ValueError for what the library would take for something else, or pass over."""
    parts = urlsplit(url)
    if not _DATABASE.fullmatch(parts.path):
        raise ValueError(f"{parts.path} is no number of a database")
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if not name.startswith("ssl_"):
            raise ValueError(f"it says {name}, and only what begins with ssl_ can be said so")


@functools.lru_cache(4096)
def _terms(limit: Rate | Quota) -> tuple[int, int, int, int]:
    """Kind, scale, step and most, as the script takes them: a rate in parts of a microsecond."""
    if isinstance(limit, Quota):
        return _KINDS[limit.period], 1, 1, limit.amount
    found = gcra.terms(limit, MICROSECOND)
    return 0, found.scale, found.step, found.most
