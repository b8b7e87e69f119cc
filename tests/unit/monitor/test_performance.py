from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import Columns, Label
from fairlead.contracts.state import KnownLabel
from fairlead.monitor.labels import join, read
from fairlead.monitor.outputs import Task, canonical, guess, predictions, read_answers
from fairlead.monitor.performance import over_time
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState

BINARY = Task((0.0, 1.0), "", "p")


def frame(at_ms: list[int], **outputs: Any) -> dict[str, np.ndarray]:
    n = len(at_ms)
    base: dict[str, Any] = {
        "prediction_id": np.array([f"p{i}" for i in range(n)], dtype=object),
        "row": np.zeros(n, dtype=np.int64),
        "at_ms": np.array(at_ms, dtype=np.int64),
        "version": np.array(["1"] * n, dtype=object),
        "arm": np.array(["champion"] * n, dtype=object),
    }
    return base | {f"out.{name}": values for name, values in outputs.items()}


def objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def known(place: int, value: float | str, at_ms: int, *changes: tuple[int, float | str]) -> KnownLabel:
    return KnownLabel(Label("e", f"p{place}", value, at_ms), changes)


def test_then_and_now_differ_by_late_and_corrected_labels() -> None:
    calls = frame([0, 10, 90, 110, 310], p=np.array([0.9, 0.2, 0.8, 0.7, 0.6]))
    labels = [known(0, 1.0, 50), known(1, 0.0, 250, (60, 1.0)), known(2, 1.0, 180), known(3, 0.0, 120)]
    periods = over_time(join(calls, labels), BINARY, ["accuracy"], length_ms=100, draws=20)
    assert [(p.start_ms, p.end_ms, p.predictions) for p in periods] == [
        (0, 100, 3), (100, 200, 1), (200, 300, 0), (300, 400, 1)
    ]  # fmt: skip
    first = periods[0]
    assert (first.labelled_then, first.labelled_now, first.corrected) == (2, 3, 1)
    assert first.then[0].value == 0.5
    assert first.now[0].value == 1.0
    assert first.share == 1.0
    assert periods[1].now[0].value == 0.0
    for empty in periods[2:]:
        assert empty.now[0].value is None
        assert empty.then[0].value is None
        assert empty.now[0].why == "no labelled rows"
    assert periods[2].share is None
    assert periods[3].share == 0.0
    waited = over_time(join(calls, labels), BINARY, ["accuracy"], length_ms=100, lag_ms=150, draws=20)
    assert waited[0].then[0].value == 1.0


def test_no_predictions_and_far_too_many_windows() -> None:
    assert over_time(join(frame([], p=np.empty(0)), []), BINARY, ["accuracy"], length_ms=100) == []
    far = join(frame([0, 10**12], p=np.array([0.1, 0.9])), [])
    with pytest.raises(UsageError, match="too many"):
        over_time(far, BINARY, ["accuracy"], length_ms=1)


def test_what_cannot_be_used_is_counted() -> None:
    calls = frame([0, 1, 2, 3], p=np.array([0.9, np.nan, 0.4, 0.3]))
    joined = join(calls, [known(0, "1", 5), known(1, 0.0, 5), known(2, "maybe", 5), known(3, 0.0, 5)])
    found = read_answers(joined, BINARY)
    assert found.kept.tolist() == [True, False, False, True]
    assert (found.strange, found.broken) == (1, 1)
    assert found.answers.label.tolist() == [1.0, 0.0]
    assert found.answers.decision.tolist() == [1.0, 0.0]


def test_classes_are_the_same_however_they_are_written() -> None:
    assert {canonical(one) for one in (1, 1.0, "1", True, np.int64(1), " 1 ")} == {1.0}
    assert canonical("yes ") == "yes"


def test_lists_of_probabilities() -> None:
    lists = objects([[0.1, 0.9], [0.8, 0.2], None, [0.5]])
    calls = frame([0, 1, 2, 3], label=objects(["yes", "no", "yes", "no"]), probabilities=lists)
    task = guess(calls)
    assert task == Task(("no", "yes"), "label", "probabilities")
    decision, score = predictions(calls, task)
    assert decision.tolist() == [1.0, 0.0, 1.0, 0.0]  # type: ignore[union-attr]
    assert score[:2].tolist() == [0.9, 0.2]  # type: ignore[index]
    assert np.isnan(score[2:]).all()  # type: ignore[index]


