"""What is known of an answer of a language model when it is over: for metrics, traces and the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from fairlead.contracts.generation import Generation, Usage


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, or why there is none. Times are monotonic seconds.

    ``endpoint``: what the caller named.  ``outcome``: why it ended, a ``Reason`` or an error's code.
    ``arrived``, ``first``, ``ended``: the request, its first piece (0.0: there was none), its end.
    ``at_ms``: Unix time in milliseconds when it ended.  ``tokens``: of its pieces; guessed where they do not say.
    ``longest``: seconds between two pieces, at most.
    ``usage``: None where nobody said.  ``text``: the answer, where content is traced; else empty.
    ``parent``: the caller's ``traceparent``; empty for none.  ``facts``: what stages told.
    """

    endpoint: str
    generation: Generation
    request_id: str
    outcome: str
    failed: bool
    arrived: float
    first: float
    ended: float
    at_ms: int
    tokens: int
    longest: float
    usage: Usage | None
    streamed: bool = False
    caller: str = ""
    text: str = ""
    error: str = ""
    parent: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.ended - self.arrived

    @property
    def per_token(self) -> float:
        """Seconds for each token after the first; 0.0 for fewer than two."""
        made = self.usage.completion if self.usage is not None else self.tokens
        return (self.ended - self.first) / (made - 1) if made > 1 and self.first else 0.0


@dataclass(frozen=True, slots=True)
class Traced:
    """A line of the traces that a machine keeps itself: one span. ``status``: ``ok`` or ``error``.

    ``start_ms``, ``end_ms``: Unix time.  ``first``: seconds to the first piece, ``per_token``: seconds for each token
    after it; None where there was none.  ``tokens``: prompt, cached of it, completion.  ``facts``: what stages told:
    texts, numbers and lists of texts.  ``attributes``: by the names of OpenTelemetry's conventions.
    """

    name: str
    service: str
    start_ms: int
    end_ms: int
    parent: str
    status: str
    message: str
    attributes: Mapping[str, Any]
    id: str = ""
    request_id: str = ""
    endpoint: str = ""
    caller: str = ""
    outcome: str = ""
    first: float | None = None
    per_token: float | None = None
    tokens: tuple[int, int, int] = (0, 0, 0)
    facts: Mapping[str, Any] = field(default_factory=dict)


class ChatMeter(Protocol):
    """Measures one language model; made once. Called on the event loop."""

    def began(self) -> None:
        """A question has come; ``answered`` will be called for it once."""

    def answered(self, one: Answered) -> None: ...

    def cached(self, outcome: str) -> None:
        """The cache was asked: ``exact`` or ``semantic`` hit, ``miss``, ``guarded`` (near, and not the same).

        A hit that was asked of the model again was the ``same`` or ``false``.
        """

    def waiting(self, waiting: int, running: int, memory: float) -> None:
        """How busy its engine is, as ``contracts.engine.Load`` says."""


class Tracer(Protocol):
    """Plugin contract: takes what is known of answers. Entry-point group ``fairlead.traces``.

    Made with a URL or path and the name of the service. ``put`` is called on the event loop and never blocks or raises.
    """

    def put(self, one: Answered) -> None: ...

    def troubles(self) -> list[str]: ...

    def close(self) -> None:
        """Send what is left, for seconds at most. Blocks."""
