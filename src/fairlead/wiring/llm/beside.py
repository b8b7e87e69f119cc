"""What a server has for its language models. Loaded by name: a server without any reads nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fairlead.kit.clock import SystemClock
from fairlead.serve.app import Application
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Shelf
from fairlead.serve.llm.embeddings import Embeddings
from fairlead.serve.server import Companion, Quickening
from fairlead.wiring.budgeting import Ledgering
from fairlead.wiring.ledgering import ledger
from fairlead.wiring.llm.around import Surroundings
from fairlead.wiring.llm.opening import openings
from fairlead.wiring.llm.tracing import Traced, Tracing

if TYPE_CHECKING:
    from fairlead.wiring.serving import Plan


class Beside(NamedTuple):
    """``openers``: of its models.  ``companions``: what lives beside the server for them."""

    openers: list[Quickening]
    companions: list[Companion]


def beside(plan: Plan, application: Application, place: int) -> Beside:
    """``place``: of this worker. Raises MissingExtra, StorageFull."""
    front, clock, tracing = application.front, SystemClock(), plan.tracing or Tracing()
    tracers, embeddings = tracing.tracers(plan.home), Embeddings()
    paying, keeping = ledger(plan.ledgering or Ledgering(), plan.home, clock, front.sink, named=front.gate is not None)
    application.batches = runner = Runner(Shelf(plan.home.root / "batches", clock), clock)
    around = Surroundings(
        plan.home,
        front.sink,
        clock,
        application.chats,
        application.limiter,
        tracers,
        content=tracing.content,
        place=place,
        workers=plan.settings.workers,
        tokenizers=application.tokenizers,
        embedders=application.embedders,
        embeddings=embeddings,
        embed=embeddings.one,
        ledger=paying,
    )
    openers = openings(plan.chats, around, front.pipeline.catalog)
    return Beside(openers, [*keeping, Traced(tracers), runner])
