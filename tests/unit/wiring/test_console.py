"""The console's pages over stores that the real records were written to: what is shown is what the commands say."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from fairlead.console.assets import Assets
from fairlead.console.facts.endpoint import Inside
from fairlead.console.rendering import Templates
from fairlead.contracts.errors import Unavailable
from fairlead.contracts.events import Window
from fairlead.contracts.plans import Happening, Share, TrafficSplit
from fairlead.contracts.state import Entry
from fairlead.kit.codec.json import encode
from fairlead.kit.codec.records import to_body
from fairlead.kit.config import Home
from fairlead.monitor import timeline
from fairlead.monitor.latency import Latency
from fairlead.monitor.mapping import traffic
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState
from fairlead.wiring.console import measured
from fairlead.wiring.console.endpoint import EndpointPage
from fairlead.wiring.console.folding import HOUR_MS, Folds, Slots, Strip, Totals
from fairlead.wiring.console.home import HomePage, Newest

pytest.importorskip("jinja2", reason="needs fairlead[console]")
np = pytest.importorskip("numpy")
NOW = 1_700_000_000_000 // HOUR_MS * HOUR_MS + 1_234_567
NASTY = '<img src=x onerror=alert(1)>"' + "n" * 100


class Kept:
    """In place of ``wiring.console.kept.Kept``: a store in memory and no server."""

    def __init__(self, store: MemoryState) -> None:
        self.state, self.names, self.server, self.cert = store, (), "", ""
        self.home = Home(Path("/nowhere"), "", "", "me")

    @property
    def registry(self) -> object:
        raise Unavailable("the registry does not answer")


def window(
    name: str, start_ms: int, calls: int, *, failed: int = 0, arm: str = "champion", seconds: float = 0.01
) -> Window:
    start = start_ms // 60_000 * 60_000
    codes = {"": calls - failed, **({"deadline_exceeded": failed} if failed else {})}
    latency = Latency.of(np.full(calls, seconds)).to_bytes()
    return Window(name, "3", arm, "w0", start, 60_000, calls, calls, codes, latency, {"in.x": b"1"})


@pytest.fixture
def store() -> MemoryState:
    found = MemoryState(ManualClock(NOW / 1000))
    found.put_windows([window("churn", NOW - minutes * 60_000, 60, failed=3) for minutes in range(50)])
    found.put_windows([window("churn", NOW - 60_000, 500, arm="shadow")])
    found.put_windows([window(NASTY, NOW - 7_200_000, 5)])
    shares = (Share("3", "champion", 90.0), Share("4", "candidate", 10.0), Share("5", "shadow", 0.0, 20.0))
    found.put("split", "churn", to_body(TrafficSplit("churn", "churn", shares)), 0)
    body = {"version": "3", "detector": {"a": 1}, "standings": {"Drift": {"since_ms": 5}, "ErrorRate": {"since_ms": 0}}}
    found.put("monitor", "churn", body, 0)
    timeline.write(found, Happening("churn", "deploy", "version 3 serves", NOW - 600_000))
    return found


def test_home_says_what_the_windows_and_the_monitors_say(store: MemoryState) -> None:
    facts = HomePage(Kept(store)).home(NOW)  # type: ignore[arg-type]
    row, nasty = facts.rows[1], facts.rows[0]
    assert [one.name for one in facts.rows] == [NASTY, "churn"]
    told = traffic(store.windows("churn"))
    assert (row.operations.calls, row.operations.errors) == (told.calls, told.errors / told.calls)
    assert (row.operations.p50, row.operations.p99) == (told.p50, told.p99)
    assert row.operations.rate == pytest.approx(1.0, rel=0.2), "60 calls a minute"
    assert [one for one in row.operations.rates if one is not None][:-1] == [1.0] * 49
    assert (row.operations.state, row.model.drift, row.model.performance) == ("ok", "alarm", "none")
    assert row.model.since_ms == 5
    assert [(one.version, one.weight, one.shadow) for one in row.split] == [("3", 0.9, 0), ("4", 0.1, 0), ("5", 0, 0.2)]
    assert row.last is not None
    assert row.last.text == "version 3 serves"
    assert nasty.operations.rate is None
    assert nasty.operations.errors is None, "nothing in this hour is not zero"
    assert (nasty.operations.state, nasty.model.drift) == ("none", "none")


def test_a_store_that_is_down_says_so(store: MemoryState) -> None:
    store.down = True
    with pytest.raises(Unavailable):
        HomePage(Kept(store)).home(NOW)  # type: ignore[arg-type]


def test_an_endpoint_over_time_is_its_windows(store: MemoryState) -> None:
    facts = EndpointPage(Kept(store)).endpoint("churn", NOW - HOUR_MS, NOW, NOW)  # type: ignore[arg-type]
    told = traffic(store.windows("churn"))
    assert (facts.calls, facts.rows, facts.p50, facts.p95, facts.p99) == (
        told.calls,
        told.rows,
        told.p50,
        told.p95,
        told.p99,
    )
    assert facts.codes == (("deadline_exceeded", 150),)
    by_arm = {(one.version, one.arm): one for one in facts.versions}
    assert by_arm["3", "champion"].calls == 3000
    assert by_arm["3", "shadow"].calls == 500, "told, and in no total"
    assert by_arm["4", "candidate"].errors is None
    assert [one.label for one in facts.marks] == ["deploy"]
    assert facts.lineage_trouble is not None
    assert facts.inside is None
    assert "no server" in facts.inside_why
    assert sum(one is not None for one in facts.series.rate) in (49, 50)
    assert b"NaN" not in encode(facts)


def test_hours_that_are_over_are_read_once() -> None:
    store, asked = MemoryState(), []
    hours = 40 * 24
    store.put_windows([window("churn", NOW - hour * HOUR_MS, 10 + hour % 3) for hour in range(hours)])
    read = store.windows

    def counted(name: str, **how: object) -> list[Window]:
        asked.append(how)
        return read(name, **how)  # type: ignore[arg-type]

    store.windows = counted  # type: ignore[method-assign,assignment]
    folds, since = Folds(), NOW - 30 * 24 * HOUR_MS
    first = folds.read(store, "churn", Slots(since, NOW, 240), NOW)
    asked.clear()
    slots = Slots(since, NOW, 240)
    again = folds.read(store, "churn", slots, NOW)
    assert [one["since_ms"] for one in asked] == [NOW // HOUR_MS * HOUR_MS], "the hour that is not over, and no other"
    expected = [one for one in read("churn") if slots.since_ms <= one.start_ms < NOW]
    for found in (first, again):
        assert found.total.calls == sum(one.calls for one in expected)
    assert sum(slot.totals.calls for slot in slots.all()) == again.total.calls
    assert len(list(slots.all())) <= 241


@pytest.mark.parametrize(
    ("span", "length"), [(900_000, 60_000), (86_400_000, 360_000), (604_800_000, HOUR_MS), (2_592_000_000, 3 * HOUR_MS)]
)
def test_parts_are_whole_minutes_and_from_a_week_on_whole_hours(span: int, length: int) -> None:
    slots = Slots(NOW - span, NOW, 240)
    assert slots.length == length
    parts = list(slots.all())
    assert len(parts) <= 242
    assert parts[0].start_ms <= NOW - span
    assert parts[-1].start_ms < NOW <= parts[-1].start_ms + length
    assert slots.at(NOW - span) is not None


def test_histograms_of_an_exposition_are_read_by_endpoint() -> None:
    text = (
        'fairlead_queue_seconds_bucket{endpoint="churn",version="1",le="0.001"} 90.0\n'
        'fairlead_queue_seconds_bucket{endpoint="churn",version="1",le="0.01"} 99.0\n'
        'fairlead_queue_seconds_bucket{endpoint="churn",version="1",le="+Inf"} 100.0\n'
        'fairlead_queue_seconds_bucket{endpoint="other",version="1",le="0.5"} 7.0\n'
        'fairlead_batch_rows_bucket{endpoint="churn",version="1",le="1"} 0.0\n'
        'fairlead_queue_rows{endpoint="churn",version="1"} 4.0\n'
    )
    told = measured.told(text, "churn", "http://x")
    assert told == Inside("http://x", (0.001, 0.01), (None, None), (None, None), (None, None), 4.0)
    assert asdict(measured.told("", "churn", "u"))["waiting"] is None


def test_samples_that_are_no_finite_number_and_bins_without_an_end() -> None:
    text = (
        'fairlead_queue_rows{endpoint="a\\"}\\\\n",version="1"} 2\n'
        'fairlead_queue_rows{endpoint="x",version="1"} +Inf\n'
        'fairlead_queue_rows{endpoint="x",version="2"} NaN\n'
        'fairlead_queue_rows{endpoint="x",version="3"} 3\n'
        'fairlead_queue_seconds_bucket{endpoint="x",le="0.1"} 60\n'
        'fairlead_queue_seconds_bucket{endpoint="x",le="+Inf"} 100\n'
        'fairlead_compute_seconds_bucket{endpoint="x",le="+Inf"} 10\n'
        'fairlead_batch_rows_bucket{endpoint="x",le="many"} 1\n'
        'fairlead_batch_rows_bucket{endpoint="x"} many\n'
    )
    told = measured.told(text, "x", "u")
    assert told == Inside("u", (0.1, None), (None, None), (None, None), (None, None), 3.0)
    assert measured.told(text, 'a"}\\n', "u").waiting == 2


def test_a_version_and_its_share_are_told_apart() -> None:
    store = MemoryState()
    split = TrafficSplit("churn", "m", (Share("3", "champion", 90), Share("4", "candidate", 10)))
    store.put("split", "churn", to_body(split), 0)
    templates = Templates(Assets())
    facts = HomePage(Kept(store)).home(NOW)  # type: ignore[arg-type]
    told = {
        "facts": facts,
        "title": "",
        "asked": None,
        "entries": [],
        "section": "",
        "here": "",
        "twin": "",
        "token": "",
    }
    page = templates.render(
        "home.html", told | {"now_ms": NOW, "visitor": None, "asks": False, "notice": None}
    ).decode()
    shown = re.sub(r"<[^>]+>", "", page).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert "3 90 %" in shown
    assert "4 10 %" in shown


def test_pages_are_safe_whatever_a_store_holds(store: MemoryState) -> None:
    kept = Kept(store)
    for facts in (HomePage(kept).home(NOW), EndpointPage(kept).endpoint(NASTY, NOW - 86_400_000, NOW, NOW)):  # type: ignore[arg-type]
        assert not re.search(rb"NaN|Infinity", encode(facts))


def test_a_strip_is_what_its_slots_are(store: MemoryState) -> None:
    windows = [*store.windows("churn"), window("churn", NOW + 120_000, 7), window("churn", NOW - 3 * HOUR_MS, 9)]
    slots = Slots(NOW - HOUR_MS, NOW, 61)
    seen = [one for one in windows if one.arm != "shadow"]
    for one in seen:
        if (slot := slots.at(one.start_ms)) is not None:
            slot.totals.add(one)
    strip = Strip(Slots(NOW - HOUR_MS, NOW, 61), seen)
    assert strip.rates() == tuple(one.rate for one in slots.all())
    assert strip.quantiles(0.99) == tuple(one.totals.quantile(0.99) for one in slots.all())
    whole = Totals()
    for one in seen:
        whole.add(one)
    assert (strip.total.calls, strip.total.codes, strip.total.first_ms) == (whole.calls, whole.codes, whole.first_ms)
    assert strip.total.quantile(0.5) == whole.quantile(0.5)


def test_the_newest_line_of_each_is_known_though_only_what_came_is_read(store: MemoryState) -> None:
    newest, asked = Newest(), []
    read = store.entries

    def counted(kind: str, subject: str = "", **how: object) -> list[Entry]:
        found = read(kind, subject, **how)  # type: ignore[arg-type]
        asked.append(len(found))
        return found

    store.entries = counted  # type: ignore[method-assign]
    for number in range(400):
        timeline.write(store, Happening(f"e{number % 3}", "deploy", f"{number}", NOW))
    assert newest.read(store)["churn"].text == "version 3 serves"
    timeline.write(store, Happening("e1", "alias", "new", NOW))
    found = newest.read(store)
    assert (found["e1"].text, found["e0"].text, found["churn"].what) == ("new", "399", "deploy")
    assert asked[0] == 401
    assert asked[1] < 100
