"""What a spec makes of its language models."""

from __future__ import annotations

from pathlib import Path

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.kit.spec.llm import Llm
from fairlead.kit.spec.read import SpecFile
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.wiring.budgeting import Ledgering
from fairlead.wiring.llm import composing, embedding, engines, guards
from fairlead.wiring.llm.parts import PARTS
from fairlead.wiring.llm.tracing import Tracing
from fairlead.wiring.llm.wanted import Wanted
from fairlead.wiring.specs_ledger import ledgering

TAKES = frozenset({"llm", "deadline_ms", "threads", "access", "limits", "budgets", "cache", "slo"})
"""Parts of an endpoint that a language model has."""


def wanted(spec: Spec) -> list[Wanted]:
    """Every language model of a spec."""
    return [_wanted(name, one) for name, one in spec.endpoints.items() if one.speaks]


def all_of(spec: Spec) -> tuple[list[Wanted], Tracing, Ledgering]:
    """The models, and what lives beside them."""
    return wanted(spec), tracing(spec), ledgering(spec)


def tracing(spec: Spec) -> Tracing:
    """Where traces go."""
    asked = spec.traces
    return Tracing(
        asked.otlp, asked.headers, asked.file, asked.days, asked.content, asked.names, spec.project or "fairlead"
    )


def check(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """Raises UsageError for a part that no model of language has, and for an engine that is not installed."""
    for part in sorted(endpoint.model_fields_set - TAKES - set(PARTS)):
        if getattr(endpoint, part) is not None:
            raise UsageError(
                f"{file.at('endpoints', name, part)} is for a model of tensors, and {name} is a language model"
            )
    if endpoint.embedding is not None:
        if endpoint.slo is not None:
            raise UsageError(f"{file.at('endpoints', name, 'slo')}: no time of a model that makes vectors is measured")
        for part in sorted((endpoint.model_fields_set & set(PARTS)) - {"embedding"}):
            raise UsageError(f"{file.at('endpoints', name, part)} is for a language model, and {name} is none")
        if endpoint.embedding.engine not in ("", *embedding.names()):
            where = file.at("endpoints", name, "embedding", "engine")
            raise UsageError(f"{where} is {endpoint.embedding.engine!r}; installed are {', '.join(embedding.names())}")
    composing.check(file, name, endpoint)
    _embeds(file, name, endpoint)
    if endpoint.llm is not None and endpoint.llm.engine not in engines.names():
        where = file.at("endpoints", name, "llm", "engine")
        raise UsageError(f"{where} is {endpoint.llm.engine!r}; installed are {', '.join(engines.names())}")
    if endpoint.llm is not None and not endpoint.llm.model and engines.needs_model(endpoint.llm.engine):
        where = file.at("endpoints", name, "llm")
        raise UsageError(f"{where} names no model, and engine {endpoint.llm.engine!r} runs one that is here: llm.model")
    if endpoint.guardrails is not None:
        guards.check(endpoint.guardrails, lambda *path: file.at("endpoints", name, "guardrails", *path))


def _embeds(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    if endpoint.cache is None or endpoint.cache.semantic is None:
        return
    found = endpoint.cache.semantic.embedding
    known = sorted(each for each, one in file.spec.endpoints.items() if one.embedding is not None)
    if found not in known:
        where = file.at("endpoints", name, "cache", "semantic", "embedding")
        raise UsageError(
            f"{where} is {found!r}, no endpoint of this spec that embeds texts{nearest(found, known)} (there are: "
            f"{', '.join(known) or 'none'})"
        )


def check_files(file: SpecFile, name: str, endpoint: Endpoint) -> None:
    """Raises UsageError for a model that is not there. A name that an engine finds elsewhere is no path."""
    llm, vectors = endpoint.llm, endpoint.embedding
    if llm is not None and not llm.base_url and (engines.needs_model(llm.engine) or llm.model.startswith((".", "/"))):
        _there(file.at("endpoints", name, "llm", "model"), llm.model)
    if vectors is not None:
        _there(file.at("endpoints", name, "embedding", "model"), vectors.model)


def _there(where: str, model: str) -> None:
    if not Path(model).expanduser().exists():
        raise UsageError(f"{where} is {model}, and there is no such file or folder")


def _wanted(name: str, endpoint: Endpoint) -> Wanted:
    asked = endpoint.llm or Llm()
    limited = endpoint.limits.max_tokens if endpoint.limits else 0
    most = min(filter(None, (asked.max_tokens, limited)), default=0)
    return Wanted(
        name,
        asked.engine if endpoint.llm is not None else "",
        asked.model,
        asked.base_url,
        asked.token,
        asked.precision,
        endpoint.threads,
        most or None,
        min(asked.default_tokens or most, most or asked.default_tokens) or None,
        endpoint.deadline_ms / 1000,
        asked.options,
        {part: getattr(endpoint, part) for part in PARTS},
    )
