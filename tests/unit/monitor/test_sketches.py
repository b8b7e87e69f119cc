"""Folding calls into windows, and merging them."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.contracts.errors import StateError
from fairlead.contracts.events import Columns, Window
from fairlead.contracts.types import Tensors
from fairlead.monitor.binning import Reference
from fairlead.monitor.reference import reference
from fairlead.monitor.sketches import MOST_COLUMNS, MOST_OPEN, Folder, merge

SECOND = 1000


def calls(
    features: Tensors, at_ms: list[int], rows: list[int] | None = None, codes: list[str] | None = None
) -> Columns:
    n = len(at_ms)
    return Columns(
        "e", "1", "champion", ["i"] * n, np.array(at_ms), np.full(n, 0.01), codes or [""] * n,
        np.array(rows or [1] * n), features, {},
    )  # fmt: skip


def folder(described: Reference | None = None, worker: str = "w0") -> Folder:
    return Folder(described, "e", "1", "champion", worker, SECOND)


@pytest.fixture
def described(rng: np.random.Generator) -> Reference:
    features = {"x": rng.normal(size=(500, 1)).astype(np.float32), "c": rng.choice(["a", "b"], 500).astype(object)}
    return reference(features, {"p": rng.random((500, 2))}, model="m", version="1")


def table(rng: np.random.Generator, n: int) -> tuple[Tensors, Tensors]:
    x = rng.normal(size=(n, 1)).astype(np.float32)
    x[::7] = np.nan
    return {"x": x, "c": rng.choice(["a", "b", "z", None], n).astype(object)}, {"p": rng.random((n, 2))}


@pytest.mark.parametrize("with_reference", [True, False])
def test_workers_merged_are_one_worker(rng: np.random.Generator, described: Reference, with_reference: bool) -> None:
    known = described if with_reference else None
    features, outputs = table(rng, 900)
    at, seconds = rng.integers(0, 3000, 300), rng.exponential(0.01, 300)
    codes = rng.choice(["", "", "queue_full"], 300).tolist()
    rows = np.full(300, 3)
    one, many = folder(known), [folder(known, f"w{i}") for i in range(4)]
    whole = Columns("e", "1", "champion", ["i"] * 300, at, seconds, codes, rows, features, outputs)
    one.add(whole)
    owner = rng.integers(0, 4, 300)
    for place, worker in enumerate(many):
        kept = owner == place
        picked = np.repeat(kept, 3)
        part = Columns(
            "e", "1", "champion", ["i"] * int(kept.sum()), at[kept], seconds[kept],
            [code for code, keep in zip(codes, kept, strict=True) if keep], rows[kept],
            {k: v[picked] for k, v in features.items()}, {k: v[picked] for k, v in outputs.items()},
        )  # fmt: skip
        worker.add(part)
    windows = [window for worker in many for window in worker.windows()]
    for some in (windows, windows[::-1], windows[5:] + windows[:5]):
        assert_same(one.windows(), some)


def assert_same(one: list[Window], many: list[Window]) -> None:
    left, right = merge(one), merge(many)
    assert (left.calls, left.rows, dict(left.codes)) == (right.calls, right.rows, dict(right.codes))
    assert left.latency.counts.tolist() == right.latency.counts.tolist()
    assert set(left.columns) == set(right.columns) == {"in.x", "in.c", "out.p[0]", "out.p[1]"}
    for name, column in left.columns.items():
        other = right.columns[name]
        assert column.counts.tolist() == other.counts.tolist()
        exact = ("n", "missing", "foreign", "finite", "infinite", "low", "high", "texts")
        assert [getattr(column, field) for field in exact] == [getattr(other, field) for field in exact]
        assert column.total == pytest.approx(other.total, rel=1e-12)
    assert (left.start_ms, left.end_ms) == (0, 3 * SECOND)


def test_calls_go_to_the_window_of_their_time() -> None:
    some = folder()
    x = np.arange(6.0)
    some.add(calls({"x": x}, [100, 1200, 1300], rows=[1, 2, 3]))
    first, second = some.windows()
    assert (first.start_ms, first.calls, first.rows) == (0, 1, 1)
    assert (second.start_ms, second.calls, second.rows) == (1000, 2, 5)
    assert merge([second]).columns["in.x"].total == 15.0


def test_windows_are_cumulative_until_closed() -> None:
    some = folder()
    some.add(calls({"x": np.ones(1)}, [10]))
    some.add(calls({"x": np.ones(1)}, [20]))
    assert [window.calls for window in some.windows()] == [2]
    assert some.close_before(999) == []
    assert [window.calls for window in some.close_before(1000)] == [2]
    assert some.windows() == []


def test_a_late_call_never_opens_a_closed_window_again() -> None:
    some = folder()
    some.add(calls({}, [10]))
    some.close_before(1000)
    some.add(calls({}, [20]))  # nothing is open
    assert [window.start_ms for window in some.windows()] == [1000]
    some.add(calls({}, [30, 2500]))
    assert [(window.start_ms, window.calls) for window in some.windows()] == [(1000, 2), (2000, 1)]


def test_a_clock_that_jumps_loses_nothing_and_opens_few() -> None:
    some = folder()
    times = [5000, 10**13, 0, -5, 86_400_000, 7 * 86_400_000, 5001, 10**13 + 5000]
    for at in times:
        some.add(calls({"x": np.ones(1)}, [at]))
        assert len(some.windows()) <= MOST_OPEN
    assert sum(window.calls for window in some.windows()) == len(times)
    assert all(window.start_ms % SECOND == 0 for window in some.windows())


def test_failed_calls_have_no_rows() -> None:
    some = folder()
    some.add(calls({"x": np.ones(1)}, [1, 2], rows=[0, 1], codes=["queue_full", ""]))
    found = merge(some.windows())
    assert (found.calls, found.rows, found.errors) == (2, 1, 1)
    assert found.codes == {"queue_full": 1, "": 1}


def test_no_call_is_no_window() -> None:
    some = folder()
    some.add(calls({"x": np.ones(0)}, []))
    assert some.windows() == []
    assert merge([]).calls == 0


def test_the_number_of_columns_is_bounded() -> None:
    some = folder()
    for part in range(3):
        some.add(calls({f"x{part}_{i}": np.ones(1) for i in range(MOST_COLUMNS // 2)}, [1]))
    assert len(merge(some.windows()).columns) == MOST_COLUMNS


def test_windows_of_two_references_are_not_merged(described: Reference) -> None:
    one = folder(described)
    one.add(calls({"x": np.ones(1)}, [1]))
    window = one.windows()[0]
    assert window.reference == described.id
    with pytest.raises(StateError, match="two references"):
        merge([window, replace(window, reference="other")])
