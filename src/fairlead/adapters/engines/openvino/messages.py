"""Every message between a server and the process that runs one of its language models.

Ids of tokens travel as the bytes of 32-bit integers: a prompt of 100,000 tokens is packed in a millisecond.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import msgspec


class Message(msgspec.Struct, frozen=True, tag=True, gc=False):
    """The class's name is the tag."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the engine, checked (``settings``)."""

    batched_tokens: int = 256
    cache_gb: int = 0
    cache_precision: str = "u8"
    compute: str = ""
    context: int = 0
    parallel: int = 64
    prefix_caching: bool = True
    draft_model: str = ""
    prompt_lookup: bool = False
    assistant_tokens: int = 4
    adapters: dict[str, str] = {}
    niceness: int = 5


# To the process.


class Load(Message, frozen=True):
    """Be this model. Answered with ``Loaded`` or ``Failed``.

    ``model``: what the user named.  ``folder``: where converted models are kept.  ``threads``: 0: as many as cores.
    ``level``: of the log.
    """

    endpoint: str
    model: str
    folder: str
    precision: str
    threads: int
    settings: Settings
    level: int


class Choosing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How tokens are chosen. ``seed`` None: another one each time.  ``temperature`` 0: the likeliest each time."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    seed: int | None
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logprobs: bool


class Ask(Message, frozen=True):
    """Write an answer. ``number``: unique in this process.  ``ids``: the prompt.

    ``ends``: ids that end it; none: it ends when it has ``most`` tokens, or by its grammar.
    """

    number: int
    ids: bytes
    most: int
    least: int
    choosing: Choosing
    ends: tuple[int, ...] = ()
    grammar: dict[str, str] | None = None
    adapter: str = ""


class Drop(Message, frozen=True):
    """Nobody wants this answer any more."""

    number: int


# To the server.


class Loaded(Message, frozen=True):
    """It answers. ``context``: tokens of prompt and answer together.  ``cache``: tokens that the cache holds.

    ``grammars``: whether answers can be held to a grammar.
    """

    context: int
    cache: int
    grammars: bool


class Failed(Message, frozen=True):
    """The model does not load: the error's code and its sentence."""

    code: str
    message: str


class Made(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """New tokens of an answer. ``logprobs``: one for each id, or none."""

    number: int
    ids: list[int]
    logprobs: list[float]


class Over(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer is whole (``code`` is empty), or could not be made."""

    number: int
    stopped: bool
    code: str = ""
    message: str = ""


class Stepped(Message, frozen=True):
    """What one step brought, all answers together. ``begun``: numbers of answers taken up, and what was in the cache.

    ``memory``: share of the key-value cache in use, 0.0 to 1.0.
    """

    begun: list[tuple[int, int]]
    made: list[Made]
    over: list[Over]
    memory: float


ToProcess = Load | Ask | Drop
ToServer = Loaded | Failed | Stepped


def packed(ids: Sequence[int]) -> bytes:
    """Raises OverflowError for an id that is no 32-bit integer."""
    return array.array("i", ids).tobytes()


def unpacked(data: bytes) -> list[int]:
    return array.array("i", data).tolist()
