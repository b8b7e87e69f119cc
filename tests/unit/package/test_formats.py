from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.errors import BrokenModel, ModelError, SourceNotFound, UnknownFormat
from fairlead.package.formats import Format, identify, sniff
from fairlead.package.pickles import is_pickle, pickles_in_zip


class Payload:
    """Unpickling it would call something."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("this must never be printed",)


def onnx_bytes() -> bytes:
    shape = ["n", 2]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"])
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "xy"]
    graph = onnx.helper.make_graph([node], "double", tensors[:1], tensors[1:])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("ai.onnx.ml", 3)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="tests").SerializeToString()


ONNX = onnx_bytes()


def zipped(path: Path, *names: str, **contents: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"{}")
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.anything"
    path.write_bytes(content)
    return path


def test_onnx_with_its_opsets(tmp_path: Path) -> None:
    found = sniff(file(tmp_path, ONNX))
    assert (found.name, found.runtime) == ("onnx", "onnx")
    assert found.details == {"opsets": {"ai.onnx": 17, "ai.onnx.ml": 3}, "ir_version": 9, "producer": "tests"}


def test_a_cut_onnx_file_is_broken_and_never_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "cut.onnx"
    said = set()
    for length in range(len(ONNX)):
        path.write_bytes(ONNX[:length])
        try:
            said.add(sniff(path).name)
        except ModelError as error:
            said.add(type(error).__name__)
    # Cut exactly between two opset imports nothing is missing at this level: that is for the runtime to find.
    assert said == {"BrokenModel", "UnknownFormat", "onnx"}
    path.write_bytes(ONNX[: len(ONNX) // 2])
    with pytest.raises(BrokenModel, match="cut short: it ends in the middle"):
        sniff(path)


def test_onnx_without_opsets_is_broken(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(ONNX)
    del model.opset_import[:]
    with pytest.raises(BrokenModel, match="no opset_import"):
        sniff(file(tmp_path, model.SerializeToString()))


@pytest.mark.parametrize("protocol", range(6))
def test_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    assert sniff(file(tmp_path, pickle.dumps(Payload(), protocol))).name == "pickle"


@pytest.mark.parametrize(
    "pack",
    [zlib.compress, gzip.compress, bz2.compress, lzma.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE)],
)
def test_compressed_pickles(tmp_path: Path, pack: object) -> None:
    path = file(tmp_path, pack(pickle.dumps(Payload())))
    assert identify(path) == Format("pickle", "sklearn", "a pickle")


def test_a_pickle_with_bytes_after_it_is_one(tmp_path: Path) -> None:
    assert is_pickle(file(tmp_path, pickle.dumps(Payload(), 0) + b"\xff\xff not a pickle any more"))


@pytest.mark.parametrize(
    "text",
    [
        b"channels:\n- conda-forge\ndependencies:\n- python=3.11\n",
        b"cloudpickle==3.1.1\nnumpy==2.4\nscikit-learn==1.9\n",
        b"ipython\njoblib\n",
        b"(a remark)\n",
        b'{"columns": [1, 2]}',
        b"N.",
    ],
)
def test_texts_are_no_pickles(tmp_path: Path, text: bytes) -> None:
    assert not is_pickle(file(tmp_path, text))


def test_object_arrays_are_pickles(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)
    assert is_pickle(path)
    np.save(path, np.arange(3.0))
    assert not is_pickle(path)


@pytest.mark.parametrize(
    "dtype", ["O", [("a", "O")], [("x" * 5000, "f4"), ("b", "O")], [("a", [("b", "O")])], [("a", "O", (2,))]]
)
def test_object_arrays_of_every_spelling_are_pickles(tmp_path: Path, dtype: object) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.zeros(1, dtype), allow_pickle=True)  # type: ignore[call-overload]
    assert is_pickle(path)
    for spelling in (b"'O' ", b'"O" ', b"('O',)"):
        path.write_bytes(path.read_bytes().replace(b"'|O'", spelling))
        assert is_pickle(path)


@pytest.mark.parametrize(
    "dtype", ["U5", [("O", "f4")], [("Object", "f4"), ("b", "i4", (2,))], [(("Title O", "a"), "f4")]]
)
def test_other_arrays_are_no_pickles(tmp_path: Path, dtype: object) -> None:
    path = tmp_path / "array.npy"
    np.save(path, np.zeros(1, dtype))  # type: ignore[call-overload]
    assert not is_pickle(path)


def test_a_pickle_behind_a_long_run_of_harmless_opcodes_is_one(tmp_path: Path) -> None:
    assert is_pickle(file(tmp_path, b"N0" * 700_000 + pickle.dumps(Payload(), 0)))
    assert not is_pickle(file(tmp_path, b"N0" * 100))


def test_a_strange_escape_in_a_string_is_no_warning(tmp_path: Path) -> None:
    assert is_pickle(file(tmp_path, b"c__builtin__\nprint\n(S'\\400'\ntR."))


def test_unusual_compression_hides_no_pickle(tmp_path: Path) -> None:
    small = zlib.compressobj(9, zlib.DEFLATED, 9)
    assert is_pickle(file(tmp_path, small.compress(pickle.dumps(Payload())) + small.flush()))
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 4097}]
    assert is_pickle(file(tmp_path, lzma.compress(pickle.dumps(Payload()), lzma.FORMAT_ALONE, filters=filters)))


def test_pickles_inside_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "model.pt", "archive/version", **{"archive/data.pkl": pickle.dumps(Payload())})
    assert pickles_in_zip(path) == ["archive/data.pkl"]


def test_skops_is_a_zip_with_a_schema(tmp_path: Path) -> None:
    path = zipped(tmp_path / "model.zip", "schema.json", "a.npy")
    assert (sniff(path).name, sniff(path).runtime) == ("skops", "sklearn")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenModel, match="cut short"):
        sniff(path)


def test_mlflow_folder_carries_its_document(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors:\n  python_function: {loader_module: mlflow.sklearn}\n")
    found = sniff(tmp_path)
    assert found.runtime == "mlflow"
    assert found.details["mlmodel"]["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"


@pytest.mark.parametrize(
    "text", ["flavors: [", "nothing: here", "!!python/object/apply:os.system [id]", "- a\n", "flavors: {a: 1}"]
)
def test_an_mlmodel_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(BrokenModel, match="MLmodel"):
        sniff(tmp_path)


FOREIGN = {
    "safetensors": (12).to_bytes(8, "little") + b'{"a":{"b":1}' + b"\0" * 20,
    "gguf": b"GGUF\x03\0\0\0",
    "ort": b"\x20\0\0\0ORTM\0\0",
    "catboost": b"CBM1\0\0",
    "hdf5": b"\x89HDF\r\n\x1a\n\0",
    "openvino": b'<?xml version="1.0"?>\n<net name="m" version="11">\n',
    "html": b"<!DOCTYPE html><html><title>Sign in</title>",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "json": b'{"a": 1}',
    "text": "hélas\n".encode(),
    "python": b"import os\nclass Predictor:\n    pass\n",
}


OLD_XGBOOST = bytes(136) + (15).to_bytes(8, "little") + b"binary:logistic" + bytes(20)

NATIVE = {
    "a.tflite": (b"\x20\0\0\0TFL3\0\0", "tflite", "litert"),
    "a.ubj": (b"{L\0\0\0\0\0\0\0\x07learner{", "xgboost", "xgboost"),
    "a.json": (b'{"learner":{"attributes":{}', "xgboost", "xgboost"),
    "spaced.json": (b'{\n  "version": [3, 2, 0],\n  "learner": {', "xgboost", "xgboost"),
    "a.model": (b"binf" + OLD_XGBOOST, "xgboost", "xgboost"),
    "older.model": (OLD_XGBOOST, "xgboost", "xgboost"),
    "a.txt": (b"tree\nversion=v4\nnum_class=1\n", "lightgbm", "lightgbm"),
}


@pytest.mark.parametrize("case", NATIVE)
def test_native_files_are_known_by_content(tmp_path: Path, case: str) -> None:
    content, name, runtime = NATIVE[case]
    found = sniff(file(tmp_path, content))
    assert (found.name, found.runtime) == (name, runtime)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_runtime_reads_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, FOREIGN[name])
    found = identify(path)
    assert (found.name, found.runtime) == (name, "")
    with pytest.raises(UnknownFormat) as error:
        sniff(path)
    assert str(error.value) == f"{path} is {found.title}, which no runtime here reads; {found.remedy}"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("m/data.pkl", "m/constants.pkl", "m/code/a.py"), "torchscript"),
        (("m/data.pkl", "m/data/0"), "torch"),
        (("m/archive_format", "m/models/model.json"), "pt2"),
        (("config.json", "model.weights.h5"), "keras"),
        (("a.npy", "b.npy"), "numpy"),
        (("readme.md",), "zip"),
    ],
)
def test_zips_by_what_they_hold(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    assert identify(zipped(tmp_path / "model.onnx", *names)).name == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Manifest.json", "Data"), "a Core ML package"),
        (("config.json", "model.safetensors"), "a Hugging Face model folder"),
        (("a.txt",), "without an MLmodel file; it holds a.txt"),
        ((), "is an empty folder"),
    ],
)
def test_folders_by_what_they_hold(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UnknownFormat, match=expected):
        sniff(tmp_path)


def test_a_folder_around_a_model_names_it(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "MLmodel").touch()
    with pytest.raises(UnknownFormat, match="did you mean .*inner"):
        sniff(tmp_path)


def test_nothing_and_emptiness(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such file"):
        sniff(tmp_path / "none")
    with pytest.raises(BrokenModel, match="0 bytes"):
        sniff(file(tmp_path, b""))


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=400))
def test_random_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    _survives(tmp_path_factory, data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_models_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([ONNX, pickle.dumps(Payload(), 0), *FOREIGN.values()])))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    _survives(tmp_path_factory, bytes(whole))


def _survives(factory: pytest.TempPathFactory, data: bytes) -> None:
    path = factory.getbasetemp() / "random"
    path.write_bytes(data)
    with contextlib.suppress(ModelError):
        assert sniff(path).runtime
