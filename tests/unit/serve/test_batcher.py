"""The batching decision, without a loop: rows in, batches out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import QueueFull
from fairlead.serve.batcher import Batcher, Policy
from fairlead.serve.call import Call


def call(rows: int = 1, group: object = (), arrived: float = 0.0) -> Call:
    return Call({"x": np.zeros((rows, 2))}, rows, lambda _: None, arrived=arrived, group=group)  # type: ignore[arg-type]


def sizes(batcher: Batcher) -> list[list[int]]:
    """Row counts of every part of every batch until nothing waits."""
    out = []
    while batch := batcher.take():
        out.append([part.rows for part in batch])
    return out


def test_counts_rows_not_calls() -> None:
    batcher = Batcher(Policy(max_rows=8))
    for rows in (3, 3, 3, 1):
        batcher.offer(call(rows))
    assert sizes(batcher) == [[3, 3], [3, 1]]


def test_splits_only_a_call_that_is_larger_than_a_batch() -> None:
    batcher = Batcher(Policy(max_rows=4))
    for rows in (2, 10, 1):
        batcher.offer(call(rows))
    assert sizes(batcher) == [[2], [4], [4], [2, 1]]


def test_groups_never_share_a_batch_and_take_turns() -> None:
    batcher = Batcher(Policy(max_rows=2))
    for group in "aaaab":
        batcher.offer(call(group=group))
    groups = []
    while batch := batcher.take():
        assert len({part.call.group for part in batch}) == 1
        groups.append(batch[0].call.group)
    assert groups == ["a", "b", "a"]


def test_without_coalescing_every_call_runs_alone() -> None:
    batcher = Batcher(Policy(max_rows=8, coalesce=False))
    for rows in (1, 2, 20):
        batcher.offer(call(rows))
    assert sizes(batcher) == [[1], [2], [8], [8], [4]]


def test_a_full_queue_refuses_and_stays_as_it_was() -> None:
    batcher = Batcher(Policy(queue_rows=10, queue_calls=3))
    batcher.offer(call(9))
    with pytest.raises(QueueFull, match="9 rows in 1 calls.*limits: 10 rows, 3 calls"):
        batcher.offer(call(2))
    assert (batcher.rows, batcher.calls) == (9, 1)
    batcher.offer(call(1))
    batcher.take()
    for _ in range(3):
        batcher.offer(call(1))
    with pytest.raises(QueueFull):
        batcher.offer(call(1))


def test_one_call_may_always_wait_however_large() -> None:
    batcher = Batcher(Policy(max_rows=4, queue_rows=5))
    batcher.offer(call(100))
    assert sum(map(sum, sizes(batcher))) == 100


def test_holds_back_only_when_asked_and_not_when_full() -> None:
    patient = Batcher(Policy(max_rows=4, max_wait=0.010))
    assert patient.hold(5.0) == 0.0
    patient.offer(call(2, arrived=5.0))
    assert patient.hold(5.004) == pytest.approx(0.006)
    assert patient.hold(5.010) == 0.0
    patient.offer(call(2, arrived=5.004))
    assert patient.hold(5.004) == 0.0
    eager = Batcher(Policy(max_rows=4))
    eager.offer(call(1))
    assert eager.hold(0.0) == 0.0


def test_a_finished_call_is_never_taken() -> None:
    batcher = Batcher(Policy(max_rows=2))
    calls = [call(rows) for rows in (1, 5, 1)]
    for one in calls:
        batcher.offer(one)
    calls[0].cancel()
    assert [part.call for part in batcher.take()] == [calls[1]]
    calls[1].cancel()  # split: half of it is already with the model
    assert [part.call for part in batcher.take()] == [calls[2]]
    assert (batcher.rows, batcher.calls) == (0, 0)


def test_discarding_frees_the_place() -> None:
    batcher = Batcher(Policy(max_rows=2, queue_calls=2))
    first, second = call(4), call(1)
    batcher.offer(first)
    batcher.offer(second)
    batcher.take()
    first.cancel()
    batcher.discard(first)
    assert (batcher.rows, batcher.calls) == (1, 1)
    batcher.discard(first)
    batcher.discard(call(1, group="elsewhere"))
    assert list(batcher.waiting()) == [second]


@settings(max_examples=300)
@given(
    rows=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    groups=st.lists(st.sampled_from("ab"), min_size=40, max_size=40),
    limit=st.integers(1, 12),
    coalesce=st.booleans(),
    cancelled=st.sets(st.integers(0, 39)),
)
def test_every_row_of_every_live_call_leaves_exactly_once_and_in_order(
    rows: list[int], groups: list[str], limit: int, coalesce: bool, cancelled: set[int]
) -> None:
    batcher = Batcher(Policy(max_rows=limit, coalesce=coalesce))
    calls = [call(n, group=g) for n, g in zip(rows, groups, strict=False)]
    for one in calls:
        batcher.offer(one)
    for i, one in enumerate(calls):
        if i in cancelled:
            one.cancel()
    seen: dict[int, list[tuple[int, int]]] = {id(one): [] for one in calls}
    while batch := batcher.take():
        assert sum(part.rows for part in batch) <= limit
        for part in batch:
            seen[id(part.call)].append((part.start, part.rows))
    for i, one in enumerate(calls):
        spans = seen[id(one)]
        if i in cancelled:
            assert spans == []
            continue
        assert [start for start, _ in spans] == list(np.cumsum([0, *(n for _, n in spans)])[:-1])
        assert sum(n for _, n in spans) == one.rows
        if one.rows <= limit:
            assert len(spans) == 1
    assert (batcher.rows, batcher.calls) == (0, 0)
