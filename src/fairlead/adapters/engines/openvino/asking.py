"""From a question to the message that asks the process. Pure: decides what is refused at once, and with which words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fairlead.adapters.engines.openvino.messages import Ask, Choosing, Loaded, Settings, packed
from fairlead.contracts.errors import ContextTooLong, InvalidParameter
from fairlead.contracts.tokens import TokenGeneration

GRAMMAR: Final = 256 * 1024
"""Characters of a grammar, at most."""

_SEEDS: Final = (1 << 64) - 1
_MOST: Final = (1 << 31) - 1
_GRAMMARS: Final = ("json_schema", "regex", "grammar")


def message(number: int, asked: TokenGeneration, loaded: Loaded, settings: Settings) -> Ask:
    """Raises InvalidParameter and ContextTooLong for what the engine cannot do."""
    room = _room(asked, loaded)
    _refuse(asked, settings)
    sampling = asked.sampling
    choosing = Choosing(
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.min_p,
        None if sampling.seed is None else sampling.seed & _SEEDS,
        sampling.presence_penalty,
        sampling.frequency_penalty,
        sampling.repetition_penalty,
        sampling.logprobs is not None,
    )
    try:
        ids = packed(asked.ids)
    except (OverflowError, TypeError) as error:
        raise InvalidParameter(f"the prompt has a token that is none: {error}") from error
    grammar = None if asked.grammar is None else _grammar(asked.grammar, loaded)
    ends = () if sampling.ignore_end and grammar is None else asked.ends
    return Ask(number, ids, room, min(sampling.least, room), choosing, ends, grammar, asked.adapter)


def _room(asked: TokenGeneration, loaded: Loaded) -> int:
    """Tokens of the answer, at most."""
    prompt = len(asked.ids)
    if not prompt:
        raise InvalidParameter("the prompt has no tokens; it must have one at least")
    if asked.most < 1:
        raise InvalidParameter(f"the answer may have {asked.most} tokens at most; it must have room for one")
    if not loaded.context:
        return min(asked.most, _MOST)
    if prompt >= loaded.context:
        raise ContextTooLong(
            f"the prompt has {prompt} tokens, {prompt + 1 - loaded.context} too many; the model takes {loaded.context} "
            "with the answer, which has one at least"
        )
    return min(asked.most, loaded.context - prompt)


def _refuse(asked: TokenGeneration, settings: Settings) -> None:
    known = settings.adapters
    if asked.adapter and asked.adapter not in known:
        names = ", ".join(sorted(known)) or "none"
        raise InvalidParameter(f"there is no adapter {asked.adapter!r}; the engine has {names}")
    if (alternatives := asked.sampling.logprobs or 0) > 0:
        raise InvalidParameter(
            f"{alternatives} alternatives of each token are asked for; this engine tells how likely the token was that "
            "it chose, and of no other: ask for 0"
        )


def _grammar(asked: Mapping[str, Any], loaded: Loaded) -> dict[str, str]:
    if len(asked) != 1 or not set(asked) <= set(_GRAMMARS):
        raise InvalidParameter(f"a grammar is one of {', '.join(_GRAMMARS)}; this one has {', '.join(sorted(asked))}")
    if not loaded.grammars:
        raise InvalidParameter("this model has no tokenizer that the engine knows, so it takes no grammar")
    found = {kind: value if isinstance(value, str) else json.dumps(value) for kind, value in asked.items()}
    longest = max(len(text) for text in found.values())
    if longest > GRAMMAR:
        raise InvalidParameter(f"the grammar of the answer has {longest} characters; at most {GRAMMAR} are taken")
    return found
