"""Plugin contract: an engine answers questions in text. Entry-point group ``fairlead.engines``, by name.

Everything happens on one event loop. ``generate`` never waits and never raises: it tells ``Begun`` at most once, then
pieces, and at the end exactly one ``Ended`` or error, maybe before it returns; after ``cancel`` nothing.

A stage of the line has the same shape (``Generator``), so that stages wrap engines and one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Begun, Ended, Generation, Piece
from fairlead.contracts.secrets import Secret

Event = Begun | Piece | Ended | FairleadError
"""The last one is ``Ended`` or an error; errors are typed: what a caller did (InputError), or what happened here."""

Tell = Callable[[Event], None]


class Running(Protocol):
    """An answer that is being made."""

    def cancel(self) -> None:
        """Nobody wants it any more: nothing more is told, and the engine stops within one step. Once or often."""


class Generator(Protocol):
    def generate(self, asked: Generation, tell: Tell) -> Running: ...


@dataclass(frozen=True, slots=True)
class EngineTraits:
    """``context``: tokens of prompt and answer together; 0: not known.  ``parallel``: answers at once, that it is best
    at.

    ``tools``, ``schemas``, ``seeds``: whether it honours them.  ``logprobs``: most alternatives a token; -1 for none.
    ``resumes``: it goes on with an answer that was begun (``Generation.resumes``).
    ``counts``: whether its ``Usage`` is exact.  ``local``: it runs on this machine, and nobody else is paid.
    """

    platform: str
    context: int = 0
    parallel: int = 1
    tools: bool = False
    schemas: bool = False
    seeds: bool = False
    logprobs: int = -1
    counts: bool = True
    local: bool = True
    resumes: bool = False


class Load(Protocol):
    """How busy an engine is: requests that wait and run, and the share of its key-value cache in use (0.0 to 1.0)."""

    waiting: int
    running: int
    memory: float


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is made of. ``model``: a path, a name at the other server.  ``url``: of the other server.

    ``folder``: where it may keep what it makes of the model.  ``options``: the rest of its part of the spec, checked by
    the engine.  ``precision``: of weights that are converted here (``f16``, ``bf16``, ``int8``, ``int4``); empty: the
    engine's own choice.
    """

    name: str
    model: str
    url: str = ""
    token: Secret | None = None
    folder: str = ""
    threads: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    precision: str = ""


class Engine(Generator, Protocol):
    """Made with ``EngineOptions`` and an event loop's clock; nothing is opened before ``start``."""

    @property
    def traits(self) -> EngineTraits:
        """Complete once it was started."""

    async def start(self) -> None:
        """Load, warm up, and be ready. Raises ModelError, UsageError, Unavailable."""

    async def stop(self) -> None:
        """Answers that are under way end with Unavailable."""

    async def count(self, asked: Generation) -> int:
        """Tokens of the prompt. Raises InputError for a prompt that it cannot take."""

    def load(self) -> Load: ...

    def troubles(self) -> list[str]:
        """What does not work now, a sentence each."""
