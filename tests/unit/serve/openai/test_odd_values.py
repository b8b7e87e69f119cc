"""Every field of every body with odd values: a plan or a typed error that names it, never anything else."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import msgspec
import pytest

from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import InputError, NotFound
from fairlead.serve.llm.ask import last
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai import chat, completions, embeddings, responses
from fairlead.serve.openai.bodies import decode
from fairlead.serve.openai.kept import Shelf
from fairlead.testing.engines import EchoEngine

ENGINE = EchoEngine(EngineOptions("echo", ""))
MODEL = Chat("m", ENGINE, last(ENGINE))
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**63, -(2**63), 1e308, 0.5, "", "x", "\u0000", "\ud83d\ude00", "auto", "x" * 3000,
    [], [[]], [None], [0], ["x"], [{}], [{"type": "text"}], {}, {"a": {}}, {"type": "function"},
    {"type": "json_schema"},
    {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}, {"role": "user"},
    [{"type": "function", "function": {"name": "f"}}], [{"type": "function", "name": "f"}], [{"role": "tool"}],
    {"format": {"type": "json_schema", "name": "a", "schema": {"$ref": "#"}}}, {"1": 1}, {"\u00b2": 1},
]  # fmt: skip
BODIES: dict[str, tuple[Any, type[msgspec.Struct], dict[str, Any]]] = {
    "chat": (chat.read, chat.Body, {"model": "m", "messages": [{"role": "user", "content": "hi"}]}),
    "completions": (completions.read, completions.Body, {"model": "m", "prompt": "hi"}),
    "responses": (responses.reading(Shelf()), responses.Body, {"model": "m", "input": "hi"}),
    "embeddings": (None, embeddings.Body, {"model": "m", "input": "hi"}),
}


def run(kind: str, body: dict[str, Any]) -> None:
    read, _, _ = BODIES[kind]
    text = json.dumps(body).encode()
    try:
        if read is None:
            embeddings.inputs(decode(embeddings._BODY, text).input)
        else:
            read(text).plan(MODEL, "1", lambda: 0, None)
    except (InputError, NotFound) as error:
        told = str(error)
        assert 0 < len(told) < 1000


@pytest.mark.parametrize("kind", BODIES)
def test_one_field(kind: str) -> None:
    _, struct, base = BODIES[kind]
    for field, value in itertools.product(struct.__struct_fields__, ODD):
        run(kind, {**base, field: value})


@pytest.mark.parametrize("kind", BODIES)
def test_some_fields(kind: str) -> None:
    _, struct, base = BODIES[kind]
    chance = random.Random(7)
    for _ in range(1500):
        fields = chance.sample(struct.__struct_fields__, 3)
        run(kind, {**base, **{field: chance.choice(ODD) for field in fields}})
