from __future__ import annotations

from dataclasses import replace

import pytest
from graphs import BOTH, BYTES, FP32, INT64, MODEL, RISK, SCALED, SCALER, A, B, back, known, spec

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.graph import Fallback, Graph, Step
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.graph.plan import misfit, plan

HIGH = Step("high", "risk-a", {"X": "scaled.Y"}, when=("scaled.flag > 0.5",))
LOW = Step("low", "risk-b", {"X": "scaled.Y"}, when=("not high",))
JOINED = Step("joined", combine="first", of=("high.score", "low.score"))
FLAGGED = Signature(SCALER.inputs, (*SCALER.outputs, spec("flag")))


def signature(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], **more: bool) -> Signature:
    return Signature(inputs, outputs, **more)


def test_a_graph_takes_what_its_steps_take_and_gives_what_it_names() -> None:
    found = plan(RISK, known())
    assert found.signature.inputs == (spec("features", shape=(-1, 2)),)
    assert found.signature.outputs == (spec("score"),)
    assert found.signature.batched
    assert next(iter(found.steps)) == "scaled"
    assert set(found.waits["both"]) == {"a", "b"}
    assert found.steps["a"].gives == {"score": (FP32, (-1,))}  # nobody takes the label


def test_what_an_endpoint_takes_besides_comes_from_inputs_of_the_same_names() -> None:
    columns = (
        TensorSpec("age", INT64, (-1, 1), column=True),
        TensorSpec("note", BYTES, (-1, 1), column=True, required=False),
    )
    table = signature(columns, (spec("p"),))
    found = plan(Graph((Step("only", "t"),)), known(t=table))
    assert found.signature.inputs == columns
    assert found.signature.outputs == (spec("p"),)
    declared = Graph((Step("only", "t"),), inputs=(TensorSpec("age", INT64, (-1, 1)),))
    assert [one.name for one in plan(declared, known(t=table)).signature.inputs] == ["age"]
    with pytest.raises(BrokenModel, match="step 'only': 't' takes 'age', which nothing gives it"):
        plan(Graph((Step("only", "t"),), inputs=(TensorSpec("note", BYTES, (-1, 1)),)), known(t=table))


def test_a_column_is_made_of_one_value_a_row() -> None:
    takes = signature((TensorSpec("s", FP32, (-1, 1), column=True),), (spec("p"),))
    assert plan(Graph((SCALED, A, Step("last", "t", {"s": "a.score"}))), known(t=takes))


EDGES = {
    "scaled.Y -> X: scaled.Y is FP32 [-1, 2], and 'risk-a' takes INT64 [-1, 2]": {
        "risk-a": signature((spec("X", INT64, (-1, 2)),), MODEL.outputs)
    },
    "scaled.Y -> X: scaled.Y is FP32 [-1, 2], and 'risk-a' takes FP32 [-1, 3]": {
        "risk-a": signature((spec("X", FP32, (-1, 3)),), MODEL.outputs)
    },
    "scaled.Y -> X: 'risk-a' takes no 'X'": {"risk-a": signature((spec("Z", shape=(-1, 2)),), MODEL.outputs)},
    "step 'both': a.score is FP32 [-1] and b.score is FP64 [-1]; mean wants them alike": {
        "risk-b": signature(MODEL.inputs, (spec("score", DataType.FP64),))
    },
    "step 'both' takes b.score, and its endpoint does not say what it gives": {"risk-b": signature(MODEL.inputs, ())},
    "step 'both' takes b.score; did you mean scores?": {"risk-b": signature(MODEL.inputs, (spec("scores"),))},
}


