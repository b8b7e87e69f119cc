"""What every sink must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", sink_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_sink(check):
        check(MySink)

A sink's exposition is its own; the checks look only at whether it changes and how it adds up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fairlead.contracts.answered import Answered
from fairlead.contracts.figures import Figure
from fairlead.contracts.generation import Generation, Usage
from fairlead.contracts.sink import Part, Sink, Streamed

Make = Callable[[], Sink]


def meters_are_made_once(make: Make) -> None:
    sink = make()
    _expect(sink.endpoint("churn", "1") is sink.endpoint("churn", "1"), "one meter a version")
    _expect(sink.endpoint("churn", "1") is not sink.endpoint("churn", "2"), "another for another version")
    _expect(sink.workers() is sink.workers(), "one meter for the workers")


def sinks_do_not_mix(make: Make) -> None:
    one, other = make(), make()
    untouched = _told(other, 0)
    _told(one, 3)
    _expect(_steady(other) == untouched, "what one sink is told, another does not show")


def rendering_twice_counts_nothing_twice(make: Make) -> None:
    sink = make()
    _expect(_told(sink, 3) == _steady(sink), "rendering changes nothing")


def merging_one_changes_no_count(make: Make) -> None:
    sink = make()
    _told(sink, 3)
    text = sink.render()[0]
    once = sink.merge([Part("0", text)])
    _expect(sink.merge([Part("", once, gone=True)]) == sink.merge([Part("0", text, gone=True)]), "merged again")


def counts_of_two_are_those_of_one_that_saw_all(make: Make) -> None:
    first, second, whole = make(), make(), make()
    _told(first, 2)
    _told(second, 5)
    _told(whole, 2)
    _told(whole, 5)
    merged = whole.merge([Part("0", first.render()[0], gone=True), Part("1", second.render()[0], gone=True)])
    _expect(merged == whole.merge([Part("0", whole.render()[0], gone=True)]), "counts are added up")


def merging_in_steps_is_merging_at_once(make: Make) -> None:
    sinks = [make() for _ in range(3)]
    for index, sink in enumerate(sinks):
        _told(sink, index + 1)
    parts = [Part(str(index), sink.render()[0], gone=True) for index, sink in enumerate(sinks)]
    merge = sinks[0].merge
    stepwise = merge([Part("", merge(parts[:2]), gone=True), parts[2]])
    _expect(stepwise == merge(parts), "the order of adding up does not matter")


def nothing_merged_is_nothing(make: Make) -> None:
    sink = make()
    _expect(sink.merge([]) == sink.merge([Part("", b"", gone=True)]) == b"", "no part, no line")


def streams_are_asked_anew_each_time(make: Make) -> None:
    sink, stands = make(), [Streamed(1, 0, 0, 0, 0, 0, 1, None, [(0.5, 0)], 0.0)]
    sink.stream("churn", "group", lambda: stands[-1])
    before = sink.render()[0]
    stands.append(Streamed(1, 1, 0, 0, 0, 0, 0, 7, [(0.5, 1)], 0.25))
    _expect(sink.render()[0] != before, "what a stream worker did since is shown")


def figures_are_asked_anew_each_time(make: Make) -> None:
    sink, count = make(), [1]
    figure = Figure("fairlead_things", "counter", "Things.", (("endpoint", "chat"),), 0.0)
    sink.figures("chat", lambda: [replace(figure, value=count[0])])
    sink.figures("other", lambda: [replace(figure, labels=(("endpoint", "other"),), value=5)])
    before = sink.render()[0]
    count[0] = 2
    after = sink.render()[0]
    _expect(after != before, "what was counted since is shown")
    twice = sink.merge([Part("0", after, gone=True), Part("1", after, gone=True)])
    _expect(twice != sink.merge([Part("0", after, gone=True)]), "and added up over processes")
    sink.figures("chat", list)
    _expect(len(sink.render()[0]) < len(after), "a later look takes the place of an earlier one")


CHECKS = (
    meters_are_made_once,
    sinks_do_not_mix,
    rendering_twice_counts_nothing_twice,
    merging_one_changes_no_count,
    counts_of_two_are_those_of_one_that_saw_all,
    merging_in_steps_is_merging_at_once,
    nothing_merged_is_nothing,
    streams_are_asked_anew_each_time,
    figures_are_asked_anew_each_time,
)


def _told(sink: Sink, calls: int) -> bytes:
    """Tell it of some calls, in numbers that add up without rounding; what it shows of them."""
    sink.ready("churn", "1", True)
    meter, chat = sink.endpoint("churn", "1"), sink.chat("chat")
    asked = Generation("1", "chat", "Hello")
    guards = sink.guards("chat")
    for _ in range(calls):
        guards.found("output", "pii", "email", "mask", 2)
        guards.looked("output", 0.25)
        guards.missed("input", "http", "late")
        chat.began()
        chat.answered(
            Answered("chat", asked, "r", "stop", False, 0.5, 1.0, 2.0, 0, 5, 0.25, Usage(input=8, cached=2, output=5))
        )
        meter.answered(0.5, 2, 0.25, 0.25)
        meter.batch(4, 2, 0.25)
        meter.failed("queue_full", 0.125)
        meter.queue(0, 0)
        meter.pressure(0.0, 0)
        meter.shed("delay", "batch")
        meter.processes(2, 1024)
        meter.replaced("crashed")
        meter.upstream("http://10.0.0.5:8000", 0, False)
        meter.upstream_asked("http://10.0.0.5:8000", "ok")
        meter.ejected("http://10.0.0.5:8000", "failures")
        meter.retry("sent")
        meter.hedge("won")
        meter.woke(0.5)
        meter.step("scaled", "ok", 0.25)
        meter.fell_back("cache", "model_failed")
        meter.breaker("open")
        meter.breaker("closed")
        sink.stalled(0.0625)
        sink.edge_error("/invocations", "not_found")
        sink.events("parquet", 2, 1)
        sink.injected("churn", "slow", 3)
        sink.degraded("events", True)
        sink.limited("churn", "key", "requests")
        sink.limited("", "tenant", "bytes")
        sink.shared_limits("alone", 3)
        sink.spent("chat", 30, 500_000_000, "USD")
        sink.spent("chat", 2, 0, "")
        sink.over_budget("chat", "money")
    return _steady(sink)


def _steady(sink: Sink) -> bytes:
    """What it shows but for what changes by itself."""
    return sink.merge([Part("0", sink.render()[0], gone=True)])


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
