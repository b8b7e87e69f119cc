from __future__ import annotations

import pytest

from fairlead.contracts.errors import InvalidParameter, NotFound, Unavailable
from fairlead.contracts.events import Accepted, Label
from fairlead.contracts.plans import Answer, Share, TrafficSplit, Verdict
from fairlead.kit.codec.records import to_body
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.testing.stores import MemoryRegistry
from fairlead.wiring import reading

NOW = 1_767_225_600_000
HEAD = "prediction_id,row,label\n"


class Failing(MemoryState):
    """Answers so many times that labels come, and then no more."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def label(self, labels):  # type: ignore[no-untyped-def]
        self.left -= 1
        self.down = self.left < 0
        return super().label(labels)


def test_a_file_comes_in_batches_and_bad_lines_cost_no_other() -> None:
    state = MemoryState()
    lines = [HEAD, *(f"p{place},0,{place % 2}\n" for place in range(25))]
    lines[4:4] = ["p,x,1\n", '"p,0,1\n', "p\0,0,1\n", "p\udcff,0,1\n", "\n"]
    taken = reading.take_labels(state, "e", iter(lines), NOW, batch=10)
    assert taken.accepted == Accepted(new=25)
    assert [number for number, _ in taken.bad] == [5, 6, 7, 8]
    assert len(state.labels("e")) == 25
    assert reading.take_labels(state, "e", iter(lines), NOW, batch=7).accepted == Accepted(same=25)
    corrected = reading.take_labels(state, "e", [HEAD, "p0,0,5\n"], NOW + 1)
    assert corrected.accepted == Accepted(corrected=1)


def test_only_the_first_bad_lines_are_kept_and_all_are_counted() -> None:
    taken = reading.take_labels(MemoryState(), "e", [HEAD, *["p,x,1\n"] * 1234], NOW)
    assert (len(taken.bad), taken.bad_lines, taken.accepted) == (10, 1234, Accepted())
    assert taken.as_text().splitlines()[-1] == "and 1,224 more lines"


def test_a_store_that_fails_on_the_way_says_what_is_kept() -> None:
    lines = [HEAD, *(f"p{place},0,1\n" for place in range(25))]
    with pytest.raises(Unavailable, match="the labels up to line 21 are kept; send the file again"):
        reading.take_labels(Failing(2), "e", lines, NOW, batch=10)
    with pytest.raises(Unavailable) as failed:
        reading.take_labels(Failing(0), "e", lines, NOW)
    assert "are kept" not in str(failed.value)
    with pytest.raises(InvalidParameter, match="header"):
        reading.take_labels(MemoryState(), "e", [], NOW)


def test_an_endpoint_is_known_by_whatever_is_kept_of_it() -> None:
    state, events = MemoryState(), MemoryEvents()
    with pytest.raises(NotFound, match="no call of any endpoint was recorded here"):
        reading.check(state, events, "churn")
    split = TrafficSplit("churn", "churn-classifier", (Share("1", "champion", 100),))
    state.put("split", "churn", to_body(split), 0)
    state.put("applied", "fraud/0", {}, 0)
    state.append("timeline", "digits", {})
    for known in ("churn", "fraud", "digits"):
        reading.check(state, events, known)
    with pytest.raises(NotFound, match=r"'chrun' is not known; did you mean churn\?; known: churn, digits, fraud$"):
        reading.check(state, None, "chrun")
    assert reading.model_of(state, "churn") == "churn-classifier"
    assert reading.model_of(state, "fraud") == "fraud"


def test_verdicts_are_found_in_every_journal() -> None:
    state, registry = MemoryState(), MemoryRegistry()
    for model, name in (("churn", "v-12"), ("churn", "v-123"), ("fraud", "v-9")):
        state.append("verdict", model, to_body(Verdict(name, "gate", model, "2", "1", Answer.FAIL, (), NOW)))
    assert [one.id for one in reading.verdicts(state, registry, "churn")] == ["v-123", "v-12"]
    assert reading.verdict(state, "v-12").id == "v-12"
    assert reading.verdict(state, "v-9").model == "fraud"
    with pytest.raises(NotFound, match="the beginning of 3 ids: v-12, v-123, v-9"):
        reading.verdict(state, "v-")
    with pytest.raises(NotFound, match="no verdict has the id ''"):
        reading.verdict(state, "")
    with pytest.raises(NotFound, match=r"model 'chrun' is not known; did you mean churn\?"):
        reading.verdicts(state, registry, "chrun")


def test_the_label_of_another_endpoint_is_a_bad_line() -> None:
    state = MemoryState()
    lines = ["prediction_id,label,endpoint\n", "p,1,e\n", "p,1,f\n"]
    taken = reading.take_labels(state, "e", lines, NOW)
    assert taken.bad_lines == 1
    assert [one.label for one in state.labels("e")] == [Label("e", "p", 1.0, NOW)]
