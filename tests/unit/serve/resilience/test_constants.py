from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.serve.resilience.constants import filled, one_row


def gives(datatype: DataType, *shape: int, batched: bool = True) -> Signature:
    return Signature((), (TensorSpec("y", datatype, shape),), batched=batched)


@pytest.mark.parametrize(
    ("signature", "value", "expected"),
    [
        (gives(DataType.FP32, -1), 0.25, [0.25, 0.25, 0.25]),
        (gives(DataType.FP64, -1, 1), 1, [[1.0], [1.0], [1.0]]),
        (gives(DataType.INT64, -1, 2), 7, [[7, 7]] * 3),
        (gives(DataType.FP64, -1, 2), [0.25, 0.75], [[0.25, 0.75]] * 3),
        (gives(DataType.FP64, -1, -1), [0.25, 0.75], [[0.25, 0.75]] * 3),
        (gives(DataType.BYTES, -1), "no", ["no"] * 3),
        (gives(DataType.BYTES, -1, 2), ["a", "b"], [["a", "b"]] * 3),
        (gives(DataType.BOOL, -1), False, [False] * 3),
    ],
)
def test_a_value_is_the_same_in_every_row(signature: Signature, value: Any, expected: Any) -> None:
    outputs = filled(one_row(signature, {"y": value}), 3, batched=True)
    assert outputs["y"].tolist() == expected
    assert outputs["y"].dtype == signature.outputs[0].datatype.numpy
    outputs["y"][:1] = outputs["y"][1:2]  # an answer of its own, that may be written to


def test_where_there_are_no_rows_it_is_the_whole_answer() -> None:
    signature = gives(DataType.FP64, 2, 2, batched=False)
    row = one_row(signature, {"y": 0.5})
    assert filled(row, 1, batched=False)["y"].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert np.shares_memory(filled(row, 1, batched=False)["y"], row["y"]) is False


@pytest.mark.parametrize(
    ("signature", "value", "told"),
    [
        (Signature(()), {"y": 1}, "does not say what it gives"),
        (gives(DataType.FP64, -1), {}, "value names nothing; the model gives y"),
        (gives(DataType.FP64, -1), {"y": 1, "z": 2}, "value names y, z; the model gives y"),
        (gives(DataType.FP64, -1), {"y": "high"}, "value.y is 'high', and the output is FP64"),
        (gives(DataType.FP64, -1), {"y": True}, "value.y is True"),
        (gives(DataType.FP32, -1), {"y": 1e39}, "value.y is 1e"),
        (gives(DataType.INT64, -1), {"y": 0.5}, "value.y is 0.5, and the output is INT64"),
        (gives(DataType.INT8, -1), {"y": 128}, "value.y is 128"),
        (gives(DataType.UINT8, -1), {"y": -1}, "value.y is -1"),
        (gives(DataType.BOOL, -1), {"y": 1}, "value.y is 1, and the output is BOOL"),
        (gives(DataType.BYTES, -1), {"y": 1}, "value.y is 1, and the output is BYTES"),
        (gives(DataType.FP64, -1), {"y": [1.0]}, r"value.y is \[1.0\]"),
        (gives(DataType.FP64, -1, 3), {"y": [1.0, 2.0]}, r"value.y is \[1.0, 2.0\], and the output is FP64 \[-1, 3\]"),
        (gives(DataType.FP64, -1, -1), {"y": 1.0}, "say each value of its free dimension"),
    ],
)
def test_what_the_model_could_not_give_is_refused(signature: Signature, value: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        one_row(signature, value)
