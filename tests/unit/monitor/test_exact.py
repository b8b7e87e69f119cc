"""Tables, exactly: against scipy and the closed formula."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp

from fairlead.monitor.columns import INPUT
from fairlead.monitor.exact import Comparison, Report, compare, compare_chunks
from fairlead.monitor.reference import reference


def by_name(report: Report) -> dict[str, Comparison]:
    return {one.column: one for one in report.columns}


@pytest.mark.parametrize("n", [400, 30_000])
def test_psi_ks_and_js_are_exact(rng: np.random.Generator, n: int) -> None:
    old, new = {"x": rng.normal(size=n)}, {"x": rng.normal(0.1, 1.1, n - 7)}
    one = by_name(compare(old, new))["x"]
    edges = np.quantile(old["x"], np.arange(1, 10) / 10, method="inverted_cdf")
    # Deciles belong to the bin below them.
    e, a = (np.bincount(np.searchsorted(edges, part, "left"), minlength=10) for part in (old["x"], new["x"]))
    es, as_ = e / e.sum(), a / a.sum()
    assert one.psi == pytest.approx(float(((as_ - es) * np.log(as_ / es)).sum()), abs=1e-9)
    assert one.js == pytest.approx(jensenshannon(es, as_, base=2), abs=1e-9)
    assert one.ks == one.ks_high == pytest.approx(ks_2samp(old["x"], new["x"], method="asymp").statistic, abs=1e-9)
    assert one.p_ks == pytest.approx(ks_2samp(old["x"], new["x"], method="asymp").pvalue, rel=0.2, abs=1e-12)


def test_in_chunks_only_ks_is_an_interval(rng: np.random.Generator) -> None:
    old, new = (
        {"x": rng.normal(size=30_000)},
        {"x": np.where(rng.random(5000) < 0.1, np.nan, rng.normal(0.05, 1, 5000))},
    )
    whole = by_name(compare(old, new))["x"]
    parts = ({f"{INPUT}x": part} for part in np.array_split(new["x"], 7))
    chunked = by_name(compare_chunks(reference(old, {}), parts))["in.x"]
    assert (chunked.psi, chunked.js, chunked.missing) == (whole.psi, whole.js, whole.missing)
    assert chunked.ks <= whole.ks <= chunked.ks_high <= chunked.ks + 0.021


def test_strange_columns_are_told_and_break_nothing(rng: np.random.Generator) -> None:
    n = 300
    old = {
        "constant": np.ones(n), "nan": np.full(n, np.nan), "inf": rng.normal(size=n),
        "text": np.array(["a"] * n, object),
        "gone": np.ones(n), "none": np.array([None] * n, object), "bool": rng.random(n) < 0.5, "empty": np.ones(n),
    }  # fmt: skip
    new = {
        "constant": np.ones(n), "nan": np.full(n, np.nan), "text": rng.normal(size=n), "more": np.ones(n),
        "inf": np.where(rng.random(n) < 0.5, np.inf, rng.normal(size=n)), "none": np.array([None] * n, object),
        "bool": rng.random(n) < 0.9, "empty": np.ones(0),
    }  # fmt: skip
    report = compare(old, new, importance={"bool": 0.9})
    found = by_name(report)
    assert set(report.drifted) == {"inf", "text", "gone", "more", "bool"}
    assert found["constant"].note == "constant in the reference"
    assert found["nan"].note == "all missing"
    assert found["inf"].note == "has infinities"
    assert "numbers among text" in found["text"].note
    assert found["more"].note == "only in the current rows"
    assert found["empty"].note.startswith("no rows")
    assert found["bool"].importance == 0.9
    assert all(np.isfinite(value) for one in report.columns for value in (one.psi, one.js, one.ks, one.p_psi, one.p_ks))


def test_the_table_has_a_line_a_column(rng: np.random.Generator) -> None:
    old = {"x": rng.normal(size=500), "c": rng.choice(["a", "b"], 500).astype(object)}
    new = {"x": rng.normal(2, 1, 500), "c": rng.choice(["a", "b"], 500).astype(object)}
    lines = compare(old, new).as_table().splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:4] == ["column", "kind", "rows", "PSI"]
    assert lines[1].startswith("x ")
    assert "yes" in lines[1]
    assert "no" in lines[2]
    assert compare(old, new).as_dict()["columns"][0]["column"] == "x"


def test_no_drift_is_seldom_called_one() -> None:
    rng = np.random.default_rng(3)
    called = 0
    for _ in range(30):
        old, new = ({f"x{i}": rng.normal(size=300) for i in range(5)} for _ in range(2))
        called += bool(compare(old, new).drifted)
    assert called <= 6  # 1.5 expected at a level of 5%
