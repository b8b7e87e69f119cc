"""What bad input gets, as a table: bytes and headers in, status, code and words out.

The unit test runs it through the edges; a suite over HTTP can run the same table against ``path_of`` a case.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """``endpoint``: a name of ``samples.SIGNATURES``.  ``words``: all of them stand in the message."""

    name: str
    edge: str
    endpoint: str
    body: bytes
    code: str
    words: tuple[str, ...]
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 400


def path_of(case: Case) -> str:
    return {
        "v2": f"/v2/models/{case.endpoint}/infer",
        "v1": f"/v1/models/{case.endpoint}:predict",
        "invocations": f"/serving-endpoints/{case.endpoint}/invocations",
    }[case.edge]


def v2(name: str, endpoint: str, inputs: Any, code: str, *words: str, **more: Any) -> Case:
    return Case(name, "v2", endpoint, json.dumps({"inputs": inputs, **more}).encode(), code, words)


def x(shape: list[int], data: Any, datatype: str = "FP32", name: str = "x", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data, **more}


def raw(name: str, head: dict[str, Any], tail: bytes, code: str, *words: str, length: str | None = None) -> Case:
    text = json.dumps(head).encode()
    header = {"inference-header-content-length": str(len(text)) if length is None else length}
    endpoint = "words" if "text" in text.decode() else "matrix"
    return Case(name, "v2", endpoint, text + tail, code, words, header)


def sized(size: Any, shape: list[int], datatype: str = "FP32", name: str = "x") -> dict[str, Any]:
    tensor = {"name": name, "shape": shape, "datatype": datatype, "parameters": {"binary_data_size": size}}
    return {"inputs": [tensor]}


def v1(name: str, endpoint: str, message: Any, code: str, *words: str) -> Case:
    return Case(name, "v1", endpoint, json.dumps(message).encode(), code, words)


def mlflow(name: str, endpoint: str, message: Any, code: str, *words: str) -> Case:
    return Case(name, "invocations", endpoint, json.dumps(message).encode(), code, words)


def csv(name: str, text: bytes, code: str, *words: str, content_type: str = "text/csv") -> Case:
    return Case(name, "invocations", "table", text, code, words, {"content-type": content_type})


MALFORMED, TENSOR, PARAMETER = "malformed_body", "invalid_tensor", "invalid_parameter"
ROW = {"age": 41, "income": 5.5, "city": "Oslo", "member": True}
GOOD = x([1, 3], [1, 2, 3])

JSON = [
    Case("not json", "v2", "matrix", b'{"inputs": [NaN]}', MALFORMED, ("JSON is malformed", "byte 12")),
    Case("cut off", "v2", "matrix", b'{"inputs": [', MALFORMED, ("too early", "byte 12")),
    Case("empty body", "v2", "matrix", b"", MALFORMED, ("too early", "byte 0")),
    Case("not utf-8", "v2", "matrix", b'{"inputs": [], "id": "\xff"}', MALFORMED, ("UTF-8", "byte 22")),
    Case("too deep", "v2", "matrix", b"[" * 100_000, MALFORMED, ("JSON",)),
    Case("array body", "v2", "matrix", b"[1]", MALFORMED, ("expected `object`",)),
    Case("no inputs", "v2", "matrix", b"{}", MALFORMED, ("inputs",)),
    v2("unknown field", "matrix", [GOOD], MALFORMED, "'ouputs'", "outputs", ouputs=[]),
    v2("array parameter", "matrix", [GOOD], MALFORMED, "parameters", parameters={"a": [1]}),
    v2("object parameter", "matrix", [GOOD], MALFORMED, "parameters", parameters={"a": {}}),
]
TENSORS = [
    v2("unknown name", "matrix", [x([1, 3], [1, 2, 3], name="X")], TENSOR, "'X'", "x"),
    v2("missing input", "words", [x([1], ["a"], "BYTES", "text")], TENSOR, "'flag'", "text, flag"),
    v2("twice", "matrix", [GOOD, GOOD], TENSOR, "'x'", "twice"),
    v2("no input at all", "matrix", [], TENSOR, "'x'"),
    v2("no data", "matrix", [{"name": "x", "shape": [1, 3], "datatype": "FP32"}], TENSOR, "'x'", "neither data"),
    v2("unknown datatype", "matrix", [x([1, 3], [1, 2, 3], "FLOAT")], TENSOR, "'x'", "'FLOAT'", "FP32"),
    v2("string in floats", "matrix", [x([1, 3], [1, "2", 3])], TENSOR, "'x'", "FP32", 'string "2"', "value 1"),
    v2("boolean in floats", "matrix", [x([1, 3], [1, True, 3])], TENSOR, "'x'", "FP32", "boolean true"),
    v2("object in floats", "matrix", [x([1, 3], [1, {}, 3])], TENSOR, "'x'", "object"),
    v2("null where nobody said", "matrix", [x([1, 3], [1, None, 3])], TENSOR, "'x'", "value 1", "null"),
    v2("null where forbidden", "strict", [x([1, 3], [1, None, 3])], TENSOR, "'x'", "value 1", "null"),
    v2("too large for FP32", "matrix", [x([1, 3], [1, 1e39, 3])], TENSOR, "'x'", "value 1", "out of range", "FP32"),
    v2("FP64 too large for FP32", "matrix", [x([1, 3], [1, 1e39, 3], "FP64")], TENSOR, "'x'", "FP32", "1e+39"),
    v2("a fraction as INT64", "matrix", [x([1, 3], [1, 2.5, 3], "INT64")], TENSOR, "'x'", "INT64", "2.5"),
    v2("too large for UINT8", "matrix", [x([1, 3], [1, 256, 3], "UINT8")], TENSOR, "'x'", "256", "UINT8"),
    v2("strings for floats", "matrix", [x([1, 3], ["a", "b", "c"], "BYTES")], TENSOR, "'x'", "FP32", "BYTES"),
    v2("booleans for floats", "matrix", [x([1, 3], [True] * 3, "BOOL")], TENSOR, "'x'", "FP32", "BOOL"),
    v2("wrong width", "matrix", [x([1, 2], [1, 2])], TENSOR, "'x'", "[-1, 3]", "[1, 2]"),
    v2("wrong rank", "matrix", [x([3], [1, 2, 3])], TENSOR, "'x'", "[-1, 3]", "[3]"),
    v2("negative dimension", "matrix", [x([-1, 3], [1, 2, 3])], TENSOR, "'x'", "negative"),
    v2("two negative dimensions", "matrix", [x([-1, -3], [1, 2, 3])], TENSOR, "'x'"),
    v2("too few values", "matrix", [x([2, 3], [1, 2, 3])], TENSOR, "'x'", "[2, 3]", "6", "3"),
    v2("too many values", "matrix", [x([1, 3], [1, 2, 3, 4])], TENSOR, "'x'", "3", "4"),
    v2("huge shape", "matrix", [x([10**12, 3], [1, 2, 3])], TENSOR, "'x'", "3000000000000"),
    v2("ragged", "matrix", [x([2, 3], [[1, 2, 3], [4, 5]])], TENSOR, "'x'", "row 1", "2", "3"),
    v2("wrongly nested", "matrix", [x([1, 3], [[[1, 2, 3]]])], TENSOR, "'x'", "3 deep", "2 dimensions"),
    v2("scalar data", "matrix", [x([1, 3], 7)], TENSOR, "'x'", "array", "7"),
    v2("number as string", "words", [x([1], [5], "BYTES", "text"), x([1], [True], "BOOL", "flag")], TENSOR, "'text'"),
    v2("one as boolean", "words", [x([1], ["a"], "BYTES", "text"), x([1], [1], "BOOL", "flag")], TENSOR, "'flag'"),
    v2(
        "unequal rows",
        "words",
        [x([2], ["a", "b"], "BYTES", "text"), x([1], [True], "BOOL", "flag")],
        TENSOR,
        "'flag'",
        "2 rows",
        "found 1",
    ),
    v2("shared memory", "matrix", [x([1, 3], None, parameters={"shared_memory_region": "r"})], TENSOR, "shared memory"),
    v2("no data, any kind", "words", [{"name": "text", "shape": [1], "datatype": "BYTES"}], TENSOR, "neither data"),
    v2("nested, too few", "matrix", [x([2, 3], [[1, 2, 3]])], TENSOR, "'x'", "data has 1", "says 2"),
    v2("strings, too few", "words", [x([2], ["a"], "BYTES", "text")], TENSOR, "'text'", "needs 2", "found 1"),
    v2("unknown output", "matrix", [GOOD], TENSOR, "'lable'", "label", outputs=[{"name": "lable"}]),
]
PARAMETERS = [
    v2(
        "binary_data",
        "matrix",
        [GOOD],
        PARAMETER,
        "binary_data",
        outputs=[{"name": "label", "parameters": {"binary_data": 1}}],
    ),
    v2(
        "classification",
        "matrix",
        [GOOD],
        PARAMETER,
        "classification",
        outputs=[{"name": "label", "parameters": {"classification": 2}}],
    ),
    v2(
        "binary_data_output",
        "matrix",
        [GOOD],
        PARAMETER,
        "binary_data_output",
        parameters={"binary_data_output": "yes"},
    ),
    v2("kind", "table", [x([1], [1], "INT64", "age")], TENSOR, "'income'", parameters={}),
    mlflow(
        "param kind",
        "table",
        {"inputs": ROW, "params": {"threshold": "high"}},
        PARAMETER,
        "'threshold'",
        "FP64",
        "high",
    ),
    mlflow("param text", "table", {"inputs": ROW, "params": {"mode": 1}}, PARAMETER, "'mode'", "BYTES"),
    mlflow("param list", "table", {"inputs": ROW, "params": {"other": [1]}}, PARAMETER, "'other'", "array"),
    mlflow("params no object", "table", {"inputs": ROW, "params": 3}, MALFORMED, "params", "3"),
]
BINARY = [
    raw("short", sized(8, [1, 3]), b"\0" * 8, TENSOR, "'x'", "12 bytes", "found 8"),
    raw("body short", sized(12, [1, 3]), b"\0" * 8, TENSOR, "'x'", "12 bytes", "8 left"),
    raw("bytes left", sized(12, [1, 3]), b"\0" * 14, MALFORMED, "2 bytes", "12", "14"),
    raw(
        "header too long",
        sized(12, [1, 3]),
        b"\0" * 12,
        MALFORMED,
        "Inference-Header-Content-Length",
        "9999",
        length="9999",
    ),
    raw("header cuts", sized(12, [1, 3]), b"\0" * 12, MALFORMED, "too early", "byte 10", length="10"),
    raw("header negative", sized(12, [1, 3]), b"", MALFORMED, "Inference-Header-Content-Length", "-1", length="-1"),
    raw("header no number", sized(12, [1, 3]), b"", MALFORMED, "Inference-Header-Content-Length", "abc", length="abc"),
    raw("header empty", sized(12, [1, 3]), b"", MALFORMED, "Inference-Header-Content-Length", length=""),
    raw("size no number", sized("12", [1, 3]), b"\0" * 12, TENSOR, "'x'", "binary_data_size", "12"),
    raw("size negative", sized(-4, [1, 3]), b"\0" * 12, TENSOR, "'x'", "binary_data_size", "-4"),
    raw("size a boolean", sized(True, [1, 3]), b"\0", TENSOR, "'x'", "binary_data_size"),
    raw("string cut", sized(6, [1], "BYTES", "text"), b"\x05\0\0\0ab", TENSOR, "'text'", "element 0", "9", "6"),
    raw("string length cut", sized(2, [1], "BYTES", "text"), b"\x05\0", TENSOR, "'text'", "4 bytes", "found 2"),
    raw("strings left", sized(7, [1], "BYTES", "text"), b"\x01\0\0\0abc", TENSOR, "'text'", "byte 5", "7"),
    raw("many strings", sized(4, [10**12], "BYTES", "text"), b"\0\0\0\0", TENSOR, "'text'", "4000000000000"),
    raw("both", {"inputs": [{**sized(12, [1, 3])["inputs"][0], "data": [1, 2, 3]}]}, b"\0" * 12, TENSOR, "'x'", "both"),
]
V1 = [
    Case("v1 not json", "v1", "table", b"{]", MALFORMED, ("JSON is malformed", "byte 1")),
    v1("v1 list", "table", [1], MALFORMED, "instances", "array"),
    v1("v1 neither", "table", {}, MALFORMED, "instances", "neither"),
    v1("v1 both", "table", {"instances": [], "inputs": []}, MALFORMED, "both"),
    v1("v1 unknown", "table", {"instance": []}, MALFORMED, "'instance'", "instances"),
    v1("v1 parameters", "table", {"instances": [], "parameters": 3}, MALFORMED, "parameters", "3"),
    v1("v1 rows", "table", {"instances": 3}, MALFORMED, "instances", "3"),
    v1("v1 unknown column", "table", {"instances": [{**ROW, "incme": 1}]}, TENSOR, "'incme'", "income"),
    v1("v1 missing column", "table", {"instances": [{"age": 1}]}, TENSOR, "'income'"),
    v1(
        "v1 string for a number",
        "table",
        {"instances": [{**ROW, "age": "41"}]},
        TENSOR,
        "'age'",
        "INT64",
        '"41"',
        "row 0",
    ),
    v1("v1 fraction", "table", {"instances": [ROW, {**ROW, "age": 1.5}]}, TENSOR, "'age'", "INT64", "1.5", "row 1"),
    v1("v1 null", "table", {"instances": [ROW, {**ROW, "age": None}]}, TENSOR, "'age'", "row 1", "no value"),
    v1("v1 blank", "table", {"instances": [{**ROW, "age": " "}]}, TENSOR, "'age'", "row 0", "no value"),
    v1(
        "v1 lost key",
        "table",
        {"instances": [ROW, {k: v for k, v in ROW.items() if k != "age"}]},
        TENSOR,
        "'age'",
        "row 1",
    ),
    v1("v1 mixed rows", "table", {"instances": [ROW, [1]]}, MALFORMED, "row 1", "array"),
    v1("v1 short row", "table", {"instances": [[1, 2.0]]}, TENSOR, "row 0", "2 values", "expected 5"),
    v1("v1 ragged", "matrix", {"instances": [[1, 2, 3], [1, 2]]}, TENSOR, "'x'", "row 1", "2", "3"),
    v1("v1 wide", "matrix", {"instances": [[1, 2, 3, 4]]}, TENSOR, "'x'", "[-1, 3]", "[1, 4]"),
    v1("v1 word", "matrix", {"instances": [[1, 2, "x"]]}, TENSOR, "'x'", 'string "x"'),
    v1("v1 out of range", "matrix", {"instances": [[1, 2, 1e39]]}, TENSOR, "'x'", "out of range"),
    v1("v1 bare for several", "words", {"instances": [["a", True]]}, TENSOR, "several inputs", "text, flag"),
]
MLFLOW = [
    Case("mlflow not json", "invocations", "table", b"{]", MALFORMED, ("JSON is malformed", "byte 1")),
    mlflow("mlflow list", "table", [1], MALFORMED, "dataframe_split", "array"),
    mlflow(
        "columns that are no list", "matrix", {"dataframe_split": {"columns": False, "data": []}}, MALFORMED, "columns"
    ),
    mlflow(
        "columns by name", "matrix", {"dataframe_split": {"columns": {"x": 1}, "data": [[1]]}}, MALFORMED, "columns"
    ),
    mlflow("mlflow none", "table", {"params": {}}, MALFORMED, "exactly one", "none"),
    mlflow("mlflow two", "table", {"inputs": [], "instances": []}, MALFORMED, "instances and inputs"),
    mlflow("mlflow unknown", "table", {"dataframe_recrods": []}, MALFORMED, "'dataframe_recrods'", "dataframe_records"),
    mlflow("split list", "table", {"dataframe_split": []}, MALFORMED, "dataframe_split", "array"),
    mlflow("split key", "table", {"dataframe_split": {"colums": [], "data": []}}, MALFORMED, "'colums'", "columns"),
    mlflow("split no data", "table", {"dataframe_split": {"columns": ["age"]}}, MALFORMED, "no data"),
    mlflow(
        "split short row",
        "table",
        {"dataframe_split": {"columns": ["age", "income"], "data": [[1, 2], [3]]}},
        TENSOR,
        "row 1",
    ),
    mlflow(
        "split twice",
        "table",
        {"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}},
        TENSOR,
        "'age'",
        "twice",
    ),
    mlflow("split names", "table", {"dataframe_split": {"columns": [1], "data": [[1]]}}, MALFORMED, "columns"),
    mlflow("split rows", "table", {"dataframe_split": {"data": [1]}}, MALFORMED, "dataframe_split", "cells"),
    mlflow("out of range", "single", {"dataframe_records": [{"v": 1e39}]}, TENSOR, "'v'", "row 0", "out of range"),
    mlflow("records object", "table", {"dataframe_records": ROW}, MALFORMED, "dataframe_records"),
    mlflow("records list", "table", {"dataframe_records": [[1]]}, MALFORMED, "dataframe_records"),
    mlflow("unequal columns", "table", {"inputs": {**{k: [v] for k, v in ROW.items()}, "age": [1, 2]}}, TENSOR, "rows"),
    mlflow(
        "plain among lists",
        "table",
        {"inputs": {**{k: [v] for k, v in ROW.items()}, "age": 1}},
        TENSOR,
        "'age'",
        "list",
    ),
    csv("csv unknown column", b"age,income,city,member,who\n1,2,a,1,x\n", TENSOR, "'who'"),
    csv("csv missing column", b"income,city,member\n2,a,1\n", TENSOR, "'age'"),
    csv("csv ragged", b"age,income,city,member\n1,2,a\n", TENSOR, "row 0", "3 values", "expected 4"),
    csv("csv word", b"age,income,city,member\nold,2,a,1\n", TENSOR, "'age'", "INT64", '"old"'),
    csv("csv fraction", b"age,income,city,member\n1.5,2,a,1\n", TENSOR, "'age'", "INT64", "1.5"),
    csv("csv blank", b"age,income,city,member\n,2,a,1\n", TENSOR, "'age'", "no value"),
    csv("csv boolean", b"age,income,city,member\n1,2,a,maybe\n", TENSOR, "'member'", "BOOL", '"maybe"'),
    csv("csv quote", b'age,income\n1,"2\n', MALFORMED, "CSV is malformed"),
    csv("csv empty", b"", TENSOR, "CSV is empty"),
    csv("csv not utf-8", b"age\n\xff\n", TENSOR, "UTF-8", "byte 4"),
    csv("csv charset", b"age\n1\n", MALFORMED, "latin-1", "UTF-8", content_type="text/csv; charset=latin-1"),
    csv(
        "content type",
        b"x",
        MALFORMED,
        "application/x-www-form-urlencoded",
        content_type="application/x-www-form-urlencoded",
    ),
    csv("old content type", b"{}", MALFORMED, "'format'", content_type="application/json; format=pandas-split"),
]
CASES = [*JSON, *TENSORS, *PARAMETERS, *BINARY, *V1, *MLFLOW]
