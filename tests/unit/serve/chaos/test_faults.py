"""What may be injected: how it is written, whom it hits, and what cannot have it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import MATRIX, WORDS

from fairlead.contracts.errors import FairleadError, Forbidden, InvalidParameter
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.chaos.faults import (
    Denied,
    Draw,
    Fault,
    Injection,
    check,
    not_numbers,
    one_row_more,
    parse,
    parsed,
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("slow:2s:10%", Fault("slow", 0.1, 2.0)),
        ("slow:250ms:100%", Fault("slow", 1.0, 0.25)),
        (" error:5% ", Fault("error", 0.05)),
        ("hang:0.5%", Fault("hang", 0.005)),
        ("nan:5%", Fault("nan", 0.05)),
        ("shape:5%", Fault("shape", 0.05)),
        ("drop:5%", Fault("drop", 0.05)),
        ("oom", Fault("oom", 0.0)),
        ("oom:1%", Fault("oom", 0.01)),
    ],
)
def test_how_a_fault_is_written(text: str, fault: Fault) -> None:
    found = parse(text)
    assert (found.kind, found.seconds) == (fault.kind, fault.seconds)
    assert found.share == pytest.approx(fault.share)


@pytest.mark.parametrize(
    "text",
    ["", "slow", "slow:10%", "slow:2s", "slow:0s:10%", "slow:2h:10%", "slow:x:10%", "error", "error:5", "error:0%",
     "error:101%", "error:-1%", "error:nan%", "error:5%:5%", "boom:5%", "oom:", "slow:2s:10%:x"],
)  # fmt: skip
def test_what_is_no_fault_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidParameter, match="fault '"):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_fault_or_a_typed_error(text: str) -> None:
    try:
        found = parse(text)
    except FairleadError:
        return
    assert 0 <= found.share <= 1


def test_shares_are_of_all_batches_together() -> None:
    assert len(parsed(["error:60%", "slow:1s:40%", "oom"])) == 3
    with pytest.raises(InvalidParameter, match="110% together"):
        parsed(["error:60%", "slow:1s:50%"])
    with pytest.raises(InvalidParameter, match="expected 1 to 16"):
        parsed([])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=3), st.integers(0, 2**32))
def test_every_fault_gets_its_share(thousandths: list[int], seed: int) -> None:
    faults = [Fault(kind, share / 1000) for kind, share in zip(("error", "nan", "drop"), thousandths, strict=False)]
    draw, count = Draw(faults, random.Random(seed).random), 4000
    seen = Counter(found.kind for _ in range(count) if (found := draw.next()) is not None)
    for fault in faults:
        spread = 6 * (fault.share * (1 - fault.share) / count) ** 0.5
        assert abs(seen[fault.kind] / count - fault.share) < spread


def test_a_fault_without_a_share_hits_one_batch() -> None:
    draw = Draw(parsed(["oom", "error:1%"]), lambda: 0.99)
    assert [draw.next() for _ in range(3)] == [Fault("oom", 0.0), None, None]


def test_the_same_seed_hits_the_same_batches() -> None:
    one, two = (Draw(parsed(["error:50%"]), random.Random("7/0").random) for _ in range(2))
    assert [one.next() for _ in range(50)] == [two.next() for _ in range(50)]


def test_what_a_model_cannot_have_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidParameter, match="executor: process"):
        check(parsed(["oom"]), MATRIX, "thread")
    whole = Signature((TensorSpec("x", DataType.FP32, (3,)),), (TensorSpec("y", DataType.INT64, (3,)),), batched=False)
    with pytest.raises(InvalidParameter, match="no rows"):
        check(parsed(["shape:1%"]), whole, "inline")
    with pytest.raises(InvalidParameter, match="output of floats"):
        check(parsed(["nan:1%"]), whole, "inline")
    check(parsed(["oom", "nan:1%", "shape:1%"]), WORDS, "process")


def test_what_answers_become() -> None:
    outputs = {"label": np.array([1, 2]), "p": np.ones((2, 3), np.float32)}
    spoiled = not_numbers(outputs)
    assert spoiled["label"].tolist() == [1, 2]
    assert np.isnan(spoiled["p"]).all()
    assert spoiled["p"].dtype == np.float32
    assert outputs["p"].sum() == 6, "the batch-mates' own arrays stay as they are"
    assert [array.shape[0] for array in one_row_more(outputs).values()] == [3, 3]


async def test_a_server_that_allows_none() -> None:
    closed = Denied()
    assert closed.active("churn") == ""
    with pytest.raises(Forbidden, match="--chaos"):
        await closed.inject("churn", Injection("a", ["error:1%"], 1.0))
    with pytest.raises(Forbidden, match="--chaos"):
        await closed.calm("churn")
