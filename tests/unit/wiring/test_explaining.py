"""Where background rows come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit import upstreams
from fairlead.kit.config import Home
from fairlead.serve.remote.settings import Upstream
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.testing.sinks import MemorySink
from fairlead.wiring import loading
from fairlead.wiring.explaining import Explained, explainer
from fairlead.wiring.loading import Loading
from fairlead.wiring.serving import Plan, Target

MATRIX = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),))
TABLE = Signature((TensorSpec("zip", DataType.BYTES, (-1, 1), column=True), TensorSpec("age", DataType.FP32, (-1,))))


def read(folder: Path, text: str, signature: Signature) -> dict[str, list[object]]:
    path = folder / "rows.csv"
    path.write_text(text)
    found = explainer("e", Explained(str(path)), signature, None).background
    assert found is not None
    return {name: array.tolist() for name, array in found.items()}


def test_a_file_has_columns_by_name_or_side_by_side(tmp_path: Path) -> None:
    assert read(tmp_path, "zip,age\n3000,4\n4000,5.5\n", TABLE) == {"zip": [["3000"], ["4000"]], "age": [4.0, 5.5]}
    assert read(tmp_path, "a,b\n1,2\n3,4\n", MATRIX) == {"x": [[1.0, 2.0], [3.0, 4.0]]}
    assert len(read(tmp_path, "a,b\n" + "1,2\n" * 100, MATRIX)["x"]) == 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,2,3\n", r"tensor 'x': expected shape \[-1, 2\], found \[1, 3\]"),
        ("a,b\n", "has no rows"),
        ("", "is empty"),
        ("a,b\n1,x\n", "expected FP32"),
    ],
)
def test_a_file_that_does_not_fit_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=rf"endpoint 'e': explain.background .*rows.csv.*{said}"):
        read(tmp_path, text, MATRIX)
    with pytest.raises(UsageError, match="none.csv cannot be read"):
        explainer("e", Explained(str(tmp_path / "none.csv")), MATRIX, None)


def test_without_a_file_it_is_the_example_where_that_is_a_table() -> None:
    rows = {"x": np.ones((3, 2), np.float32)}
    found = explainer("e", Explained(samples=5, output="y", column=1), MATRIX, rows)
    assert found.background is not None
    assert found.background["x"].shape == (3, 2)
    assert (found.samples, found.output, found.column) == (5, "y", 1)
    assert explainer("e", Explained(), MATRIX, None).background is None
    assert explainer("e", Explained(), MATRIX, {"x": np.ones((1, 3))}).background is None
    image = Signature((TensorSpec("x", DataType.FP32, (-1, 2, 2)),))
    assert explainer("e", Explained(), image, {"x": np.ones((1, 2, 2))}).background is None


async def test_a_version_that_cannot_be_explained_as_asked_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    live = SimpleNamespace(signature=MATRIX, close=lambda: closed.append(True))
    monkeypatch.setattr(loading, "live_upstream", lambda *_: live)
    upstream = Upstream(upstreams.parse("oip+http://there:1/m"))
    one = Target("oip+http://there:1/m", "m", upstream=upstream, explain=Explained("missing.csv"))
    plan = Plan(Home(Path(), "", "", ""), [one], ServerSettings(), EndpointSettings())
    with pytest.raises(UsageError, match=r"missing\.csv"):
        Loading(plan, MemorySink(), None).first(one, asyncio.get_running_loop())
    await asyncio.sleep(0)
    assert closed == [True]
