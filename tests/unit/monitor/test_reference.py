"""References: JSON and back, what is refused, what is learned from times."""

import json

import numpy as np
import pytest

from fairlead.contracts.errors import InvalidTensor
from fairlead.kit.codec.records import from_body, to_body
from fairlead.monitor.binning import Reference
from fairlead.monitor.reference import HOUR_MS, reference


def test_a_reference_is_json_and_its_id_its_content(rng: np.random.Generator) -> None:
    features = {
        "x": rng.normal(size=(400, 2)),
        "c": rng.choice(["a", "b", None], 400).astype(object),
        "n": np.full(400, np.nan),
    }
    times = np.arange(400) * HOUR_MS // 40
    one = reference(features, {"p": rng.random(400)}, importance={"x[1]": 0.7}, times_ms=times, season_ms=4 * HOUR_MS)
    assert list(one.columns) == ["in.x[0]", "in.x[1]", "in.c", "in.n", "out.p"]
    assert one.columns["in.x[1]"].importance == 0.7
    assert one.columns["in.c"].importance is None
    assert from_body(Reference, json.loads(json.dumps(to_body(one)))) == one
    again = reference(features, {"p": rng.random(400)}, importance={"x[1]": 0.7}, times_ms=times, season_ms=4 * HOUR_MS)
    assert again.id != one.id
    assert len(one.id) == 16


def test_seasons_add_up_to_the_whole(rng: np.random.Generator) -> None:
    features = {"x": rng.normal(size=600), "c": rng.choice(["a", "b", None, 3], 600).astype(object)}
    found = reference(features, {}, times_ms=rng.integers(0, 20 * HOUR_MS, 600), season_ms=4 * HOUR_MS)
    for column in found.columns.values():
        assert len(column.seasons) == 4
        assert np.sum(column.seasons, axis=0).tolist() == column.psi_counts().tolist()
        assert set(column.usual) == {"psi", "ks", "missing", "new"}


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidTensor, match="in.y has 2 rows"):
        reference({"x": np.ones(3), "y": np.ones(2)}, {})
    with pytest.raises(InvalidTensor):
        reference({"x": np.ones(3)}, {}, times_ms=np.ones(2))


def test_nothing_at_all() -> None:
    assert reference({}, {}).columns == {}
    assert reference({"x": np.ones((0, 1))}, {}).columns["in.x"].n == 0
