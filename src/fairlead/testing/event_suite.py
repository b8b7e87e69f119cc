"""What every event store must do, whoever wrote it.

::

    @pytest.mark.parametrize("check", event_suite.CHECKS, ids=lambda check: check.__name__)
    def test_my_store(check, tmp_path):
        check(lambda: MyStore(tmp_path / secrets.token_hex(4)))

``make`` gives an empty store at each call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from fairlead.contracts.errors import InputError
from fairlead.contracts.events import Array, Columns, EventStore

Make = Callable[[], EventStore]

NOON_MS = 1_700_049_600_000
"""2023-11-15 12:00 UTC."""
HOUR_MS = 3_600_000
BASE = ["prediction_id", "row", "at_ms", "version", "arm", "propensity", "unit", "seconds", "code"]


def calls(count: int = 1, first_ms: int = NOON_MS, **given: Any) -> Columns:
    """Columns of ``count`` calls, one row and one millisecond each; ``given`` replaces fields."""
    rows = np.asarray(given.get("rows", np.ones(count, np.int64)))
    return Columns(
        **{
            "endpoint": "churn",
            "version": "1",
            "arm": "champion",
            "ids": [f"{first_ms}-{call}" for call in range(count)],
            "at_ms": first_ms + np.arange(count),
            "seconds": np.full(count, 0.25),
            "code": [""] * count,
            "rows": rows,
            "features": {"x": np.arange(rows.sum(), dtype=np.float32)},
            "outputs": {"y": np.arange(rows.sum()) * 0.5},
            **given,
        }
    )


def an_empty_store_answers(make: Make) -> None:
    store = make()
    found = store.frame("churn")
    _expect(list(found)[: len(BASE)] == BASE, "the base columns, in the contract's order")
    _expect(all(len(values) == 0 for values in found.values()), "and nothing in them")
    _equal(store.query("SELECT count(*) AS n FROM events")["n"], [0])
    _expect(store.prune("churn", NOON_MS) == 0, "nothing to drop")
    store.append([])
    store.append([calls(0)])
    _expect(len(store.frame("churn")["row"]) == 0, "no calls are no rows")
    store.close()


def what_went_in_comes_out(make: Make) -> None:
    store = make()
    first = calls(3, unit=["a", "", "c"], degraded=["", "stale", ""], propensity=0.9, weight=10.0)
    store.append([calls(2, NOON_MS + 10, version="2", arm="candidate", propensity=0.1), first])
    found = store.frame("churn")
    _equal(found["prediction_id"], [f"{NOON_MS}-{n}" for n in range(3)] + [f"{NOON_MS + 10}-{n}" for n in range(2)])
    _equal(found["at_ms"], [NOON_MS, NOON_MS + 1, NOON_MS + 2, NOON_MS + 10, NOON_MS + 11])
    _equal(found["version"], ["1"] * 3 + ["2"] * 2)
    _equal(found["arm"], ["champion"] * 3 + ["candidate"] * 2)
    _equal(found["propensity"], [0.9] * 3 + [0.1] * 2)
    _equal(found["unit"], ["a", "", "c", "", ""])
    _equal(found["degraded"], ["", "stale", "", "", ""])
    _equal(found["weight"], [10.0] * 3 + [1.0] * 2)
    _equal(found["seconds"], [0.25] * 5)
    _equal(found["in.x"], [0, 1, 2, 0, 1])
    _equal(found["out.y"], [0, 0.5, 1, 0, 0.5])
    _expect(found["in.x"].dtype == np.float32, "a type stays what it was")


def rows_of_a_call_and_calls_without_rows(make: Make) -> None:
    store = make()
    store.append(
        [
            calls(
                3,
                rows=np.array([2, 0, 1]),
                code=["", "queue_full", ""],
                features={"x": np.array([1, 2, 3], np.int64), "s": np.array(["a", None, "c"], object)},
                outputs={"v": np.arange(6.0).reshape(3, 2), "ok": np.array([True, False, True])},
            )
        ]
    )
    found = store.frame("churn")
    _equal(found["row"], [0, 1, -1, 0])
    _equal(found["code"], ["", "", "queue_full", ""])
    _equal(found["prediction_id"], [f"{NOON_MS}-{n}" for n in (0, 0, 1, 2)])
    _equal(found["in.x"], [1, 2, np.nan, 3])
    _equal(found["in.s"], ["a", None, None, "c"])
    _equal(found["out.v"], [[0.0, 1.0], [2.0, 3.0], None, [4.0, 5.0]])
    _equal(found["out.ok"], [True, False, None, True])


def time_version_and_limit_choose(make: Make) -> None:
    store = make()
    for hour in range(6):
        store.append([calls(10, NOON_MS + hour * HOUR_MS, version=str(hour % 2))])
    store.append([calls(1, NOON_MS - 20 * 24 * HOUR_MS)])
    one, two = NOON_MS + HOUR_MS, NOON_MS + 2 * HOUR_MS
    _expect(len(store.frame("churn")["row"]) == 61, "all")
    _equal(np.unique(store.frame("churn", since_ms=one, until_ms=two)["at_ms"]), list(range(one, one + 10)))
    _equal(np.unique(store.frame("churn", since_ms=one + 5, until_ms=two + 1)["at_ms"])[[0, -1]], [one + 5, two])
    _equal(np.unique(store.frame("churn", version="0")["version"]), ["0"])
    last = NOON_MS + 5 * HOUR_MS
    _equal(store.frame("churn", limit=12)["at_ms"][[0, 1, 2]], [last - HOUR_MS + 8, last - HOUR_MS + 9, last])
    _equal(store.frame("churn", limit=1, version="0")["at_ms"], [last - HOUR_MS + 9])
    _expect(len(store.frame("churn", limit=1000)["row"]) == 61, "a limit above what is there")
    _expect(len(store.frame("churn", version="9")["row"]) == 0, "a version that is not there")
    for found in (store.frame("churn", features=False), store.frame("churn", limit=12, features=False)):
        _expect(not any(name.startswith("in.") for name in found), "features were left out")
    whole = store.frame("churn")
    for name, column in store.frame("churn", features=False).items():
        _equal(column, whole[name])
    _expect(any(name.startswith("in.") for name in whole), "features are there unless they are left out")


def endpoints_do_not_mix(make: Make) -> None:
    store = make()
    names = ["a", "a/b", "..", "a'b", "a b%2F", "é=\U0001f600", "endpoint=a", 'q"']
    store.append([calls(place + 1, endpoint=name) for place, name in enumerate(names)])
    for place, name in enumerate(names):
        _expect(len(store.frame(name)["row"]) == place + 1, f"rows of {name!r}")
    found = store.query("SELECT endpoint, count(*) AS n FROM events GROUP BY endpoint")
    _expect(dict(zip(found["endpoint"], found["n"], strict=True)) == dict(zip(names, range(1, 9), strict=True)), "SQL")


def a_batch_over_midnight(make: Make) -> None:
    store = make()
    midnight = NOON_MS + 12 * HOUR_MS
    store.append([calls(4, midnight - 2, at_ms=midnight + np.array([1, -2, 0, -1]), features={}, outputs={})])
    _equal(store.frame("churn")["at_ms"] - midnight, [-2, -1, 0, 1])
    _equal(store.frame("churn", since_ms=midnight)["at_ms"] - midnight, [0, 1])


def schemas_are_read_together(make: Make) -> None:
    store = make()
    old = {"n": np.array([1, 2], np.int32), "gone": np.array(["a", "b"], object), "b": np.array([True, False])}
    new = {"n": np.array([0.5, 1.5]), "new": np.array([7, 8], np.uint8), "b": np.array([3, 4], np.int64)}
    store.append([calls(2, features=old)])
    store.append([calls(2, NOON_MS + 5, features=new, version="2")])
    found = store.frame("churn")
    _equal(found["in.n"], [1.0, 2.0, 0.5, 1.5])
    _equal(found["in.gone"], ["a", "b", None, None])
    _equal(found["in.new"], [np.nan, np.nan, 7, 8])
    _equal(found["in.b"], [1, 0, 3, 4])
    asked = store.query('SELECT sum("in.n") AS s, count("in.new") AS c FROM events')
    _expect((asked["s"][0], asked["c"][0]) == (5.0, 2), "and in SQL")
    _expect("in.new" not in store.frame("churn", version="1"), "only columns that the rows have")


def types_that_do_not_agree_become_text(make: Make) -> None:
    store = make()
    values = [
        np.array([1, 2], np.int64),
        np.array(["a", None], object),
        np.array([[1, 2], [3, 4]], np.int64),
        np.array([b"\xff", "é"], object),
    ]
    for place, value in enumerate(values):
        store.append([calls(2, NOON_MS + 10 * place, features={"x": value})])
    found = store.frame("churn")["in.x"]
    _equal(found[:6], ["1", "2", "a", None, "[1, 2]", "[3, 4]"])
    _equal(found[7:], ["é"])
    _expect(len(store.query("SELECT * FROM events")["in.x"]) == 8, "SQL reads it too")


def strings_of_every_kind(make: Make) -> None:
    store = make()
    values = ["", "a\0b", "\0", "naïve \U0001f600", None, float("nan"), "'; --", b"plain", "x" * 70_000, 5]
    kept = ["", "a\0b", "\0", "naïve \U0001f600", None, None, "'; --", "plain", "x" * 70_000, "5"]
    raw = [b"\xff\x00\xfe", "\ud800", "ok", None, b""]
    fixed = np.array(["ab", "c"])
    store.append([calls(10, features={"s": np.array(values, object)})])
    store.append([calls(5, NOON_MS + 10, features={"s": np.array(raw, object)}, version="2")])
    store.append([calls(2, NOON_MS + 20, features={"s": fixed}, version="3")])
    store.append([calls(1, NOON_MS + 30, features={"s": np.array([["a", "b\0"]], object)}, version="4")])
    _equal(store.frame("churn", version="1")["in.s"], kept)
    _equal(store.frame("churn", version="2")["in.s"], [b"\xff\x00\xfe", b"\xed\xa0\x80", "ok", None, ""])
    _equal(store.frame("churn", version="3")["in.s"], ["ab", "c"])
    _equal(store.frame("churn", version="4")["in.s"], [["a", "b\0"]])
    _equal(store.frame("churn", until_ms=NOON_MS + 15)["in.s"][:10], kept)
    asked = store.query("SELECT count(*) AS n FROM events WHERE \"in.s\" = 'naïve \U0001f600'")
    _equal(asked["n"], [1])


def numbers_of_every_kind(make: Make) -> None:
    store = make()
    features: dict[str, Array] = {"b": np.array([True, False, True])}
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
        limits = np.iinfo(code)
        features[code] = np.array([limits.min, limits.max, 1], code)
    for code in ("f2", "f4", "f8"):
        features[code] = np.array([np.nan, -np.inf, np.finfo(code).max], code)
    features["big"] = np.array([1, 2, 3], ">i4")
    features["strided"] = np.arange(12, dtype=np.float64)[::4]
    store.append([calls(3, features=features)])
    found = store.frame("churn")
    for name, array in features.items():
        _equal(found[f"in.{name}"], array)
    _expect(found["in.u8"].dtype == np.uint64, "64 bits are kept")
    store.append([calls(1, NOON_MS + 9, code=["model_failed"], rows=np.array([0]), features={}, outputs={})])
    late = store.frame("churn")
    _equal(late["in.i8"], [*features["i8"].tolist(), None])
    _equal(late["in.i4"], [*features["i4"].tolist(), np.nan])
    _expect(late["in.i4"].dtype == np.float64, "a gap in small integers is NaN")


def tensors_are_lists(make: Make) -> None:
    store = make()
    image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    features = {"image": image, "one": np.array([[1.5], [2.5]]), "none": np.zeros((2, 0))}
    store.append([calls(2, features=features)])
    store.append([calls(1, NOON_MS + 5, features={"image": np.ones((1, 2, 2))})])
    found = store.frame("churn")
    _equal(found["in.image"], [*image.tolist(), [[1.0, 1.0], [1.0, 1.0]]])
    _equal(found["in.one"], [1.5, 2.5, np.nan])
    _equal(found["in.none"], [[], [], None])
    _expect(isinstance(found["in.image"][0], list), "a list, and no array")


def more_columns(make: Make) -> None:
    store = make()
    more = {
        "cost": [0.5, None, 2],
        "event_time_ms": [NOON_MS, None, 5],
        "code": ["x"] * 3,
    }
    store.append([calls(3, more={**more, "nothing": [None] * 3})])
    few = {"rows": np.array([0, 2]), "entity": ["k1", None], "more": {"cost": [8, 7]}}
    store.append([calls(2, NOON_MS + 5, version="2", **few)])
    found = store.frame("churn")
    _equal(found["cost"], [0.5, np.nan, 2, 8, 7, 7])
    _equal(found["entity"], [None, None, None, None, "k1", None])
    _equal(found["event_time_ms"], [NOON_MS, np.nan, 5, np.nan, np.nan, np.nan])
    _equal(found["code"], [""] * 6)
    _equal(found["more.code"], ["x", "x", "x", None, None, None])


def names_that_sql_finds_hard(make: Make) -> None:
    store = make()
    names = ["Age", "age", 'a"b', "select", "x y", "é", ""]
    store.append([calls(1, features={name: np.array([float(place)]) for place, name in enumerate(names)})])
    found = store.frame("churn")
    for place, name in enumerate(names):
        _equal(found[f"in.{name}"], [float(place)])
    asked = store.query('SELECT "in.Age" AS a, "in.age_2" AS b, "in.a""b" AS c FROM events')
    _expect([asked[name][0] for name in "abc"] == [0.0, 1.0, 2.0], "each by its name")


def arrays_are_not_kept(make: Make) -> None:
    store = make()
    array, at_ms = np.array([1.0, 2.0]), np.array([NOON_MS, NOON_MS])
    store.append([calls(2, features={"x": array}, at_ms=at_ms)])
    array[:] = -1
    at_ms[:] = 0
    _equal(store.frame("churn")["in.x"], [1.0, 2.0])
    _equal(store.frame("churn")["at_ms"], [NOON_MS, NOON_MS])


def columns_of_unequal_length_are_refused_whole(make: Make) -> None:
    store = make()
    for wrong in (
        calls(2, features={"x": np.zeros(3)}),
        calls(2, outputs={"y": np.float64(1)}),
        calls(2, seconds=np.zeros(1)),
        calls(2, unit=["a"]),
        calls(2, more={"cost": [1.0]}),
    ):
        _refused(partial(store.append, [calls(1), wrong]))
    _expect(len(store.frame("churn")["row"]) == 0, "nothing of the batch is kept")


def sql_reads_and_does_nothing_else(make: Make) -> None:
    store = make()
    store.append([calls(4, NOON_MS), calls(2, NOON_MS + 100, version="2")])
    asked = (
        "WITH e AS (SELECT * FROM events) SELECT version, count(*) AS n, avg(seconds) AS s FROM e GROUP BY 1 ORDER BY 1"
    )
    found = store.query(asked)
    _equal(found["version"], ["1", "2"])
    _equal(found["n"], [4, 2])
    _equal(found["s"], [0.25, 0.25])
    for wrong in (
        "DELETE FROM events",
        "DROP VIEW events",
        "CREATE TABLE t (a int)",
        "INSERT INTO events (version) VALUES ('3')",
        "UPDATE events SET version = '3'",
        "ATTACH '/tmp/fairlead-not-there.db' AS other",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM events",
        "SELEC 1",
        "",
    ):
        _refused(partial(store.query, wrong))
    _equal(store.query("SELECT count(*) AS n FROM events")["n"], [6])


def old_events_go(make: Make) -> None:
    store = make()
    for day in range(4):
        store.append([calls(5, NOON_MS + day * 24 * HOUR_MS), calls(1, NOON_MS, endpoint="other")])
    border = NOON_MS + 2 * 24 * HOUR_MS
    _expect(store.prune("churn", border) >= 2, "files that are older")
    _equal(np.unique(store.frame("churn")["at_ms"])[[0, -1]], [border, border + 24 * HOUR_MS + 4])
    _expect(len(store.frame("churn")["row"]) == 10, "what is younger stays")
    _expect(len(store.frame("other")["row"]) == 4, "of other endpoints too")
    _expect(store.prune("churn", border) == 0, "once")
    _expect(store.prune("not there", border) == 0, "an endpoint without events")


def a_reader_sees_whole_batches(make: Make) -> None:
    store = make()
    stop = threading.Event()
    broken: list[int] = []

    def read() -> None:
        while not stop.is_set():
            found = len(store.frame("churn")["row"])
            if found % 50:
                broken.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(40):
            store.append([calls(30, NOON_MS + turn), calls(20, NOON_MS + turn)])
    finally:
        stop.set()
        reader.join()
    _expect(not broken, f"rows seen: {broken}")
    _expect(len(store.frame("churn")["row"]) == 2000, "all of them at the end")


CHECKS = (
    an_empty_store_answers,
    what_went_in_comes_out,
    rows_of_a_call_and_calls_without_rows,
    time_version_and_limit_choose,
    endpoints_do_not_mix,
    a_batch_over_midnight,
    schemas_are_read_together,
    types_that_do_not_agree_become_text,
    strings_of_every_kind,
    numbers_of_every_kind,
    tensors_are_lists,
    more_columns,
    names_that_sql_finds_hard,
    arrays_are_not_kept,
    columns_of_unequal_length_are_refused_whole,
    sql_reads_and_does_nothing_else,
    old_events_go,
    a_reader_sees_whole_batches,
)


def same(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> bool:
    """Whether two frames have the same columns with the same values in the same order; NaN equals NaN."""
    return list(found) == list(wanted) and all(_alike(found[name], wanted[name]) for name in found)


def _alike(found: Any, wanted: Any) -> bool:
    one, other = np.asarray(found).tolist(), list(wanted)
    other = [value.item() if isinstance(value, np.generic) else value for value in other]
    return len(one) == len(other) and all(
        (a == b and isinstance(a, str) == isinstance(b, str)) or (a != a and b != b)  # noqa: PLR0124 - NaN
        for a, b in zip(one, other, strict=True)
    )


def _equal(found: Any, wanted: Any) -> None:
    _expect(_alike(found, wanted), f"{found!r} is not {wanted!r}")


def _refused(act: Callable[[], object]) -> None:
    try:
        act()
    except InputError:
        return
    raise AssertionError("it was not refused")


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
