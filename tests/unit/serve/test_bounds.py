"""Rows and strings of a call, before it is queued."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import MATRIX, WORDS

from fairlead.contracts.errors import BodyTooLarge, InvalidTensor
from fairlead.contracts.types import Tensors
from fairlead.serve.bounds import Bounds, bounds
from fairlead.serve.call import Call


def call(inputs: Tensors, rows: int, size: int = 1) -> Call:
    made = Call(inputs, rows, lambda _: None, arrived=0.0)
    made.size = size
    return made


def test_an_endpoint_that_nothing_bounds_has_no_stage() -> None:
    assert bounds(MATRIX, 0, 100) == ()
    assert bounds(WORDS, 0, 0) == ()
    assert len(bounds(WORDS, 0, 100)) == len(bounds(MATRIX, 5, 0)) == 1


def test_rows() -> None:
    stage = Bounds(5, 0, ())
    stage(call({}, 5))
    with pytest.raises(BodyTooLarge, match="6 rows; this endpoint takes 5"):
        stage(call({}, 6))
    stage(call({}, 6, size=0))  # an explanation of the server's own


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=12), st.binary(max_size=12)), min_size=1, max_size=8),
    st.integers(1, 14),
)
def test_strings_against_their_bytes(values: list[str | bytes | None], limit: int) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    sizes = [len(one.encode()) if isinstance(one, str) else len(one or b"") for one in values]
    stage = Bounds(0, limit, ("text", "absent"))
    if max(sizes) <= limit:
        stage(call({"text": array}, len(values)))
        return
    first = next(index for index, size in enumerate(sizes) if size > limit)
    with pytest.raises(InvalidTensor, match=f"tensor 'text': value {first} has more than {limit} bytes"):
        stage(call({"text": array}, len(values)))
