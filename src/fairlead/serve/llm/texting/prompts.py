"""Ids of what is asked, made once for each prompt: to count it, and to answer it as often as somebody wants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

from fairlead.contracts.errors import ContextTooLong, InvalidParameter
from fairlead.contracts.generation import Generation, Message, Tool
from fairlead.contracts.tokens import Tokenizer

_KEPT: Final = 64
"""Prompts whose ids are remembered."""
_TOKENS: Final = 1 << 20
"""Ids that are remembered, in all."""


class _Kept(NamedTuple):
    prompt: object
    tools: object
    ids: Sequence[int]


class Prompts:
    """Of one model. ``remembered`` is for the event loop only; ``made`` may be called in a thread."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._kept: OrderedDict[tuple[int, int, bool], _Kept] = OrderedDict()
        self._size = 0

    def remembered(self, asked: Generation) -> Sequence[int] | None:
        found = self._kept.get(self._key(asked))
        return None if found is None else found.ids

    def remember(self, asked: Generation, ids: Sequence[int]) -> None:
        """The prompt is kept with its ids: as long as it is here no other has its identity."""
        key = self._key(asked)
        if not isinstance(asked.prompt, str) and not talks(asked):
            return
        old = self._kept.pop(key, None)
        self._size += len(ids) - (len(old.ids) if old is not None else 0)
        self._kept[key] = _Kept(asked.prompt, offered(asked), ids)
        while len(self._kept) > _KEPT or (self._size > _TOKENS and self._kept):
            self._size -= len(self._kept.popitem(last=False)[1].ids)

    @staticmethod
    def _key(asked: Generation) -> tuple[int, int, bool]:
        return id(asked.prompt), id(offered(asked)), asked.resumes

    def made(self, asked: Generation) -> Sequence[int]:
        """Raises InputError for a prompt that the model cannot take."""
        tokenizer = self._tokenizer
        if continues(asked):  # as if the model had written it after the template's beginning of an answer
            *talk, begun = said(asked)
            return [*tokenizer.converse(talk, offered(asked)), *tokenizer.encode(begun.content)]
        if talks(asked):
            return tokenizer.converse(said(asked), offered(asked))
        if isinstance(asked.prompt, str):
            ids: Sequence[int] = [*tokenizer.begin, *tokenizer.encode(asked.prompt)]
        else:
            ids = [one for one in asked.prompt if isinstance(one, int)] or list(tokenizer.begin)
        if not ids:
            raise InvalidParameter("prompt is empty, and the model has no token that begins a text; write something")
        if not isinstance(asked.prompt, str) and (min(ids) < 0 or max(ids) >= tokenizer.size):
            wrong = min(ids) if min(ids) < 0 else max(ids)
            raise InvalidParameter(f"prompt: there is no token {wrong}; the model has 0 to {tokenizer.size - 1}")
        return ids


def talks(asked: Generation) -> bool:
    """Whether it is a conversation: its answer begins a text, and does not go on with one."""
    return isinstance(asked.prompt, tuple) and bool(asked.prompt) and isinstance(asked.prompt[0], Message)


def continues(asked: Generation) -> bool:
    """Whether the last message of a conversation is the beginning of the answer."""
    if not asked.resumes or not talks(asked) or len(asked.prompt) < 2:
        return False
    last = asked.prompt[-1]
    return isinstance(last, Message) and last.role == "assistant"


def said(asked: Generation) -> list[Message]:
    """The messages of a conversation."""
    return [one for one in asked.prompt if isinstance(one, Message)]


def offered(asked: Generation) -> tuple[Tool, ...]:
    """The tools that the prompt tells of."""
    return () if asked.choose == "none" else asked.tools


def weight(asked: Generation) -> int:
    """About how many characters there are to read, quickly."""
    size = len(asked.prompt) if isinstance(asked.prompt, str) else 0
    if talks(asked):
        size = sum(len(one.content) + sum(len(call.arguments) for call in one.calls) + 32 for one in said(asked))
    return size + sum(map(len, asked.sampling.stop))


def schemas_weight(asked: Generation) -> int:
    """The same of the schemas."""
    size = sum(len(one.description) + len(str(one.parameters)) for one in asked.tools)
    return size + (len(str(asked.format.schema)) if asked.format is not None else 0)


def fits(count: int, context: int, least: int, name: str) -> None:
    """Raises ContextTooLong for a prompt that leaves no room for an answer. ``context``: tokens; 0: not known."""
    room = context - max(1, least)
    if context and count > room:
        raise ContextTooLong(
            f"the prompt has {count} tokens, and {name} takes {context} of prompt and answer together; shorten it by "
            f"{count - room} tokens"
        )
