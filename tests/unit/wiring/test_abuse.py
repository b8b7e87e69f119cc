"""From what a server samples to an alert, a delay and a report: over the state store, with two workers."""

from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import Unavailable
from fairlead.kit.codec.records import to_body
from fairlead.monitor.reference import reference as make
from fairlead.serve.sampling import Sample
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring import abuse
from fairlead.wiring.callers import WINDOW_MS, Counting, Watched

RNG = np.random.default_rng(1)
REFERENCE = make({"x": RNG.normal(size=(3000, 6))}, {})
SLOW = Watched(delay=0.5, release_ms=600_000)


class House:
    """Two workers and a controller on one store."""

    def __init__(self, how: Watched = SLOW) -> None:
        self.store, self.clock, self.how = MemoryState(), ManualClock(), how
        self.workers = [self.worker(str(place)) for place in range(2)]
        self.posted: list[Any] = []

    def worker(self, place: str, process: str = "") -> Counting:
        watched = {"churn": self.how}
        return Counting(
            lambda: self.store, lambda _: REFERENCE, watched, place, process or f"p{place}", self.clock
        )  # fmt: skip

    def asked(self, rows: dict[str, Any]) -> None:
        """Everybody asks for a while, and both workers put it down."""
        for worker, half in zip(self.workers, (slice(0, None, 2), slice(1, None, 2)), strict=True):
            samples = [Sample("churn", name, {"x": asked[half]}, {}) for name, asked in rows.items()]
            worker.keep(samples)
        self.clock.advance(WINDOW_MS / 1000 + 1)
        for worker in self.workers:
            worker.keep([])

    def window(self, rows: dict[str, Any]) -> list[Any]:
        """The same, and the controller looks."""
        self.asked(rows)
        return abuse.look(self.store, "churn", REFERENCE, self.how, self.clock.wall_ms())


def honest() -> Any:
    return RNG.normal(size=(300, 6))


def stolen() -> Any:
    return RNG.choice(np.linspace(-4, 4, 5), size=(300, 6))


def everybody(**more: Any) -> dict[str, Any]:
    return {**{f"c{i}": honest() for i in range(6)}, **more}


def test_who_copies_the_model_is_told_of_and_waits_until_released() -> None:
    house = House()
    assert house.window(everybody()) == []
    assert house.window(everybody(thief=stolen())) == []
    (alert,) = house.window(everybody(thief=stolen()))
    assert (alert.name, alert.status, alert.endpoint) == ("Extraction", "firing", "churn")
    assert (alert.labels["caller"], alert.labels["signal"]) == ("thief", "drift")
    assert alert.evidence["value"] > alert.evidence["band"] > alert.evidence["usual"]
    assert "caller thief" in house.store.entries("timeline", "churn")[0].body["text"]
    assert [worker.keep([]) for worker in house.workers] == [{("churn", "thief"): 0.5}] * 2
    judged, slow, at = abuse.report(house.store, "churn")
    assert (slow, at) == (["thief"], house.clock.wall_ms())
    assert {one.caller for one in judged if one.alarm} == {"thief"}
    house.clock.advance(601)
    assert house.workers[0].keep([]) == {}


def test_who_is_only_told_of_does_not_wait() -> None:
    house = House(Watched())
    for _ in range(4):
        house.window(everybody(thief=stolen()))
    assert house.store.entries("timeline", "churn")
    assert house.store.get("abuse-slow", "churn") is None
    assert house.workers[0].keep([]) == {}


def test_a_controller_that_was_away_counts_every_window_once() -> None:
    house = House()
    house.window(everybody())
    first = abuse.report(house.store, "churn")
    assert abuse.look(house.store, "churn", REFERENCE, SLOW, house.clock.wall_ms() + 5) == []
    assert abuse.report(house.store, "churn") == first
    memory = house.store.get("abuse", "churn")
    assert memory is not None
    assert {one["lately"][0]["rows"] for one in memory.body["known"]["callers"].values()} == {300}
    house.workers[0] = house.worker("0", "again")  # it was started anew, and counts from one
    house.window(everybody())
    memory = house.store.get("abuse", "churn")
    assert memory is not None
    assert {len(one["lately"]) for one in memory.body["known"]["callers"].values()} == {2}


def test_callers_of_a_worker_are_bounded() -> None:
    house = House()
    worker = house.workers[0]
    worker.keep([Sample("churn", f"c{i}", {"x": honest()[:2]}, {}) for i in range(300)])
    house.clock.advance(60)
    worker.keep([])
    document = house.store.get("abuse-asked", "churn/0")
    assert document is not None
    assert len(document.body["windows"][-1]["asked"]) <= 64


def test_a_store_that_is_down_is_said() -> None:
    house = House()
    house.store.down = True
    with pytest.raises(Unavailable):
        house.workers[0].keep([])
    with pytest.raises(Unavailable):
        abuse.look(house.store, "churn", REFERENCE, SLOW, 0)


def test_alerts_are_posted_and_a_dead_webhook_keeps_nothing_from_being_written() -> None:
    house = House()
    house.store.put("reference", "churn/1", to_body(REFERENCE), 0)
    calls: list[Any] = []

    def post(url: str, body: Any) -> None:
        calls.append((url, body))
        raise Unavailable("nobody answers")

    for _ in range(4):
        house.asked(everybody(thief=stolen()))
        abuse.watch(house.store, "churn", "churn", "1", SLOW, "http://hook", post, lambda: None)
    assert {url for url, _ in calls} == {"http://hook"}
    told = [alert["labels"] for _, body in calls for alert in body["alerts"]]
    assert {labels["caller"] for labels in told} == {"thief"}
    assert len(house.store.entries("timeline", "churn")) == len(told)
    assert {one.caller for one in abuse.report(house.store, "churn")[0] if one.alarm} == {"thief"}
