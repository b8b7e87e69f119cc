"""References that know a season: of a hold-out with a clock, or of what was served once a season is full."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.events import Columns
from fairlead.monitor.binning import Reference
from fairlead.monitor.findings import Contract
from fairlead.monitor.sketches import Folder
from fairlead.retrain.held import HeldOut
from fairlead.testing.events import MemoryEvents
from fairlead.testing.state import MemoryState
from fairlead.wiring import baselines, watching
from fairlead.wiring.baselines import Season
from fairlead.wiring.monitors import Monitor, Monitored
from fairlead.wiring.watching import Watched

HOUR = 3_600_000
DAY = Season(HOUR, 24 * HOUR)
ROWS = 100


def batch(hour: int, rng: np.random.Generator, swing: float = 3.0) -> Columns:
    """An hour of calls whose feature follows the time of day."""
    x = rng.normal(swing * np.sin(hour * np.pi / 12), 1, ROWS)
    ids = [f"{hour}-{n}" for n in range(ROWS)]
    at = hour * HOUR + np.arange(ROWS) * (HOUR // ROWS)
    return Columns(
        "c", "1", "champion", ids, at, np.full(ROWS, 0.01), [""] * ROWS, np.ones(ROWS, int), {"x": x}, {"p": x}
    )  # fmt: skip


def kept(state: MemoryState) -> Reference:
    found = watching.reference(state, "m", "1")
    assert found is not None
    return found


def hold_out(rows: int, importance: float = 0.0) -> HeldOut:
    x = np.random.default_rng(0).normal(size=rows)
    return HeldOut({"x": x}, {"p": x}, None, {"x": importance} if importance else {}, np.arange(rows) * (HOUR // 10))


def test_a_hold_out_with_a_clock_that_fills_a_season_has_it() -> None:
    state = MemoryState()
    baselines.keep(state, "m", "1", hold_out(10 * 24), season=DAY)
    assert (kept(state).season_ms, kept(state).window_ms) == (24 * HOUR, HOUR)
    assert len(kept(state).columns["in.x"].seasons) == 24
    baselines.keep(state, "m", "1", hold_out(10 * 23), season=DAY)
    assert kept(state).season_ms == 0
    baselines.keep(state, "m", "1", hold_out(10 * 24))
    assert kept(state).season_ms == 0


def test_what_was_served_makes_it_once_a_season_is_full() -> None:
    state, events, rng = MemoryState(), MemoryEvents(), np.random.default_rng(1)
    baselines.keep(state, "m", "1", hold_out(500, importance=0.7), season=Season())
    first = kept(state).id
    for hour in range(24):
        events.append([batch(hour, rng)])
        assert baselines.ensure_reference(state, events, "c", "m", "1", DAY)
        assert (kept(state).id == first) == (hour < 23)
    assert kept(state).season_ms == DAY.season_ms
    assert kept(state).columns["in.x"].importance == 0.7  # what the retraining measured stays
    second = kept(state).id
    events.append([batch(24, rng)])
    assert baselines.ensure_reference(state, events, "c", "m", "1", DAY)
    assert kept(state).id == second


def test_the_last_two_seasons_are_read_and_of_each_window_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "MOST_ROWS", 48 * 10)
    state, events, rng = MemoryState(), MemoryEvents(), np.random.default_rng(1)
    events.append([batch(hour, rng) for hour in range(24 * 3)])
    assert baselines.ensure_reference(state, events, "c", "m", "1", DAY)
    assert kept(state).rows == 48 * 10
    assert {sum(slot) for slot in kept(state).columns["in.x"].seasons} == {20}


def test_without_a_season_yet_there_is_a_plain_one() -> None:
    state, events, rng = MemoryState(), MemoryEvents(), np.random.default_rng(1)
    events.append([batch(hour, rng) for hour in range(5)])
    assert baselines.ensure_reference(state, events, "c", "m", "1", DAY)
    assert (kept(state).season_ms, kept(state).rows) == (0, 500)
    assert not baselines.ensure_reference(MemoryState(), None, "c", "m", "1", DAY)


def test_workers_count_on_the_one_that_was_made_anew() -> None:
    state = MemoryState()
    find = watching.references(lambda: state, Watched({"c": "models:/m@champion"}, {}))
    assert find("c", "1") is None
    baselines.keep(state, "m", "1", hold_out(240))
    baselines.watch_against(state, "c", "m", "1")
    plain = find("c", "2")
    assert plain == kept(state)
    baselines.keep(state, "m", "1", hold_out(240), season=DAY)
    assert find("c", "2") == plain  # until it is said
    baselines.watch_against(state, "c", "m", "1")
    assert find("c", "2") == kept(state) != plain


def alarms(how: Monitored, hours: int, quiet: int) -> int:
    """Drift alarms in an endpoint's life after the first ``quiet`` hours, its windows counted as workers count them."""
    state, events, rng = MemoryState(), MemoryEvents(), np.random.default_rng(2)
    monitor = Monitor(state, events, "c", "m", how, lambda url, body: None)
    find = watching.references(lambda: state, Watched({"c": "models:/m@champion"}, {}))
    told = 0
    for hour in range(hours):
        columns = batch(hour, rng)
        events.append([columns])
        if not baselines.watched_version(state, "c") and baselines.ensure_reference(state, events, "c", "m", "1"):
            baselines.watch_against(state, "c", "m", "1")
        if (reference := find("c", "1")) is not None:
            folder = Folder(reference, "c", "1", "champion", f"h.0.ab-{reference.id}", HOUR)
            folder.add(columns)
            state.put_windows(folder.windows())
        found = monitor.look("1", (hour + 1) * HOUR + 5000)
        told += sum(one.name == "Drift" and one.status == "firing" for one in found) if hour >= quiet else 0
    return told


def test_a_swing_of_the_day_is_drift_unless_the_season_is_asked_for() -> None:
    contract = Contract(quiet=2)
    assert alarms(Monitored(contract), 96, 49) > 0
    assert alarms(Monitored(contract, season_ms=24 * HOUR), 96, 49) == 0


def test_a_season_is_whole_windows() -> None:
    with pytest.raises(UsageError, match="a season of 86400 s is not two or more whole windows of 18000 s"):
        Monitored(Contract(window_ms=5 * HOUR), season_ms=24 * HOUR)
