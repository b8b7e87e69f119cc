"""Data tests: poison blocks, drift does not; on a stream of our own and on the electricity market."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp
from streams import Columns, flipped, stream

from fairlead.contracts.plans import Answer, Check
from fairlead.kit.codec.records import from_body, to_body
from fairlead.retrain.data_tests import DataPolicy, examine, verdict
from fairlead.retrain.labels import in_blocks
from fairlead.retrain.profile import Profile, profile

ROWS = 3000


@pytest.fixture(scope="module")
def reference() -> Profile:
    """Of the training before, as it comes back from where it was kept."""
    return from_body(Profile, json.loads(json.dumps(to_body(profile(stream(ROWS), "label")))))


@pytest.fixture
def table() -> Columns:
    return stream(ROWS, seed=7, start=1.0)


def failed(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.answer is Answer.FAIL}


def found(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def spoiled(table: Columns, **columns: Any) -> Columns:
    return {**table, **columns}


def twice(table: Columns, rows: Any) -> Columns:
    return {name: np.concatenate([array, array[rows]]) for name, array in table.items()}


class TestDrift:
    @pytest.mark.parametrize("start", [0.0, 1.0, 2.0])
    @pytest.mark.parametrize("seed", range(3))
    def test_does_not_block(self, reference: Profile, seed: int, start: float) -> None:
        assert not failed(examine(stream(ROWS, seed=seed + 1, start=start), "label", reference=reference))

    def test_does_not_block_without_a_reference(self, table: Columns) -> None:
        assert not failed(examine(table, "label"))

    def test_is_told(self, reference: Profile) -> None:
        checks = examine(stream(ROWS, seed=2, start=2.0), "label", reference=reference)
        moved = found(checks, "distribution")
        assert moved.answer is Answer.PASS
        assert moved.evidence["warning"]
        assert {"age", "income", "label"} <= set(moved.evidence["effects"])
        same = found(examine(stream(ROWS, seed=2), "label", reference=reference), "distribution")
        assert (same.evidence["warning"], same.why) == (False, "no drift")

    def test_its_size_is_the_ks_distance(self, reference: Profile) -> None:
        old, new = stream(ROWS)["age"], stream(ROWS, seed=2, start=2.0)["age"]
        checks = examine(stream(ROWS, seed=2, start=2.0), "label", reference=reference)
        effect = found(checks, "distribution").evidence["effects"]["age"]
        exact = ks_2samp(old, new).statistic
        assert exact - 0.01 <= effect <= exact + 1e-9

    @pytest.mark.parametrize("values", [np.arange(200) % 3, np.repeat([0.0, 1.0], [170, 30]), np.full(200, 2.0)])
    def test_ties_are_no_drift(self, values: np.ndarray[Any, Any]) -> None:
        table = {"x": values.astype(float), "label": np.arange(200) % 2}
        checks = examine(table, "label", reference=profile(table, "label"))
        assert not found(checks, "distribution").evidence["effects"]

    def test_a_new_category_and_a_new_column_warn(self, reference: Profile, table: Columns) -> None:
        plan = table["plan"].copy()
        plan[::3] = "platinum"
        checks = examine(spoiled(table, plan=plan, extra=table["age"]), "label", reference=reference)
        assert not failed(checks)
        assert "plan" in found(checks, "distribution").evidence["effects"]
        assert found(checks, "columns").evidence["added"] == ["extra"]


class TestPoison:
    @pytest.mark.parametrize("known", [True, False])
    def test_a_block_with_a_third_of_its_labels_flipped(self, reference: Profile, table: Columns, known: bool) -> None:
        bad = spoiled(table, label=flipped(table["label"], 1000, 1900, 0.3))
        checks = examine(bad, "label", reference=reference if known else None)
        assert failed(checks) == {"label noise"}

    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("first", [0, 1000, 2100])
    def test_a_third_of_the_labels_flipped_in_one_block(
        self, reference: Profile, table: Columns, first: int, known: bool
    ) -> None:
        bad = spoiled(table, label=flipped(table["label"], first, first + 900, 1.0))
        checks = examine(bad, "label", reference=reference if known else None)
        assert "label agreement" in failed(checks)
        assert "upside down" in found(checks, "label agreement").why

    def test_a_third_of_all_labels_flipped(self, reference: Profile, table: Columns) -> None:
        bad = spoiled(table, label=flipped(table["label"], 0, ROWS, 0.3))
        assert failed(examine(bad, "label", reference=reference)) == {"label noise"}

    def test_all_labels_flipped_is_seen_by_the_champion(self, reference: Profile, table: Columns) -> None:
        score = table["label"] * 0.8 + 0.1 + np.random.default_rng(0).normal(0, 0.3, ROWS)
        bad = spoiled(table, label=1 - table["label"])
        assert failed(examine(bad, "label", reference=reference, score=score)) == {"label agreement"}
        assert not failed(examine(table, "label", reference=reference, score=score))
        unusable = np.where(np.arange(ROWS) == 5, np.nan, score)
        assert not failed(examine(bad, "label", reference=reference, score=unusable))

    def test_one_row_many_times(self, reference: Profile, table: Columns) -> None:
        bad = twice(table, np.full(1500, 17))
        assert "duplicates" in failed(examine(bad, "label", reference=reference))

    @pytest.mark.parametrize("known", [True, False])
    def test_many_rows_twice(self, reference: Profile, table: Columns, known: bool) -> None:
        bad = twice(table, np.arange(1500))
        assert "duplicates" in failed(examine(bad, "label", reference=reference if known else None))

    @pytest.mark.parametrize("factor", [1000.0, 0.001])
    @pytest.mark.parametrize("column", ["age", "income"])
    def test_another_unit(self, reference: Profile, table: Columns, column: str, factor: float) -> None:
        checks = examine(spoiled(table, **{column: table[column] * factor}), "label", reference=reference)
        assert failed(checks) == {"ranges"}
        assert column in found(checks, "ranges").why

    def test_another_unit_in_a_tenth_of_the_rows(self, reference: Profile, table: Columns) -> None:
        age = table["age"].copy()
        age[300:600] *= 1000
        assert "ranges" in failed(examine(spoiled(table, age=age), "label", reference=reference))

    def test_no_rows(self, reference: Profile, table: Columns) -> None:
        empty = {name: array[:0] for name, array in table.items()}
        checks = examine(empty, "label", reference=reference)
        assert "rows" in failed(checks)
        assert found(checks, "rows").why == "0 rows, and 100 are needed"
        assert "rows" in failed(examine({}, "label"))

    def test_columns_that_are_gone_or_another_kind(self, reference: Profile, table: Columns) -> None:
        gone = {name: array for name, array in table.items() if name != "income"}
        assert "'income' is gone" in found(examine(gone, "label", reference=reference), "columns").why
        text = spoiled(table, age=table["age"].astype(str))
        assert "'age' was number and is text" in found(examine(text, "label", reference=reference), "columns").why
        assert failed(examine({"x": table["age"]}, "label")) == {"columns"}

    def test_a_column_without_values(self, reference: Profile, table: Columns) -> None:
        for hole in (np.full(ROWS, np.nan), np.full(ROWS, None)):
            checks = examine(spoiled(table, age=hole), "label", reference=reference)
            assert {"empty columns", "missing values"} <= failed(checks)
        assert "empty columns" in failed(examine(spoiled(table, age=np.full(ROWS, np.nan)), "label"))

    def test_many_missing_values(self, reference: Profile, table: Columns) -> None:
        age = table["age"].copy()
        age[::3] = np.nan
        assert "missing values" in failed(examine(spoiled(table, age=age), "label", reference=reference))
        age = table["age"].copy()
        age[::10] = np.nan
        checks = examine(spoiled(table, age=age), "label", reference=reference)
        assert not failed(checks)
        assert found(checks, "missing values").evidence["warning"]

    def test_a_column_that_became_constant(self, reference: Profile, table: Columns) -> None:
        checks = examine(spoiled(table, income=np.full(ROWS, 3000.0)), "label", reference=reference)
        assert "constant columns" in failed(checks)
        assert not failed(examine(spoiled(table, income=np.full(ROWS, 3000.0)), "label"))

    def test_labels(self, reference: Profile, table: Columns) -> None:
        new = table["label"].copy()
        new[:5] = 2
        assert "labels" in failed(examine(spoiled(table, label=new), "label", reference=reference))
        rare = (np.random.default_rng(0).random(ROWS) < 0.02).astype(int)
        assert "labels" in failed(examine(spoiled(table, label=rare), "label", reference=reference))
        ones = table["label"].copy()
        ones[1000:1600] = 1
        assert "label rate" in failed(examine(spoiled(table, label=ones), "label", reference=reference))
        holes = table["label"].astype(float)
        holes[4] = np.nan
        assert failed(examine(spoiled(table, label=holes), "label", reference=reference)) == {"missing labels"}


class TestOtherTargets:
    def test_text_and_three_classes(self, table: Columns) -> None:
        names = np.array(["bad", "good", "great"])[table["label"] + (table["income"] > 4000)]
        text = spoiled(table, label=names.astype(object))
        before = profile(text, "label")
        assert not failed(examine(text, "label", reference=before))
        swapped = names.copy()
        block = swapped[1000:1900]
        swapped[1000:1900] = np.where(np.random.default_rng(0).random(900) < 0.5, np.roll(block, 450), block)
        assert "label noise" in failed(examine(spoiled(table, label=swapped), "label", reference=before))

    def test_a_quantity(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=2000)
        table = {"x": x, "y": 3 * x + 0.3 * rng.normal(size=2000)}
        before = profile(table, "y")
        assert before.classes == {}
        assert not failed(examine(table, "y", reference=before))
        mixed = table["y"].copy()
        mixed[500:1000] = rng.permutation(mixed[500:1000])
        assert failed(examine(spoiled(table, y=mixed), "y", reference=before)) == {"label noise"}

    def test_too_few_rows_to_look_at_stretches(self) -> None:
        small = stream(200)
        assert "too few rows" in found(examine(small, "label"), "label bursts").why
        assert in_blocks({"label": np.arange(1000) % 2}, "label") is None
        assert profile(small, "label").noise is None

    def test_a_column_that_only_counts_is_not_learned_from(self, table: Columns) -> None:
        bad = spoiled(table, label=flipped(table["label"], 1000, 1900, 1.0), number=np.arange(ROWS))
        assert "label agreement" in failed(examine(bad, "label"))
        assert in_blocks({"number": np.arange(1000), "label": np.arange(1000) % 2}, "label") is not None

    def test_a_matrix_and_times(self) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(500, 3))
        when = np.datetime64("2020-01-01") + np.arange(500)
        table = {"x": x, "when": when, "label": (x[:, 0] > 0).astype(int)}
        assert not failed(examine(table, "label", reference=profile(table, "label", "when"), time="when"))


def test_the_verdict_is_about_data() -> None:
    said = verdict("v", "churn", "3", 5, [Check("rows", Answer.FAIL, "0 rows")])
    assert (said.about, said.answer, said.version, said.against) == ("data", Answer.FAIL, "", "3")


def test_every_check_is_json(reference: Profile, table: Columns) -> None:
    checks = examine(table, "label", reference=reference)
    said = json.loads(json.dumps(to_body(verdict("v", "m", "", 0, checks))))
    assert [one["name"] for one in said["checks"]] == [one.name for one in checks]


def test_thresholds_are_a_policy(reference: Profile, table: Columns) -> None:
    strict = DataPolicy(min_rows=5000)
    assert failed(examine(table, "label", reference=reference, policy=strict)) == {"rows"}


@pytest.fixture(scope="module")
def market() -> Columns:
    folder = os.environ.get("FAIRLEAD_DATA")
    if not folder:
        pytest.skip("FAIRLEAD_DATA is not set")
    with gzip.open(Path(folder) / "drift-elec2" / "elec2-part1.csv.gz", "rt") as handle:
        rows = list(csv.reader(handle))
    return {name: np.array([float(row[i]) for row in rows[1:]]) for i, name in enumerate(rows[0]) if i}


class TestElectricityMarket:
    """Trained on the first third; then blocks of a twelfth, over the known change at row 17,424."""

    def part(self, market: Columns, first: int, last: int) -> Columns:
        return {name: array[first:last] for name, array in market.items()}

    @pytest.mark.parametrize("first", range(9056, 27168, 2264))
    def test_drift_does_not_block(self, market: Columns, first: int) -> None:
        before = profile(self.part(market, 0, 9056), "class", "date_norm")
        block = self.part(market, first, first + 2264)
        checks = examine(block, "class", reference=before, time="date_norm")
        assert not failed(checks)
        assert found(checks, "distribution").evidence["warning"]

    @pytest.mark.parametrize("first", range(9056, 27168, 4528))
    def test_flipped_labels_block(self, market: Columns, first: int) -> None:
        before = profile(self.part(market, 0, 9056), "class", "date_norm")
        block = self.part(market, first, first + 4528)
        for share, last in ((0.3, 2400), (1.0, 2358)):
            bad = {**block, "class": flipped(block["class"], 1000, last, share)}
            assert failed(examine(bad, "class", reference=before, time="date_norm")) & {
                "label noise",
                "label agreement",
            }


@pytest.fixture(scope="module")
def rentals() -> Columns:
    folder = os.environ.get("FAIRLEAD_DATA")
    if not folder:
        pytest.skip("FAIRLEAD_DATA is not set")
    with (Path(folder) / "drift-bike-sharing" / "hour.csv").open() as handle:
        rows = list(csv.reader(handle))
    left_out = ("dteday", "casual", "registered")
    named = [(place, name) for place, name in enumerate(rows[0]) if name not in left_out]
    return {name: np.array([float(row[place]) for row in rows[1:]]) for place, name in named}


@pytest.mark.parametrize("first", range(6000, 17_000, 2275))
def test_a_quantity_that_grows_and_has_seasons_and_storms(rentals: Columns, first: int) -> None:
    """Two years of hourly bicycle rentals: trained on the first months, then blocks of three."""
    before = profile({name: array[:6000] for name, array in rentals.items()}, "cnt", "instant")
    block = {name: array[first : first + 2275] for name, array in rentals.items()}
    assert not failed(examine(block, "cnt", reference=before, time="instant"))
    shuffled = block["cnt"].copy()
    shuffled[500:1200] = np.random.default_rng(0).permutation(shuffled[500:1200])
    assert "label noise" in failed(examine({**block, "cnt": shuffled}, "cnt", reference=before, time="instant"))
