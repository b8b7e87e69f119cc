"""The examples of docs/graphs.md say one graph, and it runs."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit.spec import graph as spec_graph
from fairlead.kit.spec.read import parse
from fairlead.serve.graph.plan import plan

PAGE = (Path(__file__).parents[2] / "docs" / "graphs.md").read_text()
ROWS = TensorSpec("X", DataType.FP32, (-1, 16))
SCORE = TensorSpec("score", DataType.FP32, (-1,))
SIGNATURES = {
    "scaler": Signature((ROWS,), (TensorSpec("Y", DataType.FP32, (-1, 16)),)),
    **{name: Signature((ROWS,), (SCORE,)) for name in ("risk-a", "risk-b", "small", "big")},
}


def block(language: str, at: int = 0) -> str:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[at]


def test_both_forms_are_one_graph_that_fits_together() -> None:
    asked = parse(block("yaml"), "graphs.md").spec.endpoints["risk"].graph
    assert asked is not None
    names: dict[str, Any] = {}
    exec(compile(block("python"), "graphs.md", "exec"), names)
    record = names["graph"].record
    assert spec_graph.record(asked) == record
    assert plan(record, SIGNATURES.__getitem__).signature.outputs == (SCORE,)


def test_the_branches_have_every_row() -> None:
    steps = textwrap.indent(textwrap.dedent(block("yaml", 1)), "        ")
    text = f"endpoints:\n  e:\n    graph:\n      steps:\n{steps}"
    asked = parse(text, "graphs.md").spec.endpoints["e"].graph
    assert asked is not None
    assert plan(spec_graph.record(asked), SIGNATURES.__getitem__).steps["sure"].whole


def test_the_explanation_adds_up() -> None:
    (one,) = json.loads(block("json"))["explanations"]
    assert round(sum(one["attributions"].values()) - (one["value"] - one["base"]), 9) == 0