@pytest.mark.parametrize("said", EDGES)
def test_an_edge_whose_ends_differ_is_named_with_both(said: str) -> None:
    with pytest.raises(BrokenModel) as caught:
        plan(RISK, known(**EDGES[said]))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (Graph((SCALED, A, B, Step("v", combine="vote", of=("a.score", "b.score")))), "vote is of labels"),
        (Graph((SCALED, A, B, Step("v", combine="mean", of=("a.label", "b.label")))), "mean is of floats"),
        (Graph((SCALED, A, Step("v", combine="stack", of=("a.label", "a.score")))), "stack wants them alike"),
        (Graph((SCALED, Step("v", combine="first", of=("scaled", "features")))), ""),
        (Graph((SCALED, A, Step("c", "scaler", {"X": "a"}))), "takes a, which gives score, label; name one: a.NAME"),
        (Graph((SCALED, Step("v", combine="mean", of=("scaled", "free")))), "takes 'free', and nothing says what that"),
        (Graph((SCALED, replace(A, fallback=back(score=0.5)), B, BOTH)), ""),
        (Graph((SCALED, replace(A, fallback=back(scor=0.5)), B, BOTH)), "fallback.value names scor; taken are score"),
        (Graph((SCALED, replace(A, fallback=back(score="x")), B, BOTH)), "fallback.value.score is 'x', and score"),
        (Graph((SCALED, replace(A, fallback=Fallback(step="b")), B, BOTH)), ""),
        (Graph((SCALED, replace(A, fallback=Fallback(step="scaled")), B, BOTH)), "its fallback 'scaled' is not there"),
        (Graph((SCALED, replace(A, fallback=Fallback(endpoint="risk-b")), B, BOTH)), ""),
        (Graph((SCALED, replace(A, fallback=Fallback(endpoint="scaler")), B, BOTH)), "fallback: score of 'scaler' is"),
        (Graph((SCALED, A), inputs=(spec("features", shape=(2, 2)),)), "its first dimension counts rows: -1"),
        (Graph((SCALED, replace(A, when=("scaled.Y > 1",)))), "when compares scaled.Y, which is FP32 [-1, 2]"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit_are_told(graph: Graph, said: str) -> None:
    if not said:
        plan(graph, known())
        return
    with pytest.raises(BrokenModel) as caught:
        plan(graph, known())
    assert said in str(caught.value)


def test_a_stack_knows_its_columns() -> None:
    graph = Graph((SCALED, A, Step("all", combine="stack", of=("scaled.Y", "a.score"))))
    assert plan(graph, known()).signature.outputs == (spec("Y", shape=(-1, 3)),)


def test_branches_leave_the_graph_when_together_they_have_every_row() -> None:
    found = plan(Graph((SCALED, HIGH, LOW, JOINED)), known(scaler=FLAGGED))
    assert not found.steps["high"].whole
    assert found.steps["joined"].whole
    assert found.waits["low"] == ("scaled",)  # it does not wait for the other branch


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((SCALED, HIGH), "output 'score' is high.score, which is there for some rows only"),
        ((SCALED, HIGH, replace(LOW, when=("scaled.flag < 0.5",)), JOINED), "joined.score, which is there for some"),
        ((SCALED, HIGH, B, Step("m", combine="mean", of=("high.score", "b.score"))), "high.score is there for"),
        ((SCALED, HIGH, replace(B, fallback=Fallback(step="high"))), "its fallback 'high' is there for some rows"),
    ],
)  # fmt: skip
def test_values_for_some_rows_stay_inside(steps: tuple[Step, ...], said: str) -> None:
    with pytest.raises(BrokenModel) as caught:
        plan(Graph(steps), known(scaler=FLAGGED))
    assert said in str(caught.value)


def test_three_branches_and_one_behind_a_branch() -> None:
    flagged = known(scaler=FLAGGED)
    middle = replace(LOW, name="middle", when=("not high", "scaled.flag > 0.1"))
    low = replace(LOW, when=("not high", "not middle"))
    of = ("high.score", "middle.score", "low.score")
    assert plan(Graph((SCALED, HIGH, middle, low, replace(JOINED, of=of))), flagged).steps["joined"].whole
    behind = Step("behind", "s", {"s": "high.score"})
    takes = signature((spec("s"),), (spec("score"),))
    graph = Graph((SCALED, HIGH, behind, LOW, replace(JOINED, of=("behind.score", "low.score"))))
    with pytest.raises(BrokenModel, match="some rows only"):  # LOW has the rows that HIGH has not, not those of behind
        plan(graph, known(scaler=FLAGGED, s=takes))


def test_rows_are_not_chosen_where_there_are_none() -> None:
    whole = signature(SCALER.inputs, (*SCALER.outputs, spec("flag")), batched=False)
    with pytest.raises(BrokenModel, match="endpoint 'scaler' knows no rows"):
        plan(Graph((SCALED, HIGH, LOW, JOINED)), known(scaler=whole))
    assert not plan(RISK, known(scaler=replace(SCALER, batched=False))).signature.batched


def test_a_version_that_came_later_fits_or_not() -> None:
    step = plan(RISK, known()).steps["a"]
    assert misfit(step, "risk-a", MODEL) == ""
    assert misfit(step, "risk-a", replace(MODEL, outputs=(spec("score"),))) == ""
    assert "score of 'risk-a' is INT64 [-1], and FP32 [-1] is taken" in misfit(
        step, "risk-a", replace(MODEL, outputs=(spec("score", INT64),))
    )
    more = replace(MODEL, inputs=(*MODEL.inputs, spec("age")))
    assert misfit(step, "risk-a", more) == "'risk-a' takes 'age', which nothing gives it"


def test_many_branches_that_exclude_each_other_are_planned_at_once() -> None:
    """A ladder of tiers: each gets what none above it took. Tried by recursion, forty would take years."""
    tiers = [Step("t0", "risk-a", {"X": "features"}, when=("scaled.Y > 0",))]
    narrow = Signature(SCALER.inputs, (spec("Y"),))
    tiers += [
        Step(f"t{at}", "risk-a", {"X": "features"}, when=tuple(f"not t{below}" for below in range(at)))
        for at in range(1, 40)
    ]
    joined = Step("joined", combine="first", of=tuple(f"{tier.name}.score" for tier in tiers))
    found = plan(Graph((SCALED, *tiers, joined), outputs={"score": "joined"}), known(scaler=narrow))
    assert found.waits["t39"] == ("scaled",)
