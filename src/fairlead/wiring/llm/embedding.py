"""How a model that makes vectors of texts comes to life."""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from fairlead.contracts.embedder import Embedder, EmbedderOptions
from fairlead.contracts.errors import SourceNotFound
from fairlead.kit import plugins
from fairlead.package import embedders
from fairlead.serve.catalog import Catalog
from fairlead.serve.llm import embeddings
from fairlead.serve.llm.embeddings import Riding, check_dimensions, shortened
from fairlead.serve.llm.measuring import Measuring
from fairlead.serve.llm.relay import Relay
from fairlead.serve.llm.vectoring import Vectoring
from fairlead.serve.openai.api import EMBEDDINGS
from fairlead.serve.openai.embeddings import Embedded
from fairlead.serve.openai.embeddings import Embedding as Asked
from fairlead.wiring.llm import tokenizers
from fairlead.wiring.llm.around import Building, Surroundings
from fairlead.wiring.llm.ledgers import spending
from fairlead.wiring.llm.limits import limiting
from fairlead.wiring.llm.wanted import Vectors, Wanted

log = logging.getLogger("fairlead.serve")

EMBEDDERS = "fairlead.embedders"


def names() -> list[str]:
    """Of every embedder that is installed."""
    return plugins.names(EMBEDDERS)


@dataclass(slots=True)
class Embedding:
    """The ``Quickening`` of one."""

    wanted: Wanted
    around: Surroundings
    catalog: Catalog
    _embedder: Embedder | None = field(default=None, init=False)
    _riding: Riding | None = field(default=None, init=False)

    @property
    def endpoint(self) -> str:
        return self.wanted.name

    async def open(self) -> None:
        name, clock = self.wanted.name, self.around.clock
        asked: Vectors = self.wanted.parts["embedding"]
        began = clock.now()
        engine = asked.engine or embedders.form(Path(asked.model))
        if not engine:
            raise SourceNotFound(
                f"{asked.model} is no embedding model that is known: that has a tokenizer.json, and model.onnx, "
                "onnx/model.onnx or model.safetensors"
            )
        loop = asyncio.get_running_loop()
        tokenizer = await loop.run_in_executor(None, tokenizers.opened, asked.tokenizer or asked.model)
        options = EmbedderOptions(name, asked.model, tokenizer, self.wanted.threads, asked.normalize)
        make = await loop.run_in_executor(None, functools.partial(plugins.load, EMBEDDERS, engine))
        self._embedder = embedder = cast("Embedder", make(options))
        await embedder.start()
        self._riding = riding = Riding(embedder, clock)
        live = embeddings.Embedding(name, embedder, riding, self.wanted.deadline, clock.wall_ms() // 1000)
        self.around.embeddings.put(live)
        self.around.embedders[name] = _Asked(live, self._line(live))
        self.around.tokenizers[name] = tokenizer
        self.catalog.other(name, EMBEDDINGS)
        seconds = round(clock.now() - began, 3)
        log.info("loaded", extra={"fields": {"endpoint": name, "engine": engine, "seconds": seconds}})

    def _line(self, live: embeddings.Embedding) -> Vectoring:
        """Counted, limited and paid for as answers are; no trace is written of them."""
        building = Building(self.wanted, Relay((), self.around.chats.resolve), self.around)
        measuring = Measuring(self.around.sink.chat(live.name), self.around.clock)
        others = [made for make in (limiting, spending) if (made := make(building)) is not None]
        return Vectoring(live, [measuring, *others], self.around.clock)

    async def close(self) -> None:
        name = self.wanted.name
        self.around.embeddings.remove(name)
        self.around.embedders.pop(name, None)
        self.around.tokenizers.pop(name, None)
        if self._riding is not None:
            await self._riding.stop()
        if self._embedder is not None:
            await self._embedder.stop()


class _Asked:
    """What the edge asks."""

    def __init__(self, live: embeddings.Embedding, line: Vectoring) -> None:
        self._live, self._line = live, line
        self.deadline = live.deadline

    async def embed(self, asked: Asked) -> Embedded:
        check_dimensions(asked.dimensions, self._live.embedder.size)  # first: what is refused costs nothing
        found = await self._line.embed(asked.inputs, asked.caller, asked.request_id, asked.size, asked.notes)
        return Embedded(shortened(found.vectors, asked.dimensions), sum(found.tokens))
