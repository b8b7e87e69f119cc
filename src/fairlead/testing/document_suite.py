"""What every state store must do with documents: the first part of ``state_suite``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from fairlead.contracts.errors import Conflict, FairleadError, StateError
from fairlead.contracts.state import Document, StateStore


@dataclass(frozen=True, slots=True)
class Place:
    """``open``: one more store on the same database.  ``wait``: let so many seconds pass for that database's clock."""

    open: Callable[[], StateStore]
    wait: Callable[[float], None]


def documents_count_their_revisions(place: Place) -> None:
    store, kind = place.open(), fresh()
    body = {"text": "é\n\0'\"", "list": [1, 2.5, None, True, {"deep": []}], "big": 2**53}
    expect(store.get(kind, "a") is None, "what is not there is None")
    first = store.put(kind, "a", body, 0)
    expect(first.revision == 1 and first.body == body and first.at_ms > 0, "the first revision is 1")
    body["list"] = "changed after it was put"
    expect(place.open().get(kind, "a") == first, "another store reads what was put, and nothing later")
    second = store.put(kind, "a", {}, 1)
    expect(second.revision == 2 and second.body == {}, "a change counts one up")
    expect(store.get(kind, "a") == second, "the last revision is read")


def documents_are_told_apart_and_come_by_key(place: Place) -> None:
    store, kind = place.open(), fresh()
    keys = ["b/2", "B", "a", "é", "b", "_", "b 1", ""]
    for key in keys:
        store.put(kind, key, {"key": key}, 0)
    store.put(kind + "-other", "a", {}, 0)
    expect([one.key for one in store.all(kind)] == sorted(keys), "all() is by key, by code point")
    expect(all(one.body == {"key": one.key} for one in store.all(kind)), "each has its own body")
    expect(store.all("no-" + kind) == [], "a kind without documents has none")


def a_lost_compare_and_set_changes_nothing(place: Place) -> None:
    store, kind = place.open(), fresh()
    for revision in (1, 7):
        raises(Conflict, partial(store.put, kind, "a", {}, revision))
    expect(store.get(kind, "a") is None, "a revision of what is not there makes nothing")
    kept = store.put(kind, "a", {"by": 1}, 0)
    for revision in (0, 2):
        raises(Conflict, partial(store.put, kind, "a", {"by": 2}, revision))
    expect(store.get(kind, "a") == kept, "the loser changed nothing")


def counting_from_many_threads_loses_nothing(place: Place) -> None:
    store, kind = place.open(), fresh()
    store.put(kind, "count", {"n": 0}, 0)

    def count_up(_: int) -> None:
        while True:
            found = store.get(kind, "count") or Document(kind, "count", 0, {"n": 0}, 0)
            try:
                store.put(kind, "count", {"n": found.body["n"] + 1}, found.revision)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_up, range(20)))
    found = store.get(kind, "count")
    expect(found is not None and (found.body["n"], found.revision) == (20, 21), "every increment is there once")


def what_is_not_json_is_refused(place: Place) -> None:
    store, kind = place.open(), fresh()
    for bad in (float("nan"), float("inf"), object(), {1, 2}):
        raises(StateError, partial(store.put, kind, "a", {"bad": bad}, 0))
        raises(StateError, partial(store.append, kind, "a", {"bad": bad}))
    for name in ("nul\0", "half \ud800"):
        raises(StateError, partial(store.put, kind, name, {}, 0))
        raises(StateError, partial(store.append, name, "a", {}))
        raises(StateError, partial(store.acquire, name, "me", 1.0))
    expect(store.all(kind) == [] and store.entries(kind) == [], "nothing was kept")


def what_was_removed_is_not_there(place: Place) -> None:
    store, kind = place.open(), fresh()
    store.put(kind, "a", {}, 0)
    kept = store.put(kind, "b", {}, 0)
    for revision in (0, 2):
        raises(Conflict, partial(store.remove, kind, "a", revision))
    raises(Conflict, partial(store.remove, kind, "c", 1))
    expect(store.get(kind, "a") is not None, "another revision than the present one removes nothing")
    store.remove(kind, "a", 1)
    expect(place.open().all(kind) == [kept], "it is gone for every store, and only it")
    raises(Conflict, partial(store.put, kind, "a", {}, 1))
    expect(store.put(kind, "a", {}, 0).revision == 1, "it can be put anew, and begins at 1")


CHECKS: tuple[Callable[[Place], None], ...] = (
    documents_count_their_revisions,
    documents_are_told_apart_and_come_by_key,
    a_lost_compare_and_set_changes_nothing,
    counting_from_many_threads_loses_nothing,
    what_is_not_json_is_refused,
    what_was_removed_is_not_there,
)


def fresh() -> str:
    return f"n-{secrets.token_hex(4)}"


def expect(holds: bool, rule: str) -> None:
    if not holds:
        raise AssertionError(f"this does not hold: {rule}")


def raises(kind: type[FairleadError], act: Callable[[], object]) -> None:
    try:
        act()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was expected and nothing was raised")
