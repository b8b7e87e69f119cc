"""Plugin contracts for engines that speak in ids of tokens, and for what makes ids of text.

Groups ``fairlead.token_engines`` and ``fairlead.tokenizers``. What makes an ``Engine`` of the two is ours:
``serve.llm.texting``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fairlead.contracts.engine import EngineTraits, Load, Running
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Message, Sampling, Tool, Usage


@dataclass(frozen=True, slots=True)
class TokenGeneration:
    """``ids``: the prompt.  ``sampling``: its ``stop`` and ``bias`` are not the engine's business.

    ``ends``: ids that end the answer.  ``most``: tokens of the answer, at most.
    ``grammar``: of the answer: JSON Schema by key ``json_schema``, or ``regex``, ``grammar`` (EBNF); None for none.
    """

    id: str
    ids: Sequence[int]
    most: int
    sampling: Sampling = Sampling()
    ends: tuple[int, ...] = ()
    grammar: Mapping[str, Any] | None = None
    adapter: str = ""


class Tokens(NamedTuple):
    """What came next. ``logprobs``: one for each id where they are asked for, else empty."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()


class TokensBegun(NamedTuple):
    usage: Usage


class TokensEnded(NamedTuple):
    """``stopped``: by one of ``ends`` or by the grammar; else the answer is as long as it may be."""

    stopped: bool
    usage: Usage


TokenEvent = TokensBegun | Tokens | TokensEnded | FairleadError


class TokenEngine(Protocol):
    """The same promises as ``Engine``."""

    @property
    def traits(self) -> EngineTraits: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def generate(self, asked: TokenGeneration, tell: Callable[[TokenEvent], None]) -> Running: ...

    def load(self) -> Load: ...

    def troubles(self) -> list[str]: ...


class Tokenizer(Protocol):
    """Made with the folder (or file) of a model. Raises BrokenModel, SourceNotFound. ``ends``: ids that end an answer.

    Thread-safe. Text that looks like a special token is text: a user cannot write one.
    """

    ends: tuple[int, ...]
    begin: tuple[int, ...]
    """What every prompt begins with, that no template has written."""
    final: tuple[int, ...]
    """What a text ends with for a model that reads whole texts (``[SEP]``); an answer is never asked for after it."""
    marks: Mapping[int, str]
    """The special tokens, as they are written: no piece of text has them."""
    pads: bool
    """Whether a text that begins has a space before its first word that nobody wrote (SentencePiece)."""
    chats: bool
    """Whether it has a template for conversations."""
    template: str
    """That template; empty where there is none. It tells how the model calls tools."""

    def encode(self, text: str) -> list[int]: ...

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; empty for a special one."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the pieces; what is no UTF-8 becomes U+FFFD, and the space that ``pads`` tells of is left out."""

    def converse(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        """The ids of a conversation, ready for an answer. Raises InputError for what the template refuses."""

    @property
    def size(self) -> int:
        """How many tokens there are."""
