"""From the name of an engine to the engine."""

from __future__ import annotations

from typing import cast

from fairlead.contracts.engine import Engine, EngineOptions
from fairlead.contracts.errors import UsageError
from fairlead.kit import plugins
from fairlead.kit.config import nearest
from fairlead.kit.secrets import secret
from fairlead.serve.llm.relay import Relay
from fairlead.wiring.llm import composing
from fairlead.wiring.llm.wanted import Surroundings, Wanted

ENGINES = "fairlead.engines"


def names() -> list[str]:
    """Of every engine that is installed."""
    return plugins.names(ENGINES)


def engine(wanted: Wanted, around: Surroundings) -> Engine:
    """Made, not started. Raises UsageError and MissingExtra."""
    if not wanted.engine:
        return Relay(composing.behind(wanted), around.chats.resolve)
    if wanted.engine not in names():
        raise UsageError(
            f"there is no engine {wanted.engine!r}{nearest(wanted.engine, names())}; installed are {', '.join(names())}"
        )
    options = EngineOptions(
        wanted.name,
        wanted.model,
        wanted.url,
        secret(wanted.token) if wanted.token else None,
        str(around.home.root / "engines"),
        wanted.threads,
        wanted.options,
        wanted.precision,
    )
    return cast("Engine", plugins.load(ENGINES, wanted.engine)(options))
