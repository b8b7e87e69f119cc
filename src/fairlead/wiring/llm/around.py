"""What a language model is built from, and the parts of the server that its stages may need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from fairlead.contracts.answered import Tracer
from fairlead.contracts.engine import Engine
from fairlead.contracts.sink import Sink
from fairlead.contracts.tokens import Tokenizer
from fairlead.contracts.vectors import Vector
from fairlead.kit.clock import Clock
from fairlead.kit.config import Home
from fairlead.serve.limits.limiter import Limiter
from fairlead.serve.llm.chats import Chats
from fairlead.serve.llm.embeddings import Embeddings
from fairlead.serve.llm.ledger.ledger import Ledger
from fairlead.serve.openai.embeddings import Embedder
from fairlead.wiring.llm.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is there beside one model. ``place``: of this worker, among ``workers``.  ``chats``: the other models.

    ``tokenizers``, ``embedders``: what edges ask, by name.  ``embeddings``: for whoever needs vectors of texts.
    ``limiter``, ``ledger``: None where nothing is counted.
    ``embed``: a text, by the endpoint of this name; None: nobody embeds here.
    ``tracers``: hear of every answer; of what was said, too, with ``content``.
    """

    home: Home
    sink: Sink
    clock: Clock
    chats: Chats
    limiter: Limiter | None = None
    tracers: Sequence[Tracer] = ()
    embed: Callable[[str, str], Awaitable[Vector]] | None = None
    content: bool = False
    place: int = 0
    workers: int = 1
    tokenizers: dict[str, Tokenizer] = field(default_factory=dict)
    embedders: dict[str, Embedder] = field(default_factory=dict)
    embeddings: Embeddings = field(default_factory=Embeddings)
    ledger: Ledger | None = None


@dataclass(frozen=True, slots=True)
class Building:
    """A line that is being built around an engine that was made and not started.

    ``troubles``: stages add what says, a sentence each, what of them does not work now.
    """

    wanted: Wanted
    engine: Engine
    around: Surroundings
    troubles: list[Callable[[], list[str]]] = field(default_factory=list)
