"""Models of language among those that a command line names: folders and files that say so of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fairlead.contracts.errors import UsageError
from fairlead.kit import upstreams
from fairlead.package import embedders, llms
from fairlead.package.sources import parse, split_name
from fairlead.serve.settings import endpoint_name
from fairlead.wiring import graphs
from fairlead.wiring.llm.wanted import Vectors, Wanted

ENGINE = "embedded"
"""What runs a language model of a command line."""


class Split(NamedTuple):
    """``models``: the texts of the others, as they were given."""

    models: list[str]
    chats: list[Wanted]


def split(texts: Sequence[str], precision: str, threads: int, deadline_ms: float) -> Split:
    """``URI`` or ``NAME=URI`` each. ``precision``: of weights that are converted here; empty: int8.

    Raises UsageError for a precision without a language model.
    """
    found = Split([], [])
    for text in texts:
        wanted = _wanted(text, precision or "int8", threads, deadline_ms / 1000)
        if wanted is None:
            found.models.append(text)
        else:
            found.chats.append(wanted)
    if precision and not any(one.engine for one in found.chats):
        raise UsageError("--precision is for the weights of language models, and none is named")
    return found


def _wanted(text: str, precision: str, threads: int, seconds: float) -> Wanted | None:
    name, uri = split_name(text)
    if graphs.in_file(uri) or uri.startswith(upstreams.MARK):
        return None
    source = parse(uri)
    if source.path is None or source.target or not source.path.exists():
        return None
    called, path = endpoint_name(name or source.name), str(source.path)
    if llms.looks(source.path):
        return Wanted(called, ENGINE, path, precision=precision, threads=threads, deadline=seconds)
    if embedders.looks(source.path):
        return Wanted(called, "", threads=threads, deadline=seconds, parts={"embedding": Vectors(path)})
    return None
