"""The detector: what it finds, what it leaves alone, and that it keeps its promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.unit.monitor.streams import window

from fairlead.contracts.errors import StateError, UsageError
from fairlead.contracts.types import Tensors
from fairlead.monitor.binning import Reference
from fairlead.monitor.drift import Detector
from fairlead.monitor.findings import Contract, Finding
from fairlead.monitor.reference import HOUR_MS, WEEK_MS, reference

HOURS, ROWS = 336, 100


def rows(rng: np.random.Generator, n: int = ROWS, shift: float = 0.0) -> Tensors:
    return {
        "x": rng.normal(shift, 1, (n, 1)).astype(np.float32),
        "y": rng.exponential(size=n),
        "c": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]).astype(object),
        "k": np.full(n, 3.0),
        "m": np.where(rng.random(n) < 0.02, np.nan, rng.normal(size=n)),
    }


@pytest.fixture
def described(rng: np.random.Generator) -> Reference:
    features = rows(rng, HOURS * ROWS)
    times = np.arange(HOURS * ROWS) // ROWS * HOUR_MS
    weights = {"y": 0.5, "x": 0.1}
    return reference(features, {"p": rng.random(HOURS * ROWS)}, times_ms=times, importance=weights)


def seen(described: Reference, features: Tensors, rng: np.random.Generator) -> list[Finding]:
    n = len(features["c"])
    return Detector(described).update(window(described, features, {"p": rng.random(n)}))


def alarming(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(one.column, one.kind) for one in findings if one.alarm}


def test_nothing_happened(described: Reference, rng: np.random.Generator) -> None:
    detector = Detector(described)
    for hour in range(40):
        assert not alarming(detector.update(window(described, rows(rng), {"p": rng.random(ROWS)}, hour)))


def test_small_windows_have_large_psi_and_no_alarm(described: Reference, rng: np.random.Generator) -> None:
    detector = Detector(described, Contract(least_rows=20))
    sizes = []
    for hour in range(20):
        found = detector.measure(window(described, rows(rng, 25), {"p": rng.random(25)}, hour))
        assert not alarming(found)
        sizes += [one for one in found if (one.column, one.kind) == ("in.y", "psi")]
    assert max(one.size for one in sizes) > 0.25  # "large" by the usual threshold, and nothing but noise
    assert sizes[0].band > 0.25


def test_a_shift_is_found_and_named(described: Reference, rng: np.random.Generator) -> None:
    found = seen(described, rows(rng, shift=1.0), rng)
    assert {("in.x", "psi"), ("in.x", "ks"), ("*", "overall")} <= alarming(found)
    assert {column for column, _ in alarming(found)} == {"in.x", "*"}
    psi = next(one for one in found if (one.column, one.kind) == ("in.x", "psi"))
    assert psi.size > psi.large == 0.25
    assert psi.p < 1e-6
    assert psi.band < psi.size
    assert psi.importance == 0.1
    assert "PSI" in psi.text


def test_prediction_drift(described: Reference, rng: np.random.Generator) -> None:
    found = Detector(described).update(window(described, rows(rng), {"p": rng.random(ROWS) ** 3}))
    assert {one.column for one in found if one.alarm and one.output} == {"out.p"}


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("x", np.full((ROWS, 1), np.nan, np.float32), ("in.x", "missing")),
        ("x", np.full((ROWS, 1), np.inf, np.float32), ("in.x", "psi")),
        ("y", np.full(ROWS, -np.inf), ("in.y", "ks")),
        ("y", np.array(["?"] * ROWS, object), ("in.y", "type")),
        ("c", np.array(["z"] * 20 + ["a"] * (ROWS - 20), object), ("in.c", "new")),
        ("c", np.arange(ROWS), ("in.c", "type")),
        ("c", np.array([None] * ROWS, object), ("in.c", "missing")),
        ("k", np.full(ROWS, 3.5), ("in.k", "psi")),
        ("k", np.full(ROWS, np.nan), ("in.k", "missing")),
        ("m", np.where(np.arange(ROWS) < 30, np.nan, 0.1), ("in.m", "missing")),
    ],
)
def test_what_else_is_found(
    described: Reference, rng: np.random.Generator, name: str, column: np.ndarray, expected: tuple[str, str]
) -> None:
    found = alarming(seen(described, {**rows(rng), name: column}, rng))
    assert expected in found
    assert {found_column for found_column, _ in found} == {expected[0], "*"}


def test_a_column_that_became_constant(described: Reference, rng: np.random.Generator) -> None:
    found = seen(described, {**rows(rng), "y": np.full(ROWS, 0.7), "c": np.array(["a"] * ROWS, object)}, rng)
    constant = {one.column: one for one in found if one.kind == "constant"}
    assert set(constant) == {"in.y", "in.c"}  # and not k, which always was
    assert constant["in.y"].p < 1e-100
    assert constant["in.c"].p == pytest.approx(0.6**ROWS, rel=10)


def test_a_column_that_is_not_there(described: Reference, rng: np.random.Generator) -> None:
    features = rows(rng)
    del features["y"]
    assert alarming(Detector(described).update(window(described, features, {"p": rng.random(ROWS)}))) == {
        ("in.y", "absent"),
        ("*", "overall"),
    }


def test_a_reference_without_a_value(rng: np.random.Generator) -> None:
    described = reference({"x": np.full(500, np.nan), "c": np.array([None] * 500, object)}, {})
    detector = Detector(described)
    assert not alarming(
        detector.update(window(described, {"x": np.full(99, np.nan), "c": np.array([None] * 99, object)}))
    )
    found = alarming(detector.update(window(described, {"x": rng.normal(size=99), "c": np.array(["a"] * 99, object)})))
    assert {("in.x", "missing"), ("in.c", "missing"), ("in.c", "new")} <= found


def test_important_columns_come_first(described: Reference, rng: np.random.Generator) -> None:
    features = {**rows(rng, shift=3.0), "y": rng.exponential(size=ROWS) + 0.7}
    ranks = [one.column for one in seen(described, features, rng) if one.alarm]
    assert ranks.index("in.y") < ranks.index("in.x") < ranks.index("*")


def test_windows_too_small_or_empty_say_nothing(described: Reference, rng: np.random.Generator) -> None:
    few = {name: values[:20] for name, values in rows(rng, shift=5.0).items()}
    assert not alarming(Detector(described).update(window(described, few, {"p": rng.random(20)})))
    empty = {name: values[:0] for name, values in few.items()}
    assert Detector(described).update(window(described, empty)) == []
    assert Detector(reference({}, {})).state()["sums"] == {}


def test_a_detector_goes_on_from_its_state(described: Reference, rng: np.random.Generator) -> None:
    one = Detector(described)
    for hour in range(5):
        one.update(window(described, rows(rng, shift=hour / 2), {"p": rng.random(ROWS)}, hour))
    two = Detector(described, state=json.loads(json.dumps(one.state())))
    later = window(described, rows(rng, shift=2.0), {"p": rng.random(ROWS)}, 5)
    assert two.update(later) == one.update(later)
    assert two.state() == one.state()
    with pytest.raises(StateError):
        Detector(reference(rows(rng), {}), state=one.state())


def test_measuring_learns_nothing(described: Reference, rng: np.random.Generator) -> None:
    detector = Detector(described)
    before = detector.state()
    detector.measure(window(described, rows(rng), {"p": rng.random(ROWS)}))
    assert detector.state() == before


def test_learning_ends(described: Reference, rng: np.random.Generator) -> None:
    detector = Detector(described, Contract(learn=2))
    states = []
    for hour in range(4):
        detector.update(window(described, rows(rng), {"p": rng.random(ROWS)}, hour))
        states.append(detector.state()["sums"])
    assert states[0] != states[1] == states[2] == states[3]


def test_an_alarm_has_a_beginning_and_ends_after_a_quiet_day(described: Reference, rng: np.random.Generator) -> None:
    detector = Detector(described)
    begun = {}
    for hour, shift in ((0, 2.0), (1, 0.0), (2, 2.0), (26, 2.0), (60, 2.0)):
        found = detector.update(window(described, rows(rng, shift=shift), {"p": rng.random(ROWS)}, hour))
        begun[hour] = {one.since_ms for one in found if one.alarm and one.column in ("in.x", "*")}
    assert begun == {0: {0}, 1: set(), 2: {0}, 26: {0}, 60: {60 * HOUR_MS}}


def test_windows_of_another_reference_are_refused(described: Reference, rng: np.random.Generator) -> None:
    other = reference(rows(rng), {})
    with pytest.raises(StateError, match="another|cannot be held"):
        Detector(described).update(window(other, rows(rng)))


def test_without_times_only_large_differences_alarm_until_it_has_learned(rng: np.random.Generator) -> None:
    described = reference({"x": rng.normal(size=20_000)}, {})
    detector = Detector(described, Contract(least_windows=30))
    small = [{"x": rng.normal(0.3, 1, 400)} for _ in range(2)]
    assert not alarming(detector.update(window(described, small[0])))
    assert ("in.x", "psi") in alarming(detector.measure(window(described, {"x": rng.normal(2, 1, 400)})))
    detector = Detector(described, Contract(least_windows=30))  # the first one took the shift for the usual
    for hour in range(30):
        detector.update(window(described, {"x": rng.normal(size=400)}, hour=hour))
    assert ("in.x", "ks") in alarming(detector.measure(window(described, {"x": rng.normal(0.6, 1, 400)})))


def test_a_season_in_the_reference_finds_what_the_whole_hides(rng: np.random.Generator) -> None:
    def day(hour: int, shift: float = 0.0) -> Tensors:
        return {"x": rng.normal(3 * np.sin(2 * np.pi * hour / 24) + shift, 1, 200)}

    hours = 24 * 14
    features = {"x": np.concatenate([day(hour)["x"] for hour in range(hours)])}
    times = np.repeat(np.arange(hours) * HOUR_MS, 200)
    plain = reference(features, {}, times_ms=times)
    seasonal = reference(features, {}, times_ms=times, season_ms=24 * HOUR_MS)
    found = {True: 0, False: 0}
    for season, described in ((False, plain), (True, seasonal)):
        detector = Detector(described)
        for hour in range(hours, hours + 24):
            assert not alarming(detector.update(window(described, day(hour), hour=hour)))
        for hour in range(hours + 24, hours + 48):
            found[season] += bool(alarming(detector.measure(window(described, day(hour, 1.0), hour=hour))))
    assert found[True] >= 20 > found[False]


def test_the_contract() -> None:
    assert Contract().level == pytest.approx(1 / 2160)
    assert Contract(false_alarms=2, days=30, window_ms=86_400_000).level == pytest.approx(2 / 30)
    for wrong in ({"false_alarms": 0}, {"days": -1}, {"window_ms": 0}, {"false_alarms": 5000}):
        with pytest.raises(UsageError):
            Contract(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "season"), [("independent", False), ("seasonal", False), ("seasonal", True)])
def test_the_promise_is_kept(kind: str, season: bool) -> None:
    """30 columns, 700 hours, a contract of one alarm in ten days: 2.9 are allowed on average."""
    rng = np.random.default_rng(11)
    level, phase = np.zeros(30), rng.uniform(0, 2 * np.pi, 30)

    def hour_of(hour: int) -> Tensors:
        nonlocal level
        values = rng.normal(size=(100, 30))
        if kind == "seasonal":
            level = 0.8 * level + 0.6 * rng.normal(size=30)
            values += level / 6 + 0.3 * np.sin(2 * np.pi * hour / 24 + phase)
        return {f"x{i}": values[:, i] for i in range(30)}

    parts = [hour_of(hour) for hour in range(504)]
    features = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    times = np.repeat(np.arange(504) * HOUR_MS, 100)
    described = reference(features, {}, times_ms=times, season_ms=WEEK_MS // 7 if season else None)
    detector = Detector(described, Contract(days=10))
    begun = 0
    for hour in range(504, 1204):
        found = detector.update(window(described, hour_of(hour), hour=hour))
        begun += any(one.kind == "overall" and one.alarm and one.since_ms == hour * HOUR_MS for one in found)
    assert begun <= 7  # a Poisson count of mean 2.9 is above it twice in a hundred
    shifted = {name: values + 2.5 for name, values in hour_of(1205).items()}
    assert len({one.column for one in detector.update(window(described, shifted, hour=1205)) if one.alarm}) > 25
