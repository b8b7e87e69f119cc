"""Payloads in the audit log: in bounds, and never what is not to be kept."""

import json
from typing import Any

import numpy as np

from fairlead.contracts.access import Caller
from fairlead.contracts.audit import Audited
from fairlead.serve.call import Call
from fairlead.serve.columns import Keeping
from fairlead.serve.payloads import VALUES, payloads, written


class Noting:
    def __init__(self) -> None:
        self.entries: list[Audited] = []

    def note(self, entry: Audited) -> None:
        self.entries.append(entry)

    def allowed(self, actor: str, action: str, endpoint: str) -> None: ...


def call(inputs: dict[str, Any], rows: int) -> Call:
    return Call(inputs, rows, lambda _: None, arrived=0.0)


def test_who_sent_what() -> None:
    audit = Noting()
    stage = payloads(audit, "churn", Keeping())
    asked = call({"x": np.array([[1.5, 2.0]]), "name": np.array(["ann"], object)}, 1)
    asked.caller = Caller("web", "key", ())
    assert stage(asked) is None
    stranger = call({"x": np.array([[np.nan, 1.0]])}, 1)
    stranger.metered = True
    stage(stranger)
    stage(call({"x": np.zeros((1, 2))}, 1))  # which the server asks itself
    first, second = audit.entries
    assert (first.actor, first.action, first.endpoint, first.outcome) == ("web", "payload", "churn", "allowed")
    assert json.loads(str(first.detail["inputs"])) == {"x": [[1.5, 2.0]], "name": ["ann"]}
    assert (second.actor, json.loads(str(second.detail["inputs"]))) == ("anonymous", {"x": [[None, 1.0]]})


def test_what_is_excluded_is_not_there_and_what_is_hashed_is_its_digest() -> None:
    inputs = {"x": np.array([[1.0]]), "ssn": np.array(["078-05"], object), "card": np.array(["4111"], object)}
    _, text = written(inputs, 1, Keeping(exclude=frozenset({"ssn"}), hashed=frozenset({"card"}), salt="s"))
    found = json.loads(text)
    assert set(found) == {"x", "card"}
    assert "078-05" not in text
    assert "4111" not in text
    assert len(found["card"][0]) == 32


def test_large_calls_are_cut_to_whole_rows() -> None:
    shown, text = written({"x": np.zeros((5000, 10), np.float32)}, 5000, Keeping())
    assert (shown, len(json.loads(text)["x"])) == (VALUES // 10, VALUES // 10)
    shown, text = written({"x": np.zeros((2, 5000))}, 2, Keeping())
    assert (shown, len(json.loads(text)["x"])) == (1, 1)
    shown, text = written({"x": np.zeros((0, 3))}, 0, Keeping())
    assert (shown, json.loads(text)) == (0, {"x": []})


def test_a_model_that_knows_no_rows_and_strange_values() -> None:
    _, text = written({"x": np.zeros((3, 2)), "b": np.array([b"\xff"], object)}, 1, Keeping())
    assert len(json.loads(text)["x"]) == 3