def test_what_outputs_look_like() -> None:
    three = objects([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    assert guess(frame([0, 1], p=three)) == Task((0.0, 1.0, 2.0), "", "p")
    decision, _ = predictions(frame([0, 1], p=three), Task((0.0, 1.0, 2.0), "", "p"))
    assert decision.tolist() == [2.0, 0.0]  # type: ignore[union-attr]
    share = frame([0, 1], p=np.array([0.2, 0.9]))
    assert guess(share, objects([0.0, 1.0, 1.0])) == Task((0.0, 1.0), "", "p")
    assert guess(share) == Task((), "p")
    assert guess(frame([0, 1], price=np.array([2e5, 3e5])), objects([1.0, 2.0])) == Task((), "price")
    assert guess(frame([0, 1], label=np.array([0, 1]))) == Task((0.0, 1.0), "label", "")
    with pytest.raises(UsageError, match=r"a, b.*monitor\.prediction"):
        guess(frame([0], a=np.array([1.0]), b=np.array([2.0])))
    with pytest.raises(UsageError, match="no output 'prise'; did you mean price"):
        predictions(frame([0], price=np.array([1.0])), Task((), "prise"))
    with pytest.raises(UsageError, match="no output is named"):
        predictions(frame([0], price=np.array([1.0])), Task())


def test_reading_out_of_the_stores() -> None:
    class Events:
        def frame(self, endpoint: str, **asked: Any) -> dict[str, np.ndarray]:
            assert (endpoint, asked["since_ms"], asked["version"]) == ("e", 10, "1")
            return frame([20, 30], p=np.array([0.1, 0.9]))

    class State:
        def labels(self, endpoint: str, *, since_ms: int, keys: Sequence[str] = ()) -> list[KnownLabel]:
            assert (endpoint, since_ms) == ("e", 0)
            return [known(1, 1.0, 40)]

    joined = read(Events(), State(), "e", since_ms=10, version="1")  # type: ignore[arg-type]
    assert joined.rows.tolist() == [1]


def test_reading_only_the_labels_of_what_was_predicted() -> None:
    state, events = MemoryState(), MemoryEvents()
    at = np.array([1_000, 2_000, 3_000])
    events.append([
        Columns("e", "1", "champion", ["a", "b", "c"], at, np.zeros(3), [""] * 3, np.ones(3, int),
                {"x": np.arange(3.0)}, {"p": np.arange(3.0)}, more={"entity": ["k1", "k2", None]})
    ])  # fmt: skip
    state.label([Label("e", "b", 1.0, 4_000), Label("e", "k1", 2.0, 4_000, by_key=True), Label("e", "z", 3.0, 4_000)])
    whole = read(events, state, "e", since_ms=0)
    some = read(events, state, "e", since_ms=0, features=False, waiting=False)
    assert some.label.tolist() == whole.label.tolist() == [2.0, 1.0]
    assert (whole.waiting, some.waiting) == (1, 0)
    assert set(whole.frame) - set(some.frame) == {"in.x"}
    events.append([
        Columns("e", "1", "champion", ["n"], at[:1], np.zeros(1), [""], np.ones(1, int), {}, {}, entity=["nul\0"])
    ])  # fmt: skip
    assert len(read(events, state, "e", since_ms=0, waiting=False)) == 2  # a key that no label can have
    none = read(events, state, "e", since_ms=9_000, waiting=False)
    assert (len(none), none.predictions) == (0, 0)


@pytest.mark.parametrize(
    "values",
    [
        [True, 1, 1.0, "1", " 1 ", "no", None, float("nan"), float("nan"), "no"],
        [[0.1], "1", [0.1], 1, None],
    ],
)
def test_values_that_come_again_are_read_as_they_were_the_first_time(values: list[object]) -> None:
    calls = frame(list(range(len(values))), label=objects(values))
    for classes in ((1.0, "no"), ()):
        decision, _ = predictions(calls, Task(classes, "label"))
        alone = []
        for place in range(len(values)):
            (one,), _ = predictions(calls, Task(classes, "label"), np.array([place]))  # type: ignore[misc]
            alone.append(float(one))
        assert str(decision.tolist()) == str(alone)  # type: ignore[union-attr]
