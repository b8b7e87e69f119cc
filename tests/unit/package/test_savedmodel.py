"""Graphs written by hand, so that they can hold what no TensorFlow would save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.contracts.errors import BrokenModel, UnknownFormat, Untrusted, UsageError
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package import risks, savedmodel
from fairlead.package.bundle import Opener
from fairlead.package.formats import sniff
from fairlead.package.pack import pack_file
from fairlead.package.savedmodel import risky
from fairlead.package.trust import TrustBook


def part(number: int, *values: bytes | str) -> bytes:
    """A protobuf field of bytes, once for each value."""
    out = b""
    for value in values:
        data = value.encode() if isinstance(value, str) else value
        size, length = b"", len(data)
        while length > 127:
            size += bytes([length & 127 | 128])
            length >>= 7
        out += bytes([number << 3 | 2]) + size + bytes([length]) + data
    return out


def node(name: str, op: str, *inputs: str, calls: str = "", listed: str = "", inner: str = "") -> bytes:
    """``calls``: a function in an attribute.  ``listed``: in a list.  ``inner``: in an attribute of that function."""
    named = b""
    if calls:
        named = part(10, part(1, calls) + (part(2, part(1, "g") + part(2, part(10, part(1, inner)))) if inner else b""))
    elif listed:
        named = part(1, part(9, part(1, listed)))
    return part(1, name) + part(2, op) + part(3, *inputs) + (part(5, part(1, "f") + part(2, named)) if named else b"")


def function(name: str, *nodes: bytes) -> bytes:
    return part(1, part(1, name)) + part(3, *nodes)


def signature(*tensors: bytes) -> bytes:
    return part(1, "serving_default") + part(2, part(2, *(part(1, "y") + part(2, one) for one in tensors)))


def saved(
    nodes: list[bytes],
    functions: list[bytes] = [],  # noqa: B006 - never changed
    *,
    outputs: tuple[bytes, ...] = (part(1, "y:0"),),
    more: bytes = b"",
) -> bytes:
    graph = part(1, *nodes) + part(2, part(1, *functions))
    return b"\x08\x01" + part(2, part(2, graph) + part(5, signature(*outputs)) + more)


def folder(path: Path, data: bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "saved_model.pb").write_bytes(data)
    return path


GOOD = [node("x", "Placeholder"), node("y", "Exp", "x")]
SAVING = [node("name", "Placeholder"), node("save", "SaveV2", "name"), node("load", "RestoreV2", "name")]
SAVED_BY = part(3, part(1, "name:0") + part(2, "save:0") + part(3, "load"))

HARMLESS = {
    "only counts": saved(GOOD),
    "can be saved": saved([*GOOD, *SAVING], more=SAVED_BY),
    "nobody reaches it": saved([*GOOD, node("z", "ReadFile", "x")]),
    "a function nobody calls": saved(GOOD, [function("f", node("a", "WriteFile"))], more=part(7, "another")),
    "reads a variable": saved([node("y", "ReadVariableOp")]),
    "a function called like a reader": saved([node("y", "MyReader")], [function("MyReader", node("a", "Exp"))]),
}

RISKS = {
    "the output": (saved([node("y", "ReadFile")]), "ReadFile"),
    "an input of it": (saved([node("x", "ReadFile"), node("y", "Exp", "x:1")]), "ReadFile"),
    "what it waits for": (saved([node("x", "WriteFile"), node("y", "Exp", "^x")]), "WriteFile"),
    "a called function": (
        saved([node("y", "Call", calls="f")], [function("f", node("a", "PyFunc"))]),
        "PyFunc",
    ),
    "one of a list": (saved([node("y", "Case", listed="f")], [function("f", node("a", "PyFunc"))]), "PyFunc"),
    "an attribute of a function": (
        saved([node("y", "Call", calls="g", inner="f")], [function("g"), function("f", node("a", "PyFunc"))]),
        "PyFunc",
    ),
    "a function as an operation": (saved([node("y", "f")], [function("f", node("a", "PyFunc"))]), "PyFunc"),
    "a function of a function": (
        saved(
            [node("y", "C", calls="f")], [function("f", node("a", "C", calls="g")), function("g", node("b", "Save"))]
        ),
        "Save",
    ),
    "a function of the object graph": (
        saved(GOOD, [function("start", node("a", "WriteFile"))], more=part(7, "..start..")),
        "WriteFile",
    ),
    "saving from a signature": (saved([*SAVING, node("y", "Exp", "save")], more=SAVED_BY), "SaveV2"),
    "restoring from a signature": (saved([*SAVING, node("y", "Exp", "load")], more=SAVED_BY), "RestoreV2"),
    "saving when it is restored": (
        saved([*GOOD, node("s", "SaveV2"), node("load", "NoOp", "^s")], more=SAVED_BY),
        "SaveV2",
    ),
    "what initialises it": (
        saved(
            [*GOOD, node("init", "WriteFile")],
            more=part(4, part(1, "legacy_init_op") + part(2, part(1, part(1, "init")))),
        ),
        "WriteFile",
    ),
    "a part of a sparse output": (
        saved([*GOOD, node("i", "ReadFile")], outputs=(part(4, part(1, "y:0") + part(2, "i:0")),)),
        "ReadFile",
    ),
    "a part of a composite output": (
        saved([*GOOD, node("i", "ReadFile")], outputs=(part(5, part(2, part(1, "i:0"))),)),
        "ReadFile",
    ),
    "a graph that stands twice": (
        saved(GOOD) + part(2, part(2, part(1, node("y", "ReadFile"))) + part(5, signature(part(1, "y:0")))),
        "ReadFile",
    ),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_a_graph_that_only_counts_needs_no_trust(tmp_path: Path, data: bytes) -> None:
    assert risky(folder(tmp_path / "m", data)) == []


@pytest.mark.parametrize(("data", "op"), RISKS.values(), ids=RISKS)
def test_what_reaches_beyond_the_model_is_named(tmp_path: Path, data: bytes, op: str) -> None:
    assert risky(folder(tmp_path / "m", data)) == [op]


@pytest.mark.parametrize("data", [b"", b"\x08\x01", b"no protobuf at all", saved(GOOD)[:-3], b"\x0b"])
def test_bytes_that_are_no_saved_model_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BrokenModel, match="is no SavedModel, or cut short"):
        risky(folder(tmp_path / "m", data))


def test_messages_that_hold_each_other_without_end_are_refused(tmp_path: Path) -> None:
    named = tensor = part(1, "f")
    for _ in range(2000):
        named = part(1, "f") + part(2, part(2, part(10, named)))
        tensor = part(5, part(2, tensor))
    called = part(1, "y") + part(2, "Exp") + part(5, part(2, part(10, named)))
    for data in (saved([called]), saved(GOOD, outputs=(tensor,))):
        with pytest.raises(BrokenModel, match="is no SavedModel, or cut short"):
            risky(folder(tmp_path / "m", data))


def test_names_too_many_to_be_looked_for_all_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(GOOD, [function("f", node("a", "WriteFile"))], more=part(7, "one") + part(7, "other"))
    assert risky(folder(tmp_path / "m", data)) == []
    monkeypatch.setattr(savedmodel, "_SEARCHED", 8)
    assert risky(folder(tmp_path / "m", data)) == ["WriteFile"]


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    home = Home(tmp_path / "home", "", "", "ann")

    def registry() -> None:
        raise AssertionError("no registry is needed")

    return Opener(home, registry, TrustBook(home, registry, SystemClock()))  # type: ignore[arg-type]


def test_one_that_reads_files_is_refused_until_somebody_vouches(tmp_path: Path, opener: Opener) -> None:
    path = folder(tmp_path / "m", RISKS["an input of it"][0])
    with pytest.raises(Untrusted, match=r"saved_model\.pb has operations that .* \(ReadFile\).* add --trust-pickle"):
        opener.open(str(path))
    trusted = opener.open(str(path), trust_pickle=True)
    assert (trusted.artefact.format, trusted.artefact.path, trusted.runs_code) == ("tensorflow", path, True)
    bundle = opener.open(str(folder(tmp_path / "good", saved(GOOD))))
    assert (bundle.artefact.format, bundle.runs_code, bundle.notes) == ("tensorflow", False, ())


def test_many_operations_are_counted(tmp_path: Path) -> None:
    names = ["ReadFile", "WriteFile", "PyFunc", "PrintV2", "RpcCall", "Save"]
    path = folder(tmp_path / "m", saved([node("y", "Exp", *names), *(node(name, name) for name in names)]))
    [risk] = risks.of_saved_model(path)
    assert "(PrintV2, PyFunc, ReadFile, RpcCall and 2 more)" in risk.why


def mlflow(path: Path) -> Path:
    folder(path, b"").joinpath("saved_model.pb").unlink()
    folder(path / "tf2model", saved(GOOD))
    flavors = "  tensorflow: {saved_model_dir: tf2model, model_type: tf2-module}\n"
    (path / "MLmodel").write_text(f"flavors:\n{flavors}  python_function: {{loader_module: mlflow.tensorflow}}\n")
    return path


def triton(path: Path) -> Path:
    (path / "1").mkdir(parents=True)
    folder(path / "1" / "model.savedmodel", saved(GOOD))
    (path / "config.pbtxt").write_text('platform: "tensorflow_savedmodel" max_batch_size: 4')
    return path


@pytest.mark.parametrize(("make", "inner"), [(mlflow, "tf2model"), (triton, "1/model.savedmodel")])
def test_a_saved_model_in_a_folder_of_others(
    tmp_path: Path, opener: Opener, make: Callable[[Path], Path], inner: str
) -> None:
    path = make(tmp_path / "m")
    bundle = opener.open(str(path))
    assert (bundle.artefact.format, bundle.artefact.path) == ("tensorflow", path / inner)


def test_an_mlflow_folder_that_names_a_folder_outside_is_refused(tmp_path: Path, opener: Opener) -> None:
    path = mlflow(tmp_path / "m")
    (path / "MLmodel").write_text((path / "MLmodel").read_text().replace("tf2model,", "../other,"))
    with pytest.raises(Untrusted, match="outside its own folder"):
        opener.open(str(path), trust_pickle=True)


def test_one_is_not_packaged_but_served_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="serve it as it is, or log it with mlflow"):
        pack_file(folder(tmp_path / "m", saved(GOOD)), tmp_path / "out", name="m")


def test_a_keras_file_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n and more")
    with pytest.raises(UnknownFormat, match=r"give the folder that model\.export\(folder\) writes"):
        sniff(tmp_path / "m.h5")
