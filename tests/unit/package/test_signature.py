from __future__ import annotations

import json

import pytest

from fairlead.contracts.errors import BrokenModel
from fairlead.contracts.types import DataType, ParamSpec, TensorSpec
from fairlead.package import signature


def document(inputs: object, outputs: object = None, params: object = None) -> dict[str, object]:
    texts = {"inputs": inputs, "outputs": outputs, "params": params}
    return {"signature": {name: None if value is None else json.dumps(value) for name, value in texts.items()}}


def test_columns_become_inputs_of_one_column() -> None:
    types = ["long", "integer", "double", "float", "string", "boolean", "datetime", "binary"]
    found = signature.from_mlmodel(document([{"type": kind, "name": kind, "required": True} for kind in types]))
    assert found is not None
    datatypes = ["INT64", "INT32", "FP64", "FP32", "BYTES", "BOOL", "BYTES", "BYTES"]
    assert [spec.datatype for spec in found.inputs] == datatypes
    assert {(spec.shape, spec.column, spec.required) for spec in found.inputs} == {((-1, 1), True, True)}
    assert (found.tabular, found.tensor, found.batched) == (True, False, True)


def test_optional_columns() -> None:
    entries = [{"type": "long", "name": "a", "required": False}, {"type": "long", "name": "b", "optional": True}]
    found = signature.from_mlmodel(document(entries))
    assert found is not None
    assert [spec.required for spec in found.inputs] == [False, False]


def test_one_unnamed_tensor() -> None:
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}
    label = {"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}
    found = signature.from_mlmodel(document([tensor], [label]))
    assert found is not None
    assert found.inputs == (TensorSpec("input", DataType.FP32, (-1, 3)),)
    assert found.outputs == (TensorSpec("output", DataType.INT64, (-1,)),)
    assert found.tensor
    assert not found.tabular


def test_named_tensors_and_strings() -> None:
    entries = [
        {"type": "tensor", "name": "ids", "tensor-spec": {"dtype": "int64", "shape": [-1, 8]}},
        {"type": "tensor", "name": "text", "tensor-spec": {"dtype": "object", "shape": [-1]}},
    ]
    found = signature.from_mlmodel(document(entries))
    assert found is not None
    assert [(spec.name, spec.datatype) for spec in found.inputs] == [("ids", "INT64"), ("text", "BYTES")]
    assert not found.tensor


def test_a_fixed_first_dimension_is_not_batched() -> None:
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [1, 3]}}
    found = signature.from_mlmodel(document([tensor]))
    assert found is not None
    assert not found.batched


def test_params() -> None:
    params = [
        {"name": "t", "type": "double", "default": 0.5, "shape": None},
        {"name": "k", "dtype": "long", "shape": [-1]},
    ]
    found = signature.from_mlmodel(document([{"type": "long", "name": "a"}], None, params))
    assert found is not None
    assert found.params == (ParamSpec("t", DataType.FP64, 0.5), ParamSpec("k", DataType.INT64, None, (-1,)))


@pytest.mark.parametrize("kind", ["array", "object", "map", "any", "sparse_vector"])
def test_types_that_no_tensor_carries_give_no_signature(kind: str) -> None:
    assert signature.from_mlmodel(document([{"type": kind, "name": "a"}])) is None


@pytest.mark.parametrize("without", [{}, {"signature": None}, document(None), document([])])
def test_no_signature(without: dict[str, object]) -> None:
    assert signature.from_mlmodel(without) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"signature": {"inputs": "[{"}},
        document([{"name": "a"}]),
        document([{"type": "tensor", "tensor-spec": {"dtype": "nonsense", "shape": [1]}}]),
        document([1]),
        document([{"type": "long"}], None, [{"name": "p", "type": "nonsense"}]),
    ],
)
def test_a_broken_signature_says_so(broken: dict[str, object]) -> None:
    with pytest.raises(BrokenModel, match="signature does not parse"):
        signature.from_mlmodel(broken)


def test_a_dictionary_that_is_no_signature() -> None:
    with pytest.raises(BrokenModel, match="signature does not parse"):
        signature.from_dict({"inputs": [{"name": "a"}]})
