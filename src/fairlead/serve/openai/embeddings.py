"""``POST /v1/embeddings``: bodies to what an embedder is asked, matrices to numbers or base64."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from msgspec import Meta, Struct
from starlette.responses import Response

from fairlead.contracts.access import Caller
from fairlead.kit.codec import json
from fairlead.serve.edges.edge import pairs
from fairlead.serve.http import read_body
from fairlead.serve.llm.ask import Notes
from fairlead.serve.openai.bodies import decode, not_among
from fairlead.serve.openai.refusals import Invalid
from fairlead.serve.openai.simply import Guest, told

MOST_INPUTS: Final = 2048
INLINE: Final = 16_384
"""Numbers that are written on the event loop: a few milliseconds. More are written in a thread."""
MAKES: Final = "make embeddings"
"""What an embedder does."""

Inputs = tuple[str, ...] | tuple[tuple[int, ...], ...]
"""Texts, or ids of tokens."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """What an embedder is asked. ``dimensions`` None: as many as it has.  ``size``: bytes of the body."""

    model: str
    inputs: Inputs
    dimensions: int | None = None
    caller: Caller | None = None
    request_id: str = ""
    size: int = 0
    notes: Notes = field(default_factory=Notes)


class Embedded(NamedTuple):
    """``matrix``: one row an input.  ``tokens``: of all inputs."""

    matrix: np.ndarray[Any, Any]
    tokens: int


class Embedder(Protocol):
    """A model that turns texts into numbers. ``deadline``: seconds that an answer may take."""

    deadline: float

    async def embed(self, asked: Embedding) -> Embedded:
        """Raises InputError for inputs or dimensions that it does not take; cancelled where nobody waits any more."""


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    input: str | list[Any]
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    user: Annotated[str, Meta(max_length=1024)] | None = None


_BODY: Final = msgspec.json.Decoder(Body)


class Embeddings:
    """``embedders``: by the name that callers send as ``model``."""

    def __init__(self, embedders: Mapping[str, Embedder]) -> None:
        self._embedders = embedders

    async def answer(self, guest: Guest) -> Response:
        found, notes = await self.made(guest, await read_body(guest.request, guest.front.max_body))
        response = told(found)
        for name, value in notes.headers.items():
            response.headers[name] = value
        if notes.allowance is not None:
            response.raw_headers += pairs(notes.allowance.lines())
        return response

    async def made(self, guest: Guest, raw: bytes) -> tuple[bytes, Notes]:
        """The answer to a body. Raises what embedders raise, and as ``Guest.model``."""
        body = decode(_BODY, raw)
        embedder = guest.model(body.model, self._embedders, MAKES)
        form = body.encoding_format or "float"
        if form not in ("float", "base64"):
            raise not_among("encoding_format", form, ("float", "base64"))
        asked = Embedding(
            body.model, inputs(body.input), body.dimensions, guest.caller, guest.visit.request_id, len(raw)
        )
        found = await guest.wait(embedder.embed(asked), embedder.deadline)
        return await _written(body.model, found, form), asked.notes

    def has(self, model: str) -> bool:
        return model in self._embedders


def inputs(given: str | list[Any]) -> Inputs:
    """A text, texts, ids of tokens, or several of these. Raises Invalid."""
    if isinstance(given, str):
        return (_text(given, "input"),)
    if not given:
        raise Invalid("Invalid 'input': empty array. Expected a text, or ids of tokens.", "input", "empty_array")
    if len(given) > MOST_INPUTS and not all(type(one) is int for one in given):
        raise Invalid(
            f"Invalid 'input': array too long. Expected an array with maximum length {MOST_INPUTS}, but got an array "
            f"with length {len(given)} instead.",
            "input",
            "array_above_max_length",
        )
    if all(isinstance(one, str) for one in given):
        return tuple(_text(one, f"input[{at}]") for at, one in enumerate(given))
    if all(type(one) is int for one in given):
        return (_ids(given, "input"),)
    if all(isinstance(one, list) for one in given):
        return tuple(_ids(one, f"input[{at}]") for at, one in enumerate(given))
    raise Invalid(
        "Invalid type for 'input': expected a string, an array of strings, an array of ids of tokens, or an array of "
        "such arrays.",
        "input",
        "invalid_type",
    )


def _text(given: str, param: str) -> str:
    if not given:
        raise Invalid(f"Invalid '{param}': input cannot be an empty string.", param, "empty_string")
    return given


def _ids(given: list[Any], param: str) -> tuple[int, ...]:
    if not given or not all(type(one) is int and 0 <= one < 2**31 for one in given):
        raise Invalid(f"Invalid '{param}': expected ids of tokens, integers from 0.", param, "invalid_type")
    return tuple(given)


async def _written(model: str, found: Embedded, form: str) -> bytes:
    if found.matrix.size <= INLINE:
        return _document(model, found, form)
    return await asyncio.to_thread(_document, model, found, form)


def _document(model: str, found: Embedded, form: str) -> bytes:
    matrix = np.ascontiguousarray(found.matrix, np.dtype("<f4"))
    rows: list[Any] = (
        [base64.b64encode(row.tobytes()).decode() for row in matrix] if form == "base64" else matrix.tolist()
    )
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    return json.encode({"object": "list", "data": data, "model": model, "usage": usage})
