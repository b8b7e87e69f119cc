"""The cache of a language model, as the spec says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fairlead.contracts.errors import UsageError
from fairlead.kit import plugins
from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.cache.meaning import Meaning
from fairlead.serve.llm.cache.shelf import Shelf
from fairlead.serve.llm.cache.stage import Caching, Embed, Rules
from fairlead.serve.llm.cache.trial import Trial
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:
    from fairlead.kit.spec.cache import Cache

INDEX = "graph"
"""The plugin of group ``fairlead.vectors``."""


def caching(building: Building) -> Stage | None:
    asked: Cache | None = building.wanted.parts.get("cache")
    if asked is None:
        return None
    told = building.around.sink.chat(building.wanted.name).cached
    bytes_ = round(asked.memory_mb * 2**20)
    if asked.semantic is None:
        return Caching(Shelf(bytes_, asked.exact), building.around.clock, Rules(asked.scope), told)
    embed = building.around.embed
    if embed is None:
        raise UsageError(f"endpoints.{building.wanted.name}.cache.semantic needs an endpoint that embeds texts")
    shelf = Shelf(bytes_, asked.exact)
    trial = Trial(asked.semantic.threshold, asked.semantic.false_hit_budget)
    index = plugins.load("fairlead.vectors", INDEX)
    meaning = Meaning(shelf, index, trial, asked.semantic.words, asked.semantic.replaced)
    rules = Rules(asked.scope, asked.semantic.audit)
    by: Embed = partial(embed, asked.semantic.embedding)
    made = Caching(shelf, building.around.clock, rules, told, meaning, by)
    building.troubles.append(made.troubles)
    return made
