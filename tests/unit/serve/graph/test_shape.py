from __future__ import annotations

from dataclasses import replace

import pytest
from graphs import BOTH, RISK, SCALED, A, B, back

from fairlead.contracts.errors import UsageError
from fairlead.contracts.graph import Fallback, Graph, Step
from fairlead.contracts.types import DataType, TensorSpec
from fairlead.serve.graph.shape import links

GIVES = (TensorSpec("x", DataType.FP32, (-1,)),)


@pytest.mark.parametrize("steps", [(SCALED, A, B, BOTH), (BOTH, B, A, SCALED)])
def test_steps_come_in_an_order_in_which_they_can_run(steps: tuple[Step, ...]) -> None:
    order = [link.name for link in links(replace(RISK, steps=steps))]
    assert order.index("scaled") < min(order.index("a"), order.index("b"))
    assert order[-1] == "both"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "the graph has no steps"),
        ((Step("a", "m", {"X": "b.Y"}), Step("b", "m", {"X": "a.Y"})), "a takes b.Y"),
        ((Step("a", "m", {"X": "a.Y"}),), "the graph has a cycle: a takes a.Y;"),
        (
            (Step("a", "m", fallback=Fallback(step="b")), Step("b", "m", {"X": "a.Y"})),
            "a falls back on b",
        ),
        ((Step("a", "m", when=("not b",)), Step("b", "m", when=("not a",))), "a gets what does not go to b"),
        ((A, A), "'a' cannot name a step"),
        ((Step("a.b", "m"),), "'a.b' cannot name a step"),
        ((Step("a"),), "step 'a' is exactly one of endpoint, combine and python; found none"),
        ((Step("a", "m", function="f:g"),), "found m and f:g"),
        ((Step("a", combine="max", of=("x", "y")),), "combine is 'max'; expected mean, vote, stack, first"),
        ((Step("a", combine="mean", of=("x",)),), "give two values or more"),
        ((Step("a", combine="stack", of=("x", "y"), weights=(1, 2)),), "weights are for mean and vote"),
        ((Step("a", combine="mean", of=("x", "y"), weights=(1,)),), "1 numbers for 2 values"),
        ((Step("a", combine="mean", of=("x", "y"), weights=(1, 0)),), "or one not above 0"),
        ((Step("a", combine="mean", of=("x", "y"), timeout_ms=5),), "are for endpoints and functions"),
        ((Step("a", "m", of=("x",)),), "of and weights are for combine"),
        ((Step("a", "m", gives=GIVES),), "gives is for python"),
        ((Step("a", function="f:g"),), "say in gives which arrays"),
        ((Step("a", "m", fallback=Fallback()),), "fallback is exactly one of value, step and endpoint"),
        ((Step("a", function="f:g", gives=GIVES, fallback=Fallback(endpoint="m")),), "a value or a step"),
        ((Step("a", "m", fallback=Fallback(step="bb")), replace(B, take={})), "names the step 'bb'; did you mean b?"),
        ((Step("a", "m", when=("not c",)),), "names the step 'c'"),
        ((Step("a", "m", when=("nonsense",)),), "'nonsense' is no condition"),
        ((SCALED, A), ""),
        ((SCALED, A, replace(B, fallback=back(score=1)), Step("c", "m")), "nothing takes what step 'a' gives"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_and_where(steps: tuple[Step, ...], said: str) -> None:
    if not said:
        links(Graph(steps))
        return
    with pytest.raises(UsageError) as caught:
        links(Graph(steps))
    assert said in str(caught.value)


def test_a_name_that_nothing_has_is_refused_once_inputs_are_declared() -> None:
    declared = replace(RISK, inputs=(TensorSpec("features", DataType.FP32, (-1, 2)),))
    assert links(declared)
    with pytest.raises(UsageError, match="step 'scaled' takes 'feature'; did you mean features"):
        links(replace(declared, steps=(replace(SCALED, take={"X": "feature"}), A, B, BOTH)))
    with pytest.raises(UsageError, match="output 'score' takes 'bothh'; did you mean both"):
        links(replace(declared, outputs={"score": "bothh"}))
