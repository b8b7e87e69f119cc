from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fairlead.contracts.errors import BrokenModel, Untrusted
from fairlead.package import risks


def mlmodel(loader: str = "mlflow.onnx", **flavor: Any) -> dict[str, Any]:
    return {"flavors": {"python_function": {"loader_module": loader, **flavor}}}


def reasons(folder: Path, document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(risk.file, risk.why) for risk in risks.of_folder(folder, document)]


def test_plain_data_has_no_risks(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x09")
    (tmp_path / "conda.yaml").write_text("channels:\n- conda-forge\n")
    assert reasons(tmp_path, mlmodel(data="model.onnx")) == []


def test_pickles_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "weights.onnx").write_bytes(pickle.dumps([1]))
    found = reasons(tmp_path, mlmodel())
    assert found == [("artifacts/weights.onnx", "is a pickle, and loading it runs whatever code it holds")]


def test_pickles_in_zips_are_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    assert "holds the pickle archive/data.pkl" in reasons(tmp_path, mlmodel())[0][1]
    assert "holds the pickle" in risks.of_file(tmp_path / "model.pth")[0].why


def test_a_pickle_with_a_harmless_zip_behind_it_is_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(pickle.dumps([1]))
    with zipfile.ZipFile(tmp_path / "m", "a") as archive:
        archive.writestr("schema.json", "{}")
    assert zipfile.is_zipfile(tmp_path / "m")
    assert "is a pickle" in risks.of_file(tmp_path / "m")[0].why


def test_a_zip_that_cannot_be_read_is_a_risk(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m", "w") as archive:
        archive.writestr("a", b"x" * 100)
    broken = bytearray((tmp_path / "m").read_bytes())
    broken[0:4] = b"nope"
    (tmp_path / "m").write_bytes(broken)
    assert "cannot be looked into" in risks.of_file(tmp_path / "m")[0].why


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (mlmodel("my_package.loader"), "code from outside MLflow"),
        (mlmodel(""), "code from outside MLflow"),
        ({"flavors": {}}, "code from outside MLflow"),
        (mlmodel("mlflow.pyfunc.model"), "the loader mlflow.pyfunc.model, which may run code"),
        (mlmodel("mlflow.sklearn"), "the loader mlflow.sklearn, which may run code"),
        (mlmodel(code="code"), "code that comes with the model"),
        (mlmodel(model_code_path="/src/agent.py"), "Python source that runs"),
        ({"flavors": {**mlmodel()["flavors"], "other": {"code": "src"}}}, "code that comes with the model"),
    ],
)
def test_what_an_mlmodel_declares(tmp_path: Path, document: dict[str, Any], said: str) -> None:
    assert [why for _, why in reasons(tmp_path, document) if said in why]


@pytest.mark.parametrize("key", ["data", "model_path", "pickled_model", "code"])
@pytest.mark.parametrize("path", ["/etc/passwd", "../../other/model.pkl"])
def test_paths_outside_the_folder_are_refused_for_good(tmp_path: Path, key: str, path: str) -> None:
    with pytest.raises(Untrusted, match="outside its own folder"):
        risks.check_paths(tmp_path, {"flavors": {"sklearn": {key: path}}})


def test_skops_types_name_classes_and_functions(tmp_path: Path) -> None:
    schema = {
        "__module__": "sklearn.pipeline",
        "__class__": "Pipeline",
        "content": [
            {"__module__": "builtins", "__class__": "f", "content": {"module_path": "os", "function": "system"}}
        ],
    }
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps(schema))
    assert risks.skops_types(tmp_path / "m.skops") == ("builtins.f", "os.system", "sklearn.pipeline.Pipeline")


def test_a_broken_skops_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", "{")
    with pytest.raises(BrokenModel, match="broken"):
        risks.skops_types(tmp_path / "m.skops")


def test_every_type_that_skops_asks_about_is_named(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    functions = pytest.importorskip("sklearn.preprocessing")
    holder = functions.FunctionTransformer(json.dumps, kw_args={"cls": json.JSONEncoder, "path": Path("x")})
    skops.dump(holder, tmp_path / "m.skops")
    asked = set(skops.get_untrusted_types(file=tmp_path / "m.skops"))
    assert asked
    assert asked <= set(risks.skops_types(tmp_path / "m.skops"))
