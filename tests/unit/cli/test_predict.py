from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fairlead.cli import predict as command
from fairlead.client import Client
from fairlead.contracts.errors import FairleadError, InvalidTensor, MalformedBody, SourceNotFound, UsageError
from fairlead.contracts.types import DataType, Missing, Reply, Signature, TensorSpec
from fairlead.serve.edges import metadata
from fairlead.serve.edges.v2 import V2


def column(name: str, datatype: DataType, **more: Any) -> TensorSpec:
    return TensorSpec(name, datatype, (-1, 1), column=True, **more)


TABLE = Signature(
    (
        column("age", DataType.INT64),
        column("income", DataType.FP64, missing=Missing.NAN),
        column("city", DataType.BYTES, missing=Missing.VALUE, missing_value="unknown"),
        column("member", DataType.BOOL),
    )
)
MATRIX = Signature((TensorSpec("x", DataType.FP32, (-1, 2)),))
CSV = 'age,income,city,member\n41,5.5,Oslo,true\n7,,,0\n30,1,"a, b",1\n'


class Server:
    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.split("/")[3]
        signature = {"table": TABLE, "matrix": MATRIX}[name]
        if request.method == "GET":
            return httpx.Response(200, json=metadata.model(name, ["1"], "", signature))
        headers = {key.lower(): value for key, value in request.headers.raw}
        try:
            asked = V2().read(request.content, headers, signature)
        except FairleadError as error:
            return httpx.Response(400, content=V2().refuse(error, "r").body)
        self.calls.append({key: array.tolist() for key, array in asked.inputs.items()})
        rows = len(next(iter(asked.inputs.values())))
        outputs = {"label": np.array(["no"] * rows, object), "p": np.full((rows, 2), 0.5, np.float32)}
        answer = V2().write(Reply(outputs, name, "1"), asked, signature)
        return httpx.Response(200, headers=answer.headers, content=answer.body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    fake = Server()
    monkeypatch.setattr(command, "Client", lambda url, timeout: Client(url, transport=httpx.MockTransport(fake)))
    return fake


def run(*arguments: str, stdin: str = "") -> str:
    app = typer.Typer(add_completion=False)
    app.command()(command.predict)
    result = CliRunner().invoke(app, list(arguments), input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_csv_in_table_out(server: Server, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV)
    lines = run("table", "--csv", str(rows)).splitlines()
    assert lines[0].split() == ["LABEL", "P_0", "P_1"]
    assert len(lines) == 4
    (call,) = server.calls
    assert call["age"] == [[41], [7], [30]]
    assert call["city"] == [["Oslo"], ["unknown"], ["a, b"]]
    assert call["member"] == [[True], [False], [True]]
    assert np.isnan(call["income"][1][0])


def test_chunks_keep_the_order(server: Server, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV)
    out = tmp_path / "out.csv"
    assert run("table", "--csv", str(rows), "--chunk", "2", "--output", str(out)) == f"3 rows -> {out}\n"
    assert out.read_text() == "label,p_0,p_1\n" + "no,0.5,0.5\n" * 3
    assert [call["age"] for call in server.calls] == [[[41], [7]], [[30]]]
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize(
    "text",
    [
        '[{"age": 1, "income": 2, "city": null, "member": true}]',
        '{"age": 1, "income": 2, "city": null, "member": true}',
        '{"age": 1, "income": 2, "city": null, "member": true}\n{"age": 1, "income": 2, "member": true}\n',
        "[[1, 2, null, true]]",
    ],
)
def test_json_from_standard_input(server: Server, text: str) -> None:
    found = json.loads(run("table", "--json", "-", "--format", "json", stdin=text))
    assert found[0] == {"label": "no", "p_0": 0.5, "p_1": 0.5}
    assert server.calls[0]["city"][0] == ["unknown"]


def test_a_matrix_takes_rows_of_numbers(server: Server) -> None:
    assert run("matrix", "--csv", "-", "--format", "csv", stdin="a,b\n1,2\n3,4\n").count("no") == 2
    run("matrix", "--json", "-", stdin="[[1, 2]]")
    assert [call["x"] for call in server.calls] == [[[1, 2], [3, 4]], [[1, 2]]]


def test_no_rows(server: Server) -> None:
    assert run("matrix", "--json", "-", "--format", "json", stdin="[]") == "[]\n"
    assert server.calls == []


@pytest.mark.parametrize(
    ("arguments", "stdin", "error", "words"),
    [
        ((), "", UsageError, "exactly one of --csv FILE and --json FILE"),
        (("--csv", "a", "--json", "b"), "", UsageError, "exactly one"),
        (("--csv", "nowhere.csv"), "", SourceNotFound, "no file nowhere.csv"),
        (("--csv", "-"), "age,income,city,member\n1\n", InvalidTensor, "line 2: expected 4 cells"),
        (("--csv", "-"), "age,income,city,member\nx,1,a,1\n", InvalidTensor, "line 2, column 'age'.*INT64.*'x'"),
        (("--csv", "-"), "age,income,city,member\n1,1,a,perhaps\n", InvalidTensor, "column 'member'.*BOOL"),
        (("--csv", "-"), 'age,income,city,member\n1,1,"a\n', MalformedBody, "line"),
        (("--csv", "-"), "age,income,city,member,who\n1,1,a,1,z\n", InvalidTensor, "rows 1 to 1: unknown input 'who'"),
        (("--csv", "-"), "", MalformedBody, "- is empty; its first line must name the columns"),
        (("--csv", "-"), "\n\n", MalformedBody, "is empty"),
        (("--csv", "-"), "age,income,city,city\n1,1,a,b\n", MalformedBody, "names the column 'city' twice"),
        (("--json", "-"), "[1, 2", MalformedBody, "JSON is malformed"),
        (("--json", "-"), '{"a": 1}\n{"a": \n', MalformedBody, "line 2"),
        (("--json", "-"), "3", MalformedBody, "list of rows"),
        (("--json", "-"), "[[1, 2]]", InvalidTensor, "row 1: expected 4 values"),
    ],
)
def test_wrong_use(server: Server, arguments: tuple[str, ...], stdin: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run("table", *arguments, stdin=stdin)


def test_a_failure_leaves_no_file(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with pytest.raises(InvalidTensor):
        run("table", "--csv", "-", "--chunk", "1", "--output", str(out), stdin=CSV + "x,1,a,1\n")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_no_half_document(server: Server, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(CSV + "x,1,a,1\n")
    with pytest.raises(InvalidTensor):
        command.predict("table", csv_file=str(rows), chunk=1, form=command.Format.JSON)
    assert server.calls
    assert capsys.readouterr().out == ""


def test_bytes_that_are_not_text(server: Server, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_bytes(b"age\n\xff\n")
    with pytest.raises(MalformedBody, match="not UTF-8"):
        run("table", "--csv", str(rows))
