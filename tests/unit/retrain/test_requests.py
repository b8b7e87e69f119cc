"""Requests and the lease of a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from fairlead.contracts.errors import Busy, Conflict, LeaseLost, NotFound, Unavailable, UsageError
from fairlead.contracts.plans import RetrainRequest
from fairlead.contracts.state import Lease
from fairlead.retrain import requests
from fairlead.retrain.journal import Journal
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState

ONE = RetrainRequest("r1", "churn", "drift", "age drifted", 5, {"psi": 0.3})


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def state(clock: ManualClock) -> MemoryState:
    return MemoryState(clock)


def test_a_request_is_asked_found_and_moved(state: MemoryState) -> None:
    requests.ask(state, ONE)
    requests.ask(state, replace(ONE, id="r0", at_ms=1))
    requests.ask(state, replace(ONE, id="other", endpoint="chat"))
    assert [one.id for one in requests.every(state, "churn")] == ["r0", "r1"]
    found = requests.find(state, "r1", "churn")
    assert found == ONE
    after = requests.moved(state, found, status="done", outcome="pass", version="3", verdict="v")
    assert after == replace(ONE, status="done", outcome="pass", version="3", verdict="v")
    with pytest.raises(UsageError, match="'r1' is done; only an open one"):
        requests.find(state, "r1", "churn")
    with pytest.raises(Conflict):
        requests.ask(state, ONE)
    with pytest.raises(NotFound):
        requests.find(state, "r9", "churn")
    with pytest.raises(UsageError, match="of endpoint 'chat'"):
        requests.find(state, "other", "churn")


class Stolen(MemoryState):
    """Another process has every lease, once ``stolen`` is set."""

    stolen = False

    def acquire(self, name: str, owner: str, seconds: float) -> Lease | None:
        return None if self.stolen else super().acquire(name, owner, seconds)


def eventually(condition: Callable[[], bool]) -> None:
    """Until another thread has done it; five seconds at most."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    assert condition()


class TestLease:
    def test_one_run_at_a_time(self, state: MemoryState) -> None:
        with requests.held(state, "churn", "a", 60) as hold:
            hold.check()
            with (
                pytest.raises(Busy, match="'churn' is under way already"),
                requests.held(state, "churn", "b", 60),
            ):
                pass
            with requests.held(state, "chat", "b", 60):
                pass
        with requests.held(state, "churn", "b", 60):
            pass

    def test_one_that_was_killed_lets_go_later(self, state: MemoryState, clock: ManualClock) -> None:
        assert state.acquire("retrain:churn", "killed", 60)
        clock.advance(61)
        with requests.held(state, "churn", "b", 60) as hold:
            assert hold.lease.owner == "b"

    def test_is_kept_alive(self, state: MemoryState, clock: ManualClock) -> None:
        with requests.held(state, "churn", "a", 0.03) as hold:
            first = hold.lease.expires_ms
            clock.advance(0.02)
            eventually(lambda: hold.lease.expires_ms > first)
            state.down = True
            time.sleep(0.03)
            state.down = False
            hold.check()

    def test_its_loss_is_noticed(self, clock: ManualClock) -> None:
        state = Stolen(clock)
        with requests.held(state, "churn", "a", 0.03) as hold:
            state.stolen = True
            eventually(lambda: hold.lost)
            with pytest.raises(LeaseLost, match="another process"):
                hold.check()

    def test_letting_go_of_a_store_that_is_down(self, state: MemoryState) -> None:
        with requests.held(state, "churn", "a", 60):
            state.down = True


class TestJournal:
    @pytest.fixture
    def journal(self, state: MemoryState, clock: ManualClock) -> Journal:
        lease = state.acquire("retrain:churn", "a", 60)
        assert lease
        return Journal(state, "churn", clock, requests.Hold(lease))

    def test_takes_the_oldest_open_request_or_makes_one(self, state: MemoryState, journal: Journal) -> None:
        made = journal.take("", "new columns", dry=False)
        assert (made.trigger, made.why, made.status) == ("human", "new columns", "running")
        requests.ask(state, ONE)
        requests.ask(state, replace(ONE, id="r0", at_ms=1))
        assert journal.take("", "", dry=False).id == "r0"
        assert journal.take("r1", "", dry=False).status == "running"

    def test_a_dry_run_leaves_the_request_open(self, state: MemoryState, journal: Journal) -> None:
        requests.ask(state, ONE)
        copy = journal.take("r1", "", dry=True)
        assert (copy.trigger, copy.status, copy.id != "r1") == ("drift", "running", True)
        assert requests.find(state, "r1", "churn").status == "open"

    def test_buries_what_a_killed_run_left(self, state: MemoryState, journal: Journal) -> None:
        requests.ask(state, replace(ONE, status="running"))
        requests.ask(state, replace(ONE, id="r2"))
        journal.bury()
        assert [(one.status, one.outcome) for one in requests.every(state, "churn")] == [
            ("failed", requests.DIED),
            ("open", ""),
        ]
        assert requests.DIED in state.entries("timeline", "churn")[0].body["text"]

    def test_counts_looks_at_a_hold_out(self, journal: Journal) -> None:
        assert [journal.looked("abc"), journal.looked("abc"), journal.looked("def")] == [0, 1, 0]

    def test_writes_nothing_without_the_lease(self, state: MemoryState, journal: Journal, clock: ManualClock) -> None:
        journal.take("", "why", dry=False)
        clock.advance(61)
        for act in (
            lambda: journal.tell("retrain", "text"),
            lambda: journal.looked("abc"),
            lambda: journal.end("done", ""),
        ):
            with pytest.raises(LeaseLost):
                act()
        journal.failed("why", "internal")
        assert requests.every(state, "churn")[0].status == "running"
        state.down = True
        journal.failed("why", "internal")
        with pytest.raises(Unavailable):
            journal.tell("retrain", "text")
