"""Signatures that the tests of the edges share."""

from __future__ import annotations

from fairlead.contracts.types import DataType, Missing, ParamSpec, Signature, TensorSpec

OUTPUTS = (TensorSpec("label", DataType.INT64, (-1,)), TensorSpec("probabilities", DataType.FP32, (-1, 2)))


def column(name: str, datatype: DataType, **more: object) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True, **more)  # type: ignore[arg-type]


MATRIX = Signature((TensorSpec("x", DataType.FP32, (-1, 3)),), OUTPUTS)
"""One float tensor: the hot path."""

STRICT = Signature((TensorSpec("x", DataType.FP32, (-1, 3), missing=Missing.FORBID),), OUTPUTS)
"""The same, where the model cannot take NaN."""

WORDS = Signature((TensorSpec("text", DataType.BYTES, (-1,)), TensorSpec("flag", DataType.BOOL, (-1,))), OUTPUTS)
"""Strings and booleans."""

TABLE = Signature(
    (
        column("age", DataType.INT64),
        column("income", DataType.FP64, missing=Missing.NAN),
        column("city", DataType.BYTES, missing=Missing.VALUE, missing_value="unknown"),
        column("member", DataType.BOOL, missing=Missing.VALUE, missing_value=False),
        column("note", DataType.BYTES, required=False, missing=Missing.NONE),
    ),
    OUTPUTS,
    params=(ParamSpec("threshold", DataType.FP64, 0.5), ParamSpec("mode", DataType.BYTES, "fast")),
    prediction=("label",),
)
"""A table with every kind of column."""

SINGLE = Signature((column("v", DataType.FP32, missing=Missing.NAN),), OUTPUTS)
"""One column of short floats."""

SIGNATURES = {"matrix": MATRIX, "strict": STRICT, "words": WORDS, "table": TABLE, "single": SINGLE}
"""Endpoint name -> signature, for suites that serve them."""
