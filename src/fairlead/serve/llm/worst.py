"""How many tokens an answer can take at worst, before anybody has counted any. Pure.

A token of a byte-level vocabulary stands for one byte at least, so a text has no more tokens than bytes; what a
template puts around it is added. A tokenizer whose normalization makes text longer, or a template that says more, goes
past the bound: the answer is settled at what it was, and the difference is an overspend of this one answer.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Generation, Message

FRAME: Final = 16
"""Tokens around a message."""
PREAMBLE: Final = 256
"""Tokens that a template says of its own, around a conversation; as many again where there are tools."""
_TEXT: Final = 4
"""Bytes of a token of ordinary text, about."""


def prompt_bound(asked: Generation) -> int:
    """The most tokens that the prompt can have."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return len(prompt.encode(errors="surrogatepass")) + 2
    found = PREAMBLE + _bytes(asked)
    for one in prompt:
        if not isinstance(one, Message):
            return len(prompt) + 2
        found += FRAME
    return found + (PREAMBLE if asked.tools else 0)


def prompt_guess(asked: Generation) -> int:
    """About how many tokens it has, where nobody has said: for what was given up before its engine said anything."""
    prompt = asked.prompt
    if isinstance(prompt, str):
        return -(-len(prompt.encode(errors="surrogatepass")) // _TEXT)
    if prompt and not isinstance(prompt[0], Message):
        return len(prompt)
    return -(-_bytes(asked) // _TEXT) + len(prompt)


def piece_guess(text: str) -> int:
    """Tokens of a piece whose engine does not say: one at least."""
    return max(1, -(-len(text.encode(errors="surrogatepass")) // _TEXT))


def answer_bound(asked: Generation, context: int, prompt: int, *, known: bool) -> int:
    """The most tokens that the answer can have. ``context``: of the model, 0 for not known.

    ``known``: the prompt was counted. Raises InvalidParameter where nothing bounds it.
    """
    most = asked.sampling.most
    if context:
        room = max(0, context - prompt) if known else context
        return room if most is None else min(most, room)
    if most is None:
        raise InvalidParameter(
            "a budget holds for this answer, and nothing says how long it may be; give max_completion_tokens"
        )
    return most


def _bytes(asked: Generation) -> int:
    found = 0
    for one in asked.prompt:
        if isinstance(one, Message):
            found += len(one.content.encode(errors="surrogatepass")) + len(one.name.encode(errors="surrogatepass"))
            found += sum(
                len(call.arguments.encode(errors="surrogatepass")) + len(call.name) + len(call.id) for call in one.calls
            )
    for tool in asked.tools:
        found += len(tool.name) + len(tool.description.encode(errors="surrogatepass")) + _size(tool.parameters)
    if asked.format is not None and asked.format.schema is not None:
        found += _size(asked.format.schema)
    return found


def _size(document: Any) -> int:
    return len(msgspec.json.encode(document, enc_hook=str)) if document is not None else 0
