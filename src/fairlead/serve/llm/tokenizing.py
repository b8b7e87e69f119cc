"""What ``/tokenize`` and ``/detokenize`` answer, as vLLM does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Message, Tool
from fairlead.contracts.tokens import Tokenizer
from fairlead.serve.llm.chats import Chat
from fairlead.serve.llm.texting.engine import Texting

MOST: Final = 1 << 20
"""Tokens that are made text of at once."""


class Tokenized(NamedTuple):
    """``texts``: what each token stands for, where it was asked for.  ``context``: of the model; 0: not known."""

    tokens: Sequence[int]
    context: int
    texts: tuple[str, ...] | None


def tokenized(
    chat: Chat,
    prompt: str | Sequence[Message],
    tools: Sequence[Tool] = (),
    special: bool = True,
    texts: bool = False,
) -> Tokenized:
    """Ids of a text, or of a conversation. ``special``: with what every prompt begins with.

    Takes milliseconds for long texts: call it in a thread. Raises InvalidParameter.
    """
    tokenizer = _of(chat)
    if isinstance(prompt, str):
        found = [*(tokenizer.begin if special else ()), *tokenizer.encode(prompt)]
    else:
        found = tokenizer.converse(prompt, tools)
    written = tuple(_text(tokenizer, one) for one in found) if texts else None
    return Tokenized(found, chat.engine.traits.context, written)


def detokenized(chat: Chat, tokens: Sequence[int]) -> str:
    """Text of ids, special ones written out. Raises InvalidParameter."""
    tokenizer = _of(chat)
    if len(tokens) > MOST:
        raise InvalidParameter(f"tokens has {len(tokens)} tokens; at most {MOST} are taken")
    for one in tokens:
        if not 0 <= one < tokenizer.size:
            raise InvalidParameter(f"tokens: there is no token {one}; the model has 0 to {tokenizer.size - 1}")
    marks = tokenizer.marks
    data = b"".join([tokenizer.piece(one) or marks.get(one, "").encode() for one in tokens])
    return data.decode("utf-8", "replace")


def _text(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.marks.get(token) or tokenizer.piece(token).decode("utf-8", "replace")


def _of(chat: Chat) -> Tokenizer:
    if not isinstance(chat.engine, Texting):
        raise InvalidParameter(f"model: {chat.name} is made text of elsewhere; its tokens are not known here")
    return chat.engine.tokenizer
