"""The batching decision, without a loop: rows in, batches out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import Overloaded, QueueFull
from fairlead.serve.batcher import AGE, Batcher, Policy
from fairlead.serve.call import NEVER, Call
from fairlead.serve.pace import Pace


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


def urgent(lane: int, arrived: float = 0.0, rows: int = 1, group: object = (), deadline: float = NEVER) -> Call:
    made = call(rows, group, arrived)
    made.lane, made.deadline = lane, deadline
    return made


def order(batcher: Batcher, now: float = 0.0) -> list[list[float]]:
    """Arrivals of the calls of each batch."""
    out = []
    while batch := batcher.take(now):
        out.append([part.call.arrived for part in batch])
        batcher.ended(batch, 0.0, False, now)
    return out


class TestLanes:
    def test_the_urgent_come_first_and_take_the_rest_along(self) -> None:
        batcher = Batcher(Policy(max_rows=2))
        for lane, arrived in ((2, 0.1), (1, 0.2), (0, 0.3), (0, 0.4), (1, 0.5)):
            batcher.offer(urgent(lane, arrived))
        assert order(batcher) == [[0.3, 0.4], [0.2, 0.5], [0.1]]
        for lane, arrived in ((2, 0.1), (0, 0.3)):
            batcher.offer(urgent(lane, arrived))
        assert order(batcher) == [[0.3, 0.1]]
        assert (batcher.rows, batcher.calls) == (0, 0)

    def test_nobody_waits_for_ever(self) -> None:
        batcher = Batcher(Policy(max_rows=1))
        batcher.offer(urgent(2, 0.0))
        served = []
        for step in range(100):
            batcher.offer(urgent(0, step * 0.1))
            served.append(batcher.take()[0].call.arrived)
            if batcher.calls == 1 and served[-1] == 0.0 and step:
                break
        assert served.index(0.0, 1) == round(2 * AGE / 0.1) + 1

    def test_groups_of_other_lanes_do_not_ride_along(self) -> None:
        batcher = Batcher(Policy(max_rows=4))
        batcher.offer(urgent(0, 0.1, group="a"))
        batcher.offer(urgent(2, 0.2, group="b"))
        batcher.offer(urgent(1, 0.3, group="a"))
        assert order(batcher) == [[0.1, 0.3], [0.2]]

    def test_whoever_can_wait_makes_room_the_newest_first(self) -> None:
        batcher = Batcher(Policy(queue_rows=4, queue_calls=10))
        waiting = [urgent(2, 0.1), urgent(2, 0.2), urgent(1, 0.3), urgent(0, 0.4)]
        for one in waiting:
            assert batcher.offer(one) == []
        assert batcher.offer(urgent(0, 0.5)) == [waiting[1]]
        assert batcher.offer(urgent(1, 0.6)) == [waiting[0]]
        with pytest.raises(QueueFull):
            batcher.offer(urgent(1, 0.7))
        with pytest.raises(QueueFull):
            batcher.offer(urgent(0, 0.8, rows=5))
        assert (batcher.rows, batcher.calls) == (4, 4)
        assert batcher.offer(urgent(0, 0.9, rows=2)) != []

    def test_a_call_that_has_begun_keeps_its_place(self) -> None:
        batcher = Batcher(Policy(max_rows=2, queue_rows=4))
        begun = urgent(2, 0.0, rows=4)
        batcher.offer(begun)
        batcher.take()
        batcher.offer(urgent(2, 0.1, rows=2))
        with pytest.raises(QueueFull):
            batcher.offer(urgent(0, 0.2, rows=4))
        assert sum(map(sum, sizes(batcher))) == 4

    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(1, 9), st.sampled_from("ab"), st.booleans()),
            min_size=1,
            max_size=40,
        ),
        st.integers(1, 8),
    )
    @settings(max_examples=200)
    def test_every_row_is_taken_once_whatever_the_lanes(
        self, asked: list[tuple[int, int, str, bool]], most: int
    ) -> None:
        batcher = Batcher(Policy(max_rows=most, queue_rows=60))
        calls: list[Call] = []
        for number, (lane, rows, group, take) in enumerate(asked):
            made = urgent(lane, float(number), rows, group)
            try:
                gone = batcher.offer(made)
            except QueueFull:
                continue
            calls.append(made)
            for one in gone:
                calls.remove(one)
                assert one.lane > lane
            if take:
                batch = batcher.take()
                assert sum(part.rows for part in batch) <= most
                assert len({part.call.group for part in batch}) == 1
        while batcher.take():
            pass
        assert all(one.offset == one.rows for one in calls)
        assert (batcher.rows, batcher.calls) == (0, 0)


LINEAR = ((1, 2, 4, 8), (0.010, 0.011, 0.013, 0.017))


class TestDeadlines:
    def test_the_batch_that_answers_most_in_time_is_taken(self) -> None:
        batcher = Batcher(Policy(max_rows=8), Pace(*LINEAR))
        for arrived, deadline in enumerate((0.5, 0.0125, 0.5, 0.5)):
            batcher.offer(urgent(1, float(arrived), deadline=deadline))
        assert order(batcher) == [
            [0.0, 2.0, 3.0],
            [1.0],
        ]  # four take 13 ms: one would be late
        for arrived, deadline in enumerate((0.5, 0.0135, 0.5, 0.5)):
            batcher.offer(urgent(1, float(arrived), deadline=deadline))
        assert order(batcher) == [[0.0, 1.0, 2.0, 3.0]]

    def test_calls_that_run_alone_keep_their_order(self) -> None:
        batcher = Batcher(Policy(max_rows=8, coalesce=False), Pace(*LINEAR))
        for arrived, deadline in enumerate((0.012, 0.5, 0.5)):
            batcher.offer(urgent(1, float(arrived), deadline=deadline))
        assert order(batcher) == [[0.0], [1.0], [2.0]]

    def test_a_batch_is_never_too_large_however_late_its_call(self) -> None:
        batcher = Batcher(Policy(max_rows=8), Pace(*LINEAR))
        late = urgent(1, rows=20)
        batcher.offer(late)
        late.deadline = 0.001
        assert sizes(batcher) == [[8], [8], [4]]

    def test_a_machine_that_has_become_slow_is_known_to_be_so(self) -> None:
        pace = Pace(*LINEAR)
        batcher = Batcher(Policy(max_rows=8), pace)
        for _ in range(200):
            pace.took(8, 0.170)  # ten times as long
        for arrived, deadline in enumerate((0.125, 0.9, 0.9, 0.9)):
            batcher.offer(urgent(1, float(arrived), deadline=deadline))
        assert order(batcher)[0] == [1.0, 2.0, 3.0]

    @given(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.floats(0, 0.1)), max_size=30),
        st.integers(1, 8),
        st.booleans(),
    )
    @settings(max_examples=200)
    def test_every_row_is_taken_once_whatever_the_deadlines(
        self, asked: list[tuple[int, int, float]], most: int, coalesce: bool
    ) -> None:
        batcher = Batcher(Policy(max_rows=most, coalesce=coalesce), Pace(*LINEAR))
        calls = [urgent(lane, float(place), rows) for place, (lane, rows, _) in enumerate(asked)]
        for one, (_, _, deadline) in zip(calls, asked, strict=True):
            batcher.offer(one)
            one.deadline = deadline
        while batch := batcher.take(0.0):
            assert sum(part.rows for part in batch) <= most
        assert all(one.offset == one.rows for one in calls)
        assert (batcher.rows, batcher.calls) == (0, 0)

    def test_one_that_will_be_late_anyhow_runs_alone(self) -> None:
        batcher = Batcher(Policy(max_rows=8), Pace(*LINEAR))
        calls = [urgent(1, float(arrived)) for arrived in range(2)]
        for one in calls:
            batcher.offer(one)
            one.deadline = 0.001
        assert order(batcher) == [[0.0], [1.0]]

    def test_a_call_that_would_be_late_though_all_goes_well_is_refused(self) -> None:
        batcher = Batcher(Policy(max_rows=8), Pace(*LINEAR))
        batcher.offer(urgent(1, deadline=0.001))  # an empty queue takes anybody: the estimate may be wrong
        for _ in range(15):
            batcher.offer(urgent(1))
        with pytest.raises(Overloaded, match="need 44 ms, and it may take 40 ms; try again later"):
            batcher.offer(urgent(1, deadline=0.040), 0.0)
        batcher.offer(urgent(1, deadline=0.045), 0.0)
        batcher.offer(urgent(0, deadline=0.015), 0.0)  # nobody is before it in its lane
        assert batcher.calls == 18

    def test_what_batches_take_now_is_learned(self) -> None:
        pace = Pace(*LINEAR)
        assert [pace.seconds(rows) for rows in (1, 3, 8, 16)] == pytest.approx([0.010, 0.012, 0.017, 0.034])
        assert pace.least(80) == pytest.approx(0.17)
        for _ in range(200):
            pace.took(8, 0.034)
        assert pace.seconds(4) == pytest.approx(0.026, rel=0.01)
        for _ in range(200):
            pace.took(8, 0.001)  # no faster than it was alone
        assert pace.seconds(4) == pytest.approx(0.013, rel=0.01)


def answered_in_time(pace: Pace | None, rate: float) -> float:
    """Share of calls answered within 40 ms, of those that came at this many a second; one batch at a time."""
    rng = np.random.default_rng(3)
    true, batcher, now, free, good = Pace(*SLOW), Batcher(Policy(max_rows=64, queue_rows=10_000), pace), 0.0, 0.0, 0
    arrivals = np.cumsum(rng.exponential(1 / rate, 6000)).tolist()
    waiting = list(reversed(arrivals))
    while waiting or batcher.calls:
        now = max(free, waiting[-1] if waiting and not batcher.calls else now)
        while waiting and waiting[-1] <= now:
            came = waiting.pop()
            for one in list(batcher.waiting()):
                if one.deadline <= came:
                    batcher.discard(one)
            made = urgent(1, came, deadline=came + 0.040)
            try:
                batcher.offer(made, came)
            except Overloaded:
                continue
        for one in list(batcher.waiting()):
            if one.deadline <= now:
                batcher.discard(one)
        batch = batcher.take(now)
        if not batch:
            now = waiting[-1] if waiting else now
            free = now
            continue
        free = now + true.seconds(len(batch))
        good += sum(part.call.deadline >= free for part in batch)
        batcher.ended(batch, free - now, False, free)
        now = free
    return good / len(arrivals)


SLOW = ((1, 4, 16, 64), (0.004, 0.010, 0.030, 0.110))
"""Full batches take longer than a call may."""


def test_batching_to_the_deadline_answers_more_in_time_where_full_batches_are_too_slow() -> None:
    blind, aware = answered_in_time(None, 700), answered_in_time(Pace(*SLOW), 700)
    assert aware > 0.5
    assert aware > 2 * blind
    assert answered_in_time(Pace(*SLOW), 100) > 0.97
