"""How a model that makes vectors of texts comes to life."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from fairlead.contracts.embedder import Embedded as Made
from fairlead.contracts.embedder import Embedder, EmbedderOptions
from fairlead.contracts.errors import SourceNotFound
from fairlead.kit import plugins
from fairlead.kit.clock import Clock
from fairlead.serve.catalog import Catalog
from fairlead.serve.llm import embeddings
from fairlead.serve.llm.charging import Charging
from fairlead.serve.llm.embeddings import Riding, shortened
from fairlead.serve.openai.embeddings import Embedded
from fairlead.serve.openai.embeddings import Embedding as Asked
from fairlead.serve.openai.routes import EMBEDDINGS
from fairlead.wiring.llm import tokenizers
from fairlead.wiring.llm.wanted import Surroundings, Wanted

log = logging.getLogger("fairlead.serve")

EMBEDDERS = "fairlead.embedders"
_ONNX = ("model.onnx", "onnx/model.onnx", "model_quantized.onnx", "onnx/model_quantized.onnx")


@dataclass(frozen=True, slots=True)
class Vectors:
    """What is wanted, as the part of the spec says it (``kit.spec.embedding``), which costs 100 ms to import."""

    model: str
    engine: str = ""
    tokenizer: str = ""
    normalize: bool | None = None


def names() -> list[str]:
    """Of every embedder that is installed."""
    return plugins.names(EMBEDDERS)


def form(path: Path) -> str:
    """The engine for a folder; empty where it is no embedding model that is known."""
    if not any((path / one).is_file() for one in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        return ""
    if any((path / one).is_file() for one in _ONNX):
        return "onnx"
    return "static" if (path / "model.safetensors").is_file() else ""


def looks(path: Path) -> bool:
    """Whether a folder says of itself that it makes vectors of texts: the files of sentence-transformers do."""
    return (path / "modules.json").is_file() and bool(form(path))


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
        engine = asked.engine or form(Path(asked.model))
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
        self.around.embedders[name] = _Asked(live, clock, Charging(self.around.limiter, name))
        self.around.tokenizers[name] = tokenizer
        self.catalog.other(name, EMBEDDINGS)
        seconds = round(clock.now() - began, 3)
        log.info("loaded", extra={"fields": {"endpoint": name, "engine": engine, "seconds": seconds}})

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

    def __init__(self, live: embeddings.Embedding, clock: Clock, charging: Charging) -> None:
        self._live, self._clock, self._charging = live, clock, charging
        self.deadline = live.deadline

    async def embed(self, asked: Asked) -> Embedded:
        def embed() -> Awaitable[Made]:
            return self._live.embed(asked.inputs, self._clock.now() + self.deadline)

        found = await self._charging.embed(asked.inputs, asked.caller, asked.size, asked.notes, embed)
        return Embedded(shortened(found.vectors, asked.dimensions), sum(found.tokens))
