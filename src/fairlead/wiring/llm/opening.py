"""How a language model comes to life: its engine is started, and its line put into the catalog."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from fairlead.contracts.engine import Engine
from fairlead.contracts.errors import UsageError
from fairlead.serve.catalog import Catalog
from fairlead.serve.llm.chats import Chat
from fairlead.serve.llm.texting.engine import Texting
from fairlead.serve.openai.api import CHAT
from fairlead.serve.server import Quickening
from fairlead.wiring.llm import engines, lines
from fairlead.wiring.llm.around import Building, Surroundings
from fairlead.wiring.llm.embedding import Embedding
from fairlead.wiring.llm.wanted import Wanted

log = logging.getLogger("fairlead.serve")


def openings(wanted: Sequence[Wanted], around: Surroundings, catalog: Catalog) -> list[Quickening]:
    """Of all language models of a server."""
    return [(Embedding if one.parts.get("embedding") else Opening)(one, around, catalog) for one in wanted]


@dataclass(slots=True)
class Opening:
    """The ``Quickening`` of one model. A server builds it before it has a loop: nothing is made until it opens."""

    wanted: Wanted
    around: Surroundings
    catalog: Catalog
    _engine: Engine | None = field(default=None, init=False)

    @property
    def endpoint(self) -> str:
        return self.wanted.name

    async def open(self) -> None:
        wanted, clock = self.wanted, self.around.clock
        began = clock.now()
        try:
            self._engine = engine = engines.engine(wanted, self.around)
            building = Building(wanted, engine, self.around)
            enter = lines.built(building)
        except UsageError as error:
            raise UsageError(f"endpoint {wanted.name!r}: {error}") from error
        await engine.start()
        created = clock.wall_ms() // 1000
        if isinstance(engine, Texting) and engine.tokenizer is not None:
            self.around.tokenizers[wanted.name] = engine.tokenizer
        stages = tuple(building.troubles)
        self.around.chats.put(
            Chat(wanted.name, engine, enter, wanted.default, wanted.most, wanted.deadline, created, stages)
        )
        self.catalog.other(wanted.name, CHAT)
        seconds = round(clock.now() - began, 3)
        if wanted.model and engine.traits.local and self.around.workers > 1 and self.around.place == 0:
            said = {"endpoint": wanted.name, "workers": self.around.workers, "do": "start with one worker"}
            log.warning("each worker has the model in its own memory", extra={"fields": said})
        log.info("loaded", extra={"fields": {"endpoint": wanted.name, "engine": wanted.engine, "seconds": seconds}})

    async def close(self) -> None:
        self.around.chats.remove(self.wanted.name)
        self.around.tokenizers.pop(self.wanted.name, None)
        if self._engine is not None:
            await self._engine.stop()
