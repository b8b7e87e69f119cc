"""Honest callers are let be, those who copy a model are found: by rows that were asked, and by sums alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor.abuse import LEVEL, OWN, Judged, Known, judge, reading
from fairlead.monitor.binning import Reference
from fairlead.monitor.callers import MEMORY, Asked, Profile, Ranks
from fairlead.monitor.reference import reference as make

Array = np.ndarray[Any, Any]
WIDTH, ROWS = 8, 250


class World:
    """A model of eight inputs that hang together (a count and a flag among them), and honest callers who differ."""

    def __init__(self, seed: int, callers: int = 7) -> None:
        self.rng = np.random.default_rng(seed)
        self.mix = self.rng.normal(size=(WIDTH, WIDTH)) / 2 + np.eye(WIDTH)
        self.weights = self.rng.normal(size=WIDTH)
        self.shifts = {f"c{i}": self.rng.normal(size=WIDTH) * 0.15 for i in range(callers)}
        rows = self.rows(4000)
        self.low, self.high = rows.min(axis=0), rows.max(axis=0)
        self.reference = make({"x": rows}, self.answers(rows))

    def rows(self, count: int, shift: Any = 0.0) -> Array:
        rows = (self.rng.normal(size=(count, WIDTH)) + shift) @ self.mix
        rows[:, 0] = np.round(rows[:, 0])
        rows[:, 1] = rows[:, 1] > 0
        return np.asarray(rows, np.float32)

    def answers(self, rows: Array) -> dict[str, Array]:
        score = 1 / (1 + np.exp(-(rows @ self.weights)))
        return {"p": np.stack([1 - score, score], axis=1).astype(np.float32)}

    def yes(self, row: Array) -> bool:
        return bool(row @ self.weights > 0)


def grid(world: World) -> Array:
    """A regular grid over the range of each input, in any order."""
    lines = [np.linspace(low, high, 4) for low, high in zip(world.low, world.high, strict=True)]
    return np.stack([world.rng.choice(line, ROWS) for line in lines], axis=1)


def boundary(world: World) -> Array:
    """Between two rows that get different answers, halve the way again and again."""
    found: list[Array] = []
    while len(found) < ROWS:
        one, other = world.rows(2)
        if world.yes(one) == world.yes(other):
            continue
        for _ in range(10):
            middle = (one + other) / 2
            found.append(middle)
            one, other = (middle, other) if world.yes(middle) == world.yes(one) else (one, middle)
    return np.array(found[:ROWS])


def augmented(world: World) -> Array:
    """Small steps from a few honest rows along the sign of the gradient (as substitutes are trained)."""
    base = world.rows(25)
    steps = [base + 0.05 * step * np.sign(world.weights) for step in range(-5, 6)]
    return np.concatenate(steps)[:ROWS]


def one_by_one(world: World) -> Array:
    """One input at a time is moved, the others stay."""
    found = []
    for row in world.rows(8):
        for column in range(WIDTH):
            for value in np.linspace(world.low[column], world.high[column], 4):
                moved = row.copy()
                moved[column] = value
                found.append(moved)
    return np.array(found[:ROWS])


ATTACKS: dict[str, tuple[Callable[[World], Array], set[str]]] = {
    "grid": (grid, {"drift"}),
    "boundary walk": (boundary, {"near", "boundary"}),
    "jacobian": (augmented, {"near"}),
    "one by one": (one_by_one, {"near"}),
}


def looks(world: World, count: int, attack: Callable[[World], Array] | None = None) -> list[tuple[int, Judged]]:
    """The alarms of so many looks at everybody."""
    ranks, known, alarms = Ranks(world.reference), Known(), []
    profiles = {name: Profile(ranks) for name in [*world.shifts, *(["thief"] if attack else [])]}
    for at in range(count):
        for name, profile in profiles.items():
            rows = attack(world) if attack and name == "thief" else world.rows(ROWS, world.shifts[name])
            rows = np.asarray(rows, np.float32)
            profile.add({"x": rows}, world.answers(rows))
        known, judged = judge(known, {name: one.take() for name, one in profiles.items()}, world.reference, at)
        alarms += [(at, one) for one in judged if one.alarm]
        known = from_body(Known, to_body(known))  # it is kept between two looks
    return alarms


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_copies_the_model_is_found_by_the_second_reading_and_nobody_else(attack: str) -> None:
    rows, signals = ATTACKS[attack]
    alarms = looks(World(5), 3, rows)
    assert {one.caller for _, one in alarms} == {"thief"}
    for signal in signals:
        assert sum(one.signal == signal for at, one in alarms if at < 2) == 2, signal
    assert "caller thief" in alarms[0][1].text


def test_honest_callers_are_let_be() -> None:
    assert [alarm for seed in (11, 12) for alarm in looks(World(seed), 8)] == []


def simulated(rng: Any, near: float, close: float, spread: float) -> Asked:
    """One reading of a caller: shares that differ a little from one to the next."""
    rows = 400
    a, b = (float(np.clip(rng.normal(share, spread), 0.0, 1.0)) for share in (near, close))
    return Asked(rows, int(rng.binomial(rows, a)), rows, int(rng.binomial(rows, b)))


def test_false_alarms_keep_to_the_level() -> None:
    """Callers who differ from each other: 800 looks at 12 honest ones, 19,200 tests."""
    rng, wrong, total = np.random.default_rng(3), 0, 0
    for _ in range(40):
        shares = {f"c{i}": (rng.beta(2, 18), rng.beta(3, 27)) for i in range(12)}
        known = Known()
        for at in range(20):
            asked = {name: simulated(rng, *share, 0.02) for name, share in shares.items()}
            known, judged = judge(known, asked, None, at)
            wrong += any(one.alarm for one in judged)
            total += 1
    assert total == 800
    assert wrong <= 2 + LEVEL * total, wrong


def test_power_against_one_who_walks() -> None:
    rng, found = np.random.default_rng(4), 0
    for _ in range(100):
        known = Known()
        for at in range(3):
            asked = {f"c{i}": simulated(rng, 0.1, 0.1, 0.02) for i in range(8)}
            asked["thief"] = simulated(rng, 0.6, 0.5, 0.02)
            known, judged = judge(known, asked, None, at)
        found += {one.signal for one in judged if one.alarm and one.caller == "thief"} == {"near", "boundary"}
    assert found == 100


def test_a_single_caller_is_held_against_its_own_beginning() -> None:
    rng, known = np.random.default_rng(6), Known()
    for at in range(OWN):
        known, judged = judge(known, {"only": simulated(rng, 0.1, 0.1, 0.02)}, None, at)
        assert judged == []
    known, judged = judge(known, {"only": simulated(rng, 0.1, 0.1, 0.02)}, None, 20)
    assert [one.alarm for one in judged] == [False, False]
    known, judged = judge(known, {"only": simulated(rng, 0.7, 0.1, 0.02)}, None, 21)
    assert [(one.signal, one.alarm) for one in judged] == [("near", True), ("boundary", False)]
    assert judged[0].against == f"its first {OWN} readings"


def test_few_rows_wait_until_they_are_enough() -> None:
    known = Known()
    for at in range(4):
        known, _ = judge(known, {"slow": Asked(60, 6, 60, 6)}, None, at)
    assert known.callers["slow"].waiting.rows == 0
    assert [one.rows for one in known.callers["slow"].lately] == [240]


def test_what_alarms_is_not_what_others_are_held_against() -> None:
    rng, known = np.random.default_rng(7), Known()
    for at in range(30):
        asked = {f"c{i}": simulated(rng, 0.1, 0.1, 0.02) for i in range(8)}
        asked["thief"] = simulated(rng, 0.9, 0.1, 0.02)
        known, judged = judge(known, asked, None, at)
    assert [one.alarm for one in judged if one.caller == "thief" and one.signal == "near"] == [True]
    assert len(known.callers["thief"].lately) <= 1  # the first, when too few others were known


def test_nearness_is_what_a_look_at_all_pairs_says() -> None:
    rng = np.random.default_rng(8)
    rows = np.round(rng.normal(size=(300, 5)), 1)
    rows[rng.integers(0, 300, 40)] = rows[rng.integers(0, 300, 40)]
    moved = rng.integers(1, 300, 60)
    rows[moved] = rows[moved - 1]
    rows[moved, 2] += 5.0
    reference = make({"x": rows}, {})
    ranks = Ranks(reference)
    profile = Profile(ranks)
    for start in range(0, 300, 7):
        profile.add({"x": rows[start : start + 7]}, {})
    columns = [ranks.of(f"in.x[{i}]", rows[:, i])[0] for i in range(5)]
    placed = np.stack(columns, axis=1)
    near, kept = 0, []
    for at in range(300):
        earlier = kept[-MEMORY:]
        same = [(rows[at] == rows[one]).mean() for one in earlier]
        if 1.0 in same:
            continue
        close = [bool((np.abs(placed[at] - placed[one]) <= 0.02).all()) for one in earlier]
        near += any(close) or any(share >= 0.8 for share in same)
        kept.append(at)
    assert near > 20
    assert profile.take().near == near


def test_the_boundary_is_where_the_two_best_scores_meet() -> None:
    def close(outputs: dict[str, Array]) -> tuple[int, int]:
        profile = Profile(Ranks(None))
        rows = len(next(iter(outputs.values())))
        profile.add({"x": np.arange(rows, dtype=float).reshape(-1, 1)}, outputs)
        asked = profile.take()
        return asked.scored, asked.close

    assert close({"p": np.array([[0.5, 0.5], [0.9, 0.1], [0.54, 0.46]])}) == (3, 2)
    assert close({"p": np.array([0.5, 0.9, 0.46, 0.56])}) == (4, 2)
    assert close({"p": np.array([[0.4, 0.35, 0.25], [0.1, 0.1, 0.8]])}) == (2, 1)
    assert close({"y": np.array([3.0, 4.0])}) == (0, 0)
    assert close({"label": np.array(["a", "b"], object), "p": np.array([[0.5, 0.5], [1.0, 0.0]])}) == (2, 1)
    assert close({"p": np.array([[np.nan, 0.5]])}) == (0, 0)


def test_drift_of_a_caller_is_the_mean_psi_beyond_chance() -> None:
    rng = np.random.default_rng(9)
    reference = make({"a": rng.normal(size=5000), "b": rng.choice(["u", "v"], 5000).astype(object)}, {})
    ranks = Ranks(reference)

    def drift(a: Array, b: Array) -> float:
        profile = Profile(ranks)
        profile.add({"a": a, "b": b}, {})
        found = reading(profile.take(), reference).drift
        assert found is not None
        return found

    honest = [drift(rng.normal(size=400), rng.choice(["u", "v"], 400).astype(object)) for _ in range(50)]
    assert max(honest) < 0.05
    assert drift(rng.normal(2, 1, 400), np.full(400, "u", object)) > 1.0


def test_sums_of_two_workers_are_those_of_one_and_never_mix_references() -> None:
    one, two = Asked(10, 1, 10, 2, {"in.x": [4, 6]}, "r"), Asked(5, 2, 5, 1, {"in.x": [5, 0]}, "r")
    assert one + two == Asked(15, 3, 15, 3, {"in.x": [9, 6]}, "r")
    assert (one + Asked(5, 0, 5, 0, {"in.x": [1, 2, 2]}, "s")).counts == {"in.x": [1, 2, 2]}


def test_strange_rows_do_no_harm() -> None:
    reference: Reference = make({"x": np.arange(100.0)}, {})
    profile = Profile(Ranks(reference))
    profile.add({"x": np.array([np.nan, np.inf, -np.inf, 1e308])}, {})
    profile.add({"x": np.array([None, "a", b"b", 3], object)}, {})
    profile.add({"x": np.empty((0, 3))}, {})
    profile.add({}, {})
    profile.add({"x": np.zeros((3, 200)), "y": np.zeros(2)}, {})
    profile.add({"x": np.zeros((3, 200))}, {})
    assert profile.take().rows == 14
