"""Both ways give the same bytes: every case of the table of bad input, and good ones of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from error_cases import CASES, Case, path_of
from running import running
from samples import SIGNATURES
from wire import ECHO, Wire, document, post

from fairlead.contracts.types import Tensors
from fairlead.testing.models import EchoModel, FailingModel, Model


def answer(inputs: Tensors) -> Tensors:
    rows = len(next(iter(inputs.values())))
    return {"label": np.arange(rows), "probabilities": np.zeros((rows, 2), np.float32)}


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Wire, Wire]]:
    """A connection to each."""
    models = {name: Model(answer, signature) for name, signature in SIGNATURES.items()}
    models |= {"echo": EchoModel(), "failing": FailingModel()}
    with running(models) as short, running(models, short_way=False) as long:
        wires = Wire(short), Wire(long)
        yield wires
        for wire in wires:
            wire.close()


VARIES = re.compile(rb"(?<=\r\ndate: )[^\r]*|(?<=dur=)[\d.]+|[0-9a-f]{12}-[0-9a-f]+")
"""Dates, timings and fresh request ids."""


def same(both: tuple[Wire, Wire], data: bytes) -> tuple[int, bytes]:
    """Status and body of the answer, whose bytes must be the same; asked twice, as the second head is known."""
    found = set()
    for _ in range(2):
        for wire in both:
            wire.send(data)
            got = wire.answer()
            fixed = (VARIES.sub(b"*", got.head), VARIES.sub(b"*", got.body))
            # The body's length varies with a fresh id in it; that it is true was seen when it was read.
            found.add((got.status, re.sub(rb"content-length: \d+", b"", fixed[0]), fixed[1]))
    assert len(found) == 1, found
    status, _, body = found.pop()
    return status, body


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("lines", [(), (b"x-request-id: mine",)], ids=["fresh id", "own id"])
def test_bad_input(both: tuple[Wire, Wire], case: Case, lines: tuple[bytes, ...]) -> None:
    lines = (*lines, *(f"{name}: {value}".encode() for name, value in case.headers.items()))
    status, body = same(both, post(0, *lines, path=path_of(case).encode(), body=case.body))
    assert status == case.status
    assert case.code.encode() in body


BINARY = b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","parameters":{"binary_data_size":16}}]%b}'
PLAIN, OUT = BINARY % b"", BINARY % b',"parameters":{"binary_data_output":true}'


def binary(head: bytes) -> bytes:
    return post(7, b"inference-header-content-length: %d" % len(head), body=head + np.ones(2).tobytes())


FAILING = b"/v2/models/failing/infer"
OTHERS = {
    "good": (200, post(7)),
    "with a version": (200, post(7, path=b"/v2/models/echo/versions/1/infer")),
    "traced": (200, post(7, b"traceparent: 00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01")),
    "v1": (200, post(7, path=b"/v1/models/echo:predict", body=b'{"instances": [[1, 2]]}')),
    "mlflow": (200, post(7, path=b"/serving-endpoints/echo/invocations", body=b'{"inputs": [[1, 2]]}')),
    "binary": (200, binary(PLAIN)),
    "binary out": (200, binary(OUT)),
    "the model raises": (500, post(-1, path=FAILING)),
    "no such endpoint": (404, post(7, path=b"/v2/models/nope/infer")),
    "no such version": (404, post(7, path=b"/v2/models/echo/versions/9/infer")),
    "no endpoint named": (404, post(7, path=b"/invocations")),
    "a time-out that is none": (400, post(7, b"x-request-timeout-ms: soon")),
    "no time left": (504, post(7, b"x-request-timeout-ms: 0.000001")),
    "an encoding": (400, post(7, b"content-encoding: br")),
    "no rows": (200, post(7, body=document(7).replace(b"[1, 2]", b"[0, 2]").replace(b"[7, -7]", b"[]"))),
    "too large": (413, post(7, path=ECHO, body=b" " * ((1 << 20) + 1))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_answers(both: tuple[Wire, Wire], name: str) -> None:
    status, request = OTHERS[name]
    assert same(both, request)[0] == status
