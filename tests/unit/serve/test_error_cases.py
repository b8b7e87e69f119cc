"""The table of bad input, through the edges."""

from __future__ import annotations

import json

import pytest
from error_cases import CASES, Case
from samples import SIGNATURES

from fairlead.contracts.errors import FairleadError, InputError
from fairlead.serve.edges.invocations import Invocations
from fairlead.serve.edges.v1 import V1
from fairlead.serve.edges.v2 import V2

EDGES = {"v2": V2(), "v1": V1(), "invocations": Invocations()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case) -> None:
    edge = EDGES[case.edge]
    headers = {name.encode(): value.encode() for name, value in case.headers.items()}
    with pytest.raises(FairleadError) as caught:
        edge.read(case.body, headers, SIGNATURES[case.endpoint])
    assert isinstance(caught.value, InputError)
    answer = edge.refuse(caught.value, "r-1")
    body = json.loads(answer.body)
    message = body["message"] if case.edge == "invocations" else body["error"]
    assert (answer.status, body["code"]) == (case.status, case.code), message
    assert [word for word in case.words if word not in message] == [], message
    assert body["request_id"] == "r-1"
    assert "\n" not in message
    assert len(message) < 400


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
