"""From the name of an engine to the engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from fairlead.contracts.engine import Engine, EngineOptions
from fairlead.contracts.errors import UsageError
from fairlead.contracts.tokens import TokenEngine
from fairlead.kit import plugins
from fairlead.kit.config import nearest
from fairlead.kit.options import given
from fairlead.kit.secrets import secret
from fairlead.serve.llm.relay import Relay
from fairlead.serve.llm.texting.calling.parsing import FORMATS
from fairlead.serve.llm.texting.engine import Texting
from fairlead.serve.llm.texting.speaking import Manner
from fairlead.wiring.llm import composing, tokenizers
from fairlead.wiring.llm.around import Surroundings
from fairlead.wiring.llm.wanted import Wanted

ENGINES: Final = "fairlead.engines"
TOKEN_ENGINES: Final = "fairlead.token_engines"  # noqa: S105 - no secret

_OURS: Final = {"tokenizer": "", "tools": "auto", "reasoning": "auto"}
"""Options of ``llm`` for what makes text of tokens; the engine is not told of them."""
_AMONG: Final = {"tools": ("auto", "none", *FORMATS), "reasoning": ("auto", "none", "think")}


def names() -> list[str]:
    """Of every engine that is installed."""
    return sorted({*plugins.names(ENGINES), *plugins.names(TOKEN_ENGINES)})


def needs_model(name: str) -> bool:
    """Whether an engine is one of tokens: it runs a model whose tokenizer is read here."""
    return name in plugins.names(TOKEN_ENGINES) and name not in plugins.names(ENGINES)


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
    if wanted.engine in plugins.names(ENGINES):
        return cast("Engine", plugins.load(ENGINES, wanted.engine)(options))
    return _texting(wanted, options, around)


def _texting(wanted: Wanted, options: EngineOptions, around: Surroundings) -> Engine:
    """An engine of tokens, with the tokenizer of its model before it."""
    ours = _checked({name: one for name, one in wanted.options.items() if name in _OURS})
    rest = {name: one for name, one in wanted.options.items() if name not in _OURS}
    if not wanted.model:
        raise UsageError(f"{wanted.name}: engine {wanted.engine!r} runs a model that is here; name it, as llm.model")
    made = cast("TokenEngine", plugins.load(TOKEN_ENGINES, wanted.engine)(replace(options, options=rest)))
    opening = functools.partial(tokenizers.opened, ours["tokenizer"] or wanted.model)
    return Texting(wanted.name, made, opening, around.clock, Manner(ours["tools"], ours["reasoning"]))


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    found = given(options, _OURS, "llm")
    for name, among in _AMONG.items():
        if found[name] not in among:
            raise UsageError(f"option {name!r} of llm is {found[name]!r}; expected one of {', '.join(among)}")
    return found
