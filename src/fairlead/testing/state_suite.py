"""What every state store must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", state_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_store(check):
        check(state_suite.Place(lambda: MyState(url), time.sleep))

Checks use fresh names, so one database may serve all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from fairlead.contracts.errors import Conflict, InvalidParameter, LeaseLost, UsageError
from fairlead.contracts.events import Accepted, Label, Window
from fairlead.contracts.state import Hour, KnownLabel, Lease, StateStore, Tally
from fairlead.testing import document_suite
from fairlead.testing.document_suite import Place, expect, fresh, raises

_LEASE = 0.3
"""Seconds, where a check waits for a lease to expire."""


def a_journal_keeps_order(place: Place) -> None:
    store, kind = place.open(), fresh()
    added = [store.append(kind, f"s{i % 2}", {"i": i}) for i in range(6)]
    numbers = [entry.number for entry in added]
    expect(numbers == sorted(set(numbers)) and numbers[0] > 0, "numbers grow")
    other = store.append(kind + "-other", "s0", {})
    expect(other.number > numbers[-1], "numbers grow over all journals")
    read = place.open()
    expect(read.entries(kind) == added, "no subject means every subject, oldest first")
    expect(read.entries(kind, "s1") == added[1::2], "a subject's own")
    expect(read.entries(kind, after=numbers[2]) == added[3:], "after a number")
    expect(read.entries(kind, limit=2) == added[-2:], "limit gives the newest, oldest first")
    expect(read.entries(kind, "s0", after=numbers[0], limit=9) == added[2::2], "all filters hold at once")
    expect(read.entries(kind, after=numbers[-1]) == [], "nothing after the last")
    place.wait(0.01)
    late = store.append(kind, "s0", {})
    expect(late.at_ms > added[-1].at_ms and read.entries(kind, since_ms=late.at_ms) == [late], "since a time")


def a_journal_is_read_by_range(place: Place) -> None:
    store, kind = place.open(), fresh()
    added = []
    for i in range(8):
        added.append(store.append(kind, f"s{i % 2}", {"i": i}))
        place.wait(0.01)
    at = [entry.at_ms for entry in added]
    expect(at == sorted(set(at)), "each has its time")
    read = place.open()
    expect(read.entries(kind, since_ms=at[2], until_ms=at[5]) == added[2:5], "since is included, until is not")
    expect(read.entries(kind, until_ms=at[2]) == added[:2], "all before a time")
    expect(read.entries(kind, until_ms=at[-1] + 1) == added, "all up to now")
    expect(read.entries(kind, until_ms=at[6], limit=2) == added[4:6], "the newest of the range, oldest first")
    expect(read.entries(kind, "s1", since_ms=at[1], until_ms=at[7], limit=2) == added[3:6:2], "a subject's own")
    expect(read.entries(kind, "s0", after=added[0].number, until_ms=at[5]) == added[2:5:2], "after a number as well")
    for since, until in ((0, 0), (at[3], at[3]), (at[5], at[2])):
        expect(read.entries(kind, since_ms=since, until_ms=until) == [], "nothing lies in an empty range")


def a_reader_of_a_journal_misses_nothing(place: Place) -> None:
    """A number that is seen is never followed by a lower one."""
    kind, store = fresh(), place.open()

    def write(subject: int) -> None:
        for i in range(10):
            store.append(kind, str(subject), {"i": i})

    seen: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, subject) for subject in range(4)]
        while True:
            ended = all(one.done() for one in writing)
            seen += [entry.number for entry in store.entries(kind, after=seen[-1] if seen else 0)]
            if ended:
                break
        for one in writing:
            one.result()
    expect(seen == [entry.number for entry in store.entries(kind)] and len(seen) == 40, "read in steps is read whole")


def windows_take_the_place_of_earlier_ones(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    first = [_window(endpoint, worker=f"w{i}") for i in range(3)]
    store.put_windows(first)
    grown = [replace(one, calls=99, codes={}, latency=b"", columns={"x": b"2"}, reference="r2") for one in first[:2]]
    grown.append(_window(endpoint, worker="w9"))
    store.put_windows([first[0], *grown])
    expect(place.open().windows(endpoint) == [*grown[:2], first[2], grown[2]], "the last put of a window is kept")
    store.put_windows([])
    expect(len(store.windows(endpoint)) == 4, "no windows change nothing")


def windows_are_told_apart(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    one = _window(endpoint)
    others = [
        replace(one, version="2"),
        replace(one, arm="shadow"),
        replace(one, worker="w1"),
        replace(one, start_ms=2000),
        _window(endpoint + "-other"),
    ]
    store.put_windows([one, *others])
    expect(len(store.windows(endpoint)) == 5, "endpoint, version, arm, worker and start tell windows apart")
    expect(store.windows(endpoint, version="2") == [others[0]], "one version")
    expect(store.windows(endpoint, since_ms=1001) == [others[3]], "since a start")
    expect(others[3] not in store.windows(endpoint, until_ms=2000), "until is not included")
    expect(store.windows(endpoint, since_ms=2000, until_ms=2001) == [others[3]], "since is included")
    light = [replace(one, columns={}) for one in store.windows(endpoint)]
    expect(store.windows(endpoint, columns=False) == light, "all of them without their histograms")
    expect(store.windows("no-" + endpoint) == [], "an endpoint without windows has none")
    named = [name for name in store.endpoints() if name.startswith(endpoint)]
    expect(named == [endpoint, endpoint + "-other"], "endpoints that have windows, by name, each once")


def windows_are_tallied(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    one = _window(endpoint)
    far = replace(one, start_ms=9_999, calls=2**40, rows=2**41)
    store.put_windows([one, replace(one, worker="w1", calls=8), replace(one, version="2", start_ms=1_999), far])
    told = store.tallies(endpoint, since_ms=0, until_ms=20_000, unit_ms=1000)
    expect(told == {1000: Tally(3, 20, 21), 9000: Tally(1, 2**40, 2**41)}, "windows, calls and rows of each part")
    some = store.tallies(endpoint, since_ms=1_000, until_ms=1_999, unit_ms=1000)
    expect(some == {1000: Tally(2, 14, 14)}, "since is included, until is not")
    expect(store.tallies("no-" + endpoint, since_ms=0, until_ms=20_000, unit_ms=10) == {}, "nothing has no parts")


def old_windows_go(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    windows = [_window(endpoint, start_ms=start) for start in (1, 2, 3, 4)]
    store.put_windows(windows)
    expect(store.prune_windows(3) >= 2, "it says how many went")
    expect(store.windows(endpoint) == windows[2:], "those that start before it are gone, and no other")
    expect(store.prune_windows(3) == 0, "nothing is left to go")


def hours_are_kept(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    shadow = replace(_window(endpoint), arm="shadow", pairs={"shift": -0.1, "calls": 2.0**53}, reference="")
    first = Hour(0, Tally(2, 2**40, 2**41), (_window(endpoint), shadow))
    hours = [first, Hour(2000, Tally(1, 6, 7), (_window(endpoint, start_ms=2000),)), Hour(9000, Tally(0, 0, 0), ())]
    store.put_hours(endpoint, hours)
    store.put_hours(endpoint + "-other", hours[1:2])
    store.put_hours(endpoint, [])
    read = place.open()
    expect(read.hours(endpoint, since_ms=0, until_ms=9_999) == hours, "what was kept, oldest first")
    expect(read.hours(endpoint, since_ms=1, until_ms=9_000) == hours[1:2], "since is included, until is not")
    (light,) = read.hours(endpoint, since_ms=0, until_ms=1, columns=False)
    bare = tuple(replace(one, columns={}) for one in first.windows)
    expect(light == replace(first, windows=bare), "the same without their histograms")
    expect(read.windows(endpoint) == [] and endpoint not in read.endpoints(), "windows are what was put as such")
    again = replace(first, tally=Tally(3, 9, 9), windows=first.windows[:1])
    store.put_hours(endpoint, [again])
    expect(read.hours(endpoint, since_ms=0, until_ms=9_999) == [again, *hours[1:]], "in the place of an earlier one")
    store.put_hours(endpoint, [first, again, first])
    expect(read.hours(endpoint, since_ms=0, until_ms=1) == [first], "of several with one start the last")


def hours_go_with_their_windows(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    store.put_hours(
        endpoint, [Hour(start, Tally(1, 6, 7), (_window(endpoint, start_ms=start),)) for start in (1, 2, 3)]
    )
    expect(store.prune_windows(2) == 0, "how many windows went")
    expect([one.start_ms for one in store.hours(endpoint, since_ms=0, until_ms=9)] == [2, 3], "those that start before")


def only_the_holder_keeps_hours(place: Place) -> None:
    store, endpoint, name = place.open(), fresh(), fresh()
    lease = _held(store.acquire(name, "me", 60))
    hour = Hour(1000, Tally(1, 6, 7), (_window(endpoint),))
    store.put_hours(endpoint, [hour], fence=lease)
    for stale in (replace(lease, token=2), replace(lease, owner="you")):
        raises(LeaseLost, partial(store.put_hours, endpoint, [replace(hour, windows=())], fence=stale))
    expect(store.hours(endpoint, since_ms=0, until_ms=9_999) == [hour], "what was refused changed nothing")


def labels_are_new_once(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    one = Label(endpoint, "p1", 1.0, 100)
    others = [replace(one, row=1), replace(one, by_key=True), replace(one, key="p2", value="yes", at_ms=50)]
    far = Label(endpoint + "-other", "p1", 3, 70)
    expect(store.label([one, *others, one, far]) == Accepted(new=5, same=1), "key, row and by_key tell labels apart")
    expect(store.label([one, *others, far]) == Accepted(same=5), "the same again changes nothing")
    expect(store.label([replace(one, at_ms=999)]) == Accepted(same=1), "the same value later changes nothing")
    expect(store.label([]) == Accepted(), "no labels change nothing")
    found = place.open().labels(endpoint)
    expect(found == [KnownLabel(label) for label in (others[2], one, others[0], others[1])], "by time, then arrival")
    expect(store.labels(far.endpoint) == [KnownLabel(replace(far, value=3.0))], "numbers are floats")
    expect(store.labels("no-" + endpoint) == [], "an endpoint without labels has none")


def corrections_keep_the_history(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    values: list[tuple[int, float | str]] = [(100, 0.0), (200, 1.0), (300, "void"), (400, 0.0)]
    steps = [Label(endpoint, "p", value, at_ms) for at_ms, value in values]
    for step in steps:
        store.label([step])
    known = KnownLabel(steps[-1], tuple(values[:-1]))
    expect(store.labels(endpoint) == [known], "the last value, and those before it")
    expect(store.label(steps) == Accepted(same=4), "labels and corrections loaded again change nothing")
    expect(store.labels(endpoint) == [known], "and the history stays")
    at_once = [replace(step, key="q") for step in steps]
    expect(store.label(at_once) == Accepted(new=1, corrected=3), "corrections may come in the batch of their label")
    expect(store.labels(endpoint, keys=["q"]) == [KnownLabel(at_once[-1], known.changes)], "with the same outcome")


def labels_may_come_in_any_order(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    values: list[tuple[int, float | str]] = [(100, 0.0), (200, 1.0), (300, 2.0)]
    for key, order in {"a": (2, 0, 1), "b": (1, 2, 0), "c": (2, 1, 0)}.items():
        for i in order:
            store.label([Label(endpoint, key, values[i][1], values[i][0])])
        found = store.labels(endpoint, keys=[key])
        expect(found == [KnownLabel(Label(endpoint, key, 2.0, 300), tuple(values[:2]))], "time decides, not arrival")
    tied = [Label(endpoint, "t", value, 500) for value in (1.0, 2.0, 3.0)]
    for one in (*tied, *tied):
        store.label([one])
    known = KnownLabel(tied[2], ((500, 1.0), (500, 2.0)))
    expect(store.labels(endpoint, keys=["t"]) == [known], "of one time, the first that came last")


def labels_are_read_by_time_and_key(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    store.label([Label(endpoint, f"p{i}", 0.0, 100 * i) for i in range(5)])
    store.label([Label(endpoint, "p1", 1.0, 250)])

    def keys(**filters: int | None) -> list[str]:
        return [known.label.key for known in store.labels(endpoint, **filters)]  # type: ignore[arg-type]

    expect(keys() == ["p0", "p2", "p1", "p3", "p4"], "by when they last became known or were corrected")
    expect(keys(since_ms=200, until_ms=300) == ["p2", "p1"], "a correction counts, since is included, until not")
    expect(keys(since_ms=100, until_ms=200) == ["p1"], "so does what was corrected later")
    expect(keys(since_ms=251) == ["p3", "p4"], "and what changed before does not")
    some = store.labels(endpoint, since_ms=100, until_ms=301, keys=["p1", "p3", "p4", "p3", "none"])
    expect([known.label.key for known in some] == ["p1", "p3"], "keys and times hold at once")
    expect(some[0].changes == ((100, 0.0),), "the history is whole, whatever time was asked for")
    for limit, of in ((2, ()), (1, ("p1", "p3")), (99, ("p1", "p3"))):
        few, every = (store.labels(endpoint, since_ms=100, keys=of, limit=most) for most in (limit, 0))
        expect(len(few) == min(limit, len(every)) and all(one in every for one in few), "no more than the limit")


def a_bad_label_is_refused_with_its_batch(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    good = Label(endpoint, "p", 1.0, 1)
    bad = [
        *(replace(good, value=value) for value in (float("nan"), float("-inf"), 10**400, "nul\0", "\ud800")),
        replace(good, key="nul\0"),
        replace(good, endpoint="\udfff"),
        *(replace(good, at_ms=at_ms) for at_ms in (-1, 1 << 63)),
        *(replace(good, row=row) for row in (-1, 1 << 31)),
    ]
    for one in bad:
        raises(InvalidParameter, partial(store.label, [good, one]))
    expect(store.labels(endpoint) == [], "nothing of the batch was kept")


def many_labels_are_kept_at_once(place: Place) -> None:
    store, endpoint = place.open(), fresh()
    count = 12_000
    labels = [Label(endpoint, f"p{i}", float(i % 2), i) for i in range(count)]
    expect(store.label(labels) == Accepted(new=count), "every one is new")
    changed = [replace(one, value=2.0, at_ms=count + one.at_ms) for one in labels[:6_001]]
    expect(store.label([*labels, *changed]) == Accepted(same=count, corrected=6_001), "every correction counts")
    found = store.labels(endpoint, keys=[one.key for one in labels])
    expect([one.label for one in found] == [*labels[6_001:], *changed], "every one is read")
    expect(all(len(one.changes) == (one.label.at_ms >= count) for one in found), "with its history")


def one_owner_holds_a_lease(place: Place) -> None:
    store, other, name = place.open(), place.open(), fresh()
    mine = _held(store.acquire(name, "me", 60))
    expect((mine.name, mine.owner, mine.token) == (name, "me", 1), "the first token is 1")
    expect(other.acquire(name, "you", 60) is None, "None while another holds it")
    expect(other.holder(name) == mine, "anybody may ask who holds it")
    expect(other.holder(fresh()) is None, "nobody holds what nobody took")
    again = _held(other.acquire(name, "me", 120))
    expect(again.token == 1 and again.expires_ms > mine.expires_ms, "one's own is extended, with its token")
    expect(_held(other.acquire(fresh(), "you", 60)).token == 1, "names are apart")
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        raises(UsageError, partial(store.acquire, name, "me", seconds))


def tokens_grow_after_release_and_expiry(place: Place) -> None:
    store, name = place.open(), fresh()
    first = _held(store.acquire(name, "me", 60))
    store.release(first)
    expect(store.holder(name) is None, "nobody holds a released lease")
    second = _held(store.acquire(name, "you", _LEASE))
    expect(second.token == 2, "a released lease is free, and its token is not given again")
    store.release(first)
    expect(store.acquire(name, "me", 60) is None, "releasing what was lost changes nothing")
    place.wait(_LEASE + 0.05)
    third = _held(store.acquire(name, "me", _LEASE))
    expect(third.token == 3, "an expired lease is free")
    place.wait(_LEASE + 0.05)
    expect(_held(store.acquire(name, "me", 60)).token == 4, "one's own that expired is a new one")
    store.release(Lease("no-" + name, "me", 1, 0))


def a_fence_lets_only_the_holder_write(place: Place) -> None:
    store, name, kind = place.open(), fresh(), fresh()
    old = _held(store.acquire(name, "me", _LEASE))
    store.put(kind, "a", {"by": "me"}, 0, fence=old)
    store.append(kind, "a", {"by": "me"}, fence=old)
    place.wait(_LEASE + 0.05)
    stale = [old, replace(old, token=2), replace(old, owner="you"), replace(old, name="no-" + name)]
    _refused(store, kind, stale)  # expired, and nobody has it yet
    new = _held(store.acquire(name, "you", 60))
    _refused(store, kind, [*stale, replace(new, token=3), replace(new, owner="me")])
    store.put(kind, "a", {"by": "you"}, 1, fence=new)
    raises(Conflict, lambda: store.put(kind, "a", {}, 1, fence=new))
    store.release(new)
    _refused(store, kind, [new])
    found = store.get(kind, "a")
    expect(found is not None and found.revision == 2, "what was refused changed nothing")
    expect(len(store.entries(kind)) == 1, "and added nothing")


def one_of_many_threads_takes_a_lease(place: Place) -> None:
    store, name = place.open(), fresh()
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda i: store.acquire(name, str(i), 60), range(8)))
    expect([one.token for one in got if one] == [1], "one has it, with the first token")


def a_closed_store_leaves_what_it_kept(place: Place) -> None:
    store, kind = place.open(), fresh()
    kept = store.put(kind, "a", {}, 0)
    store.close()
    store.close()
    expect(place.open().get(kind, "a") == kept, "closing twice is closing once, and loses nothing")


CHECKS: tuple[Callable[[Place], None], ...] = (
    *document_suite.CHECKS,
    a_journal_keeps_order,
    a_journal_is_read_by_range,
    a_reader_of_a_journal_misses_nothing,
    windows_take_the_place_of_earlier_ones,
    windows_are_told_apart,
    windows_are_tallied,
    old_windows_go,
    hours_are_kept,
    hours_go_with_their_windows,
    only_the_holder_keeps_hours,
    labels_are_new_once,
    corrections_keep_the_history,
    labels_may_come_in_any_order,
    labels_are_read_by_time_and_key,
    a_bad_label_is_refused_with_its_batch,
    many_labels_are_kept_at_once,
    one_owner_holds_a_lease,
    tokens_grow_after_release_and_expiry,
    a_fence_lets_only_the_holder_write,
    one_of_many_threads_takes_a_lease,
    a_closed_store_leaves_what_it_kept,
)


def _window(endpoint: str, *, worker: str = "w0", start_ms: int = 1000) -> Window:
    codes = {"ok": 5, "queue_full": 1}
    columns = {"in.age": bytes(range(256)), "out.é": b""}
    return Window(
        endpoint, "1", "champion", worker, start_ms, 1000, 6, 7, codes, b"\0\1", columns, {"flips": 2.0}, "r1"
    )


def _refused(store: StateStore, kind: str, fences: list[Lease]) -> None:
    for fence in fences:
        raises(LeaseLost, partial(store.remove, kind, "a", 1, fence=fence))
        raises(LeaseLost, partial(store.put, kind, "a", {"by": "nobody"}, 1, fence=fence))
        raises(LeaseLost, partial(store.append, kind, "a", {"by": "nobody"}, fence=fence))


def _held(lease: Lease | None) -> Lease:
    if lease is None:
        raise AssertionError("this does not hold: a free lease can be taken")
    return lease
