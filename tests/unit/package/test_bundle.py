from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import onnx
import onnx.helper
import pytest
import yaml

from fairlead.contracts.errors import BrokenModel, DigestMismatch, UnknownFormat, Untrusted, UsageError
from fairlead.contracts.runtime import Artefact
from fairlead.contracts.types import DataType, Signature, TensorSpec
from fairlead.kit.clock import SystemClock
from fairlead.kit.config import Home
from fairlead.package import manifest
from fairlead.package.bundle import Bundle, Opener
from fairlead.package.manifest import Manifest
from fairlead.package.registry import publish
from fairlead.package.sources import fetch, parse
from fairlead.package.trust import TrustBook
from fairlead.testing.stores import MemoryRegistry

SIGNATURE = Signature((TensorSpec("x", DataType.FP64, (-1, 2)),), tensor=True)
SKLEARN = {"pickled_model": "model.skops", "serialization_format": "skops", "sklearn_version": "1.5.2", "code": None}
PYFUNC = {"loader_module": "mlflow.sklearn", "model_path": "model.skops", "predict_fn": "predict"}


class Shelf:
    """An opener with everything around it."""

    def __init__(self, root: Path) -> None:
        self.home = Home(root / "home", "memory:", "memory:", "ada")
        self.registry = MemoryRegistry()
        self.book = TrustBook(self.home, lambda: self.registry, SystemClock())
        self.opener = Opener(self.home, lambda: self.registry, self.book)
        self.folder = root / "model"
        self.folder.mkdir()

    def open(self, uri: str | Path, **options: Any) -> Bundle:
        return self.opener.open(str(uri), **options)

    def write(self, **files: bytes) -> Path:
        for name, content in files.items():
            path = self.folder / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder

    def mlmodel(self, **document: Any) -> Path:
        (self.folder / "MLmodel").write_text(yaml.safe_dump(document))
        return self.folder

    def trust(self, uri: str) -> None:
        self.book.record(fetch(parse(uri), lambda: self.registry, self.home), "reviewed")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def onnx_bytes() -> bytes:
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in "xy"]
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])).SerializeToString()


def skops_bytes(tmp_path: Path, kind: str = "Ridge") -> bytes:
    path = tmp_path / "made.skops"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", json.dumps({"__module__": "sklearn", "__class__": kind}))
    return path.read_bytes()


def packaged(shelf: Shelf, runtime: str, artefact: str, **files: bytes) -> Path:
    shelf.write(**files)
    if not (shelf.folder / "MLmodel").exists():
        shelf.mlmodel(flavors={"python_function": PYFUNC, "sklearn": SKLEARN})
    manifest.write(
        shelf.folder, Manifest("m", SIGNATURE, runtime, artefact, "because", libraries={"scikit-learn": "1.0.2"})
    )
    return shelf.folder


def test_a_class_is_the_users_own(shelf: Shelf) -> None:
    bundle = shelf.open("my.package:ChurnPredictor")
    assert bundle == Bundle(
        "churn-predictor",
        "1",
        "my.package:ChurnPredictor",
        Artefact("python", target="my.package:ChurnPredictor", trusted=True),
        "",
    )


def test_an_onnx_file(shelf: Shelf) -> None:
    path = shelf.write(net=onnx_bytes()) / "net"
    bundle = shelf.open(path)
    assert (bundle.name, bundle.version, bundle.artefact.format, bundle.artefact.path) == ("net", "1", "onnx", path)
    assert bundle.artefact.details["opsets"]["ai.onnx"] > 0
    assert (bundle.artefact.trusted, bundle.notes) == (False, ())


def test_a_pickled_file_is_refused_until_somebody_vouches(shelf: Shelf) -> None:
    path = shelf.write(m=pickle.dumps([1])) / "m"
    with pytest.raises(Untrusted, match="is a pickle, .* add --trust-pickle"):
        shelf.open(path)
    assert shelf.open(path, trust_pickle=True).artefact.trusted
    with pytest.raises(Untrusted):
        shelf.open(path)
    shelf.trust(str(path))
    assert shelf.open(path).artefact == shelf.open(path, trust_pickle=True).artefact
    path.write_bytes(pickle.dumps([2]))
    with pytest.raises(Untrusted, match="other bytes"):
        shelf.open(path)


def test_a_skops_file_needs_no_trust_and_trust_covers_its_types(shelf: Shelf, tmp_path: Path) -> None:
    path = shelf.write(m=skops_bytes(tmp_path)) / "m"
    assert (shelf.open(path).artefact.format, shelf.open(path).artefact.trusted_types) == ("sklearn", ())
    shelf.trust(str(path))
    assert shelf.open(path).artefact.trusted_types == ("sklearn.Ridge",)


def test_the_list_of_types_in_an_mlmodel_is_not_believed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.write(model_DOT_skops=skops_bytes(tmp_path, "Evil"))
    shelf.mlmodel(flavors={"python_function": PYFUNC, "sklearn": {**SKLEARN, "skops_trusted_types": ["sklearn.Evil"]}})
    artefact = shelf.open(shelf.folder).artefact
    assert (artefact.format, artefact.path, artefact.trusted_types) == ("sklearn", shelf.folder / "model.skops", ())


def test_an_mlflow_folder_of_scikit_learn(shelf: Shelf, tmp_path: Path) -> None:
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]
    shelf.write(model_DOT_skops=skops_bytes(tmp_path), input_example_DOT_json=b"[[1, 2], [3, 4]]")
    shelf.mlmodel(
        flavors={"python_function": {**PYFUNC, "python_version": "2.7.18"}, "sklearn": SKLEARN},
        signature={"inputs": json.dumps(tensor), "outputs": None, "params": None},
    )
    bundle = shelf.open(shelf.folder)
    assert bundle.artefact.details["mlmodel"]["flavors"]["python_function"]["predict_fn"] == "predict"
    assert bundle.artefact.signature is not None
    assert bundle.artefact.signature.tensor
    assert bundle.example is not None
    assert bundle.example["input"].tolist() == [[1, 2], [3, 4]]
    assert [note for note in bundle.notes if note.startswith("scikit-learn 1.5.2 made this model")]
    assert not [note for note in bundle.notes if "Python" in note]  # skops does not depend on it


def test_a_pickled_mlflow_folder_is_refused(shelf: Shelf) -> None:
    shelf.write(model_DOT_pkl=pickle.dumps([1]))
    shelf.mlmodel(
        flavors={"python_function": PYFUNC | {"python_version": "2.7.18"}, "sklearn": {"pickled_model": "model.pkl"}}
    )
    with pytest.raises(Untrusted, match=r"model\.pkl is a pickle"):
        shelf.open(shelf.folder)
    bundle = shelf.open(shelf.folder, trust_pickle=True)
    assert bundle.artefact.trusted
    assert [note for note in bundle.notes if note.startswith("Python 2.7.18")]


def test_onnx_flavor_and_other_flavors(shelf: Shelf) -> None:
    shelf.write(model_DOT_onnx=onnx_bytes())
    shelf.mlmodel(flavors={"python_function": {"loader_module": "mlflow.onnx"}, "onnx": {"data": "model.onnx"}})
    assert shelf.open(shelf.folder).artefact.path == shelf.folder / "model.onnx"
    shelf.mlmodel(flavors={"python_function": {"loader_module": "mlflow.catboost"}, "catboost": {"data": "model.cb"}})
    assert shelf.open(shelf.folder).artefact.format == "mlflow"
    shelf.mlmodel(flavors={"python_function": {"loader_module": "mlflow.pyfunc.model"}})
    with pytest.raises(Untrusted, match="MLmodel has the loader"):
        shelf.open(shelf.folder)
    shelf.mlmodel(flavors={"spark": {}})
    with pytest.raises(UnknownFormat, match="flavors spark"):
        shelf.open(shelf.folder)


@pytest.mark.parametrize(
    ("flavor", "name", "content"),
    [
        ("xgboost", "model.ubj", b"{L\0\0\0\0\0\0\0\x07learner{"),
        ("lightgbm", "model.lgb", b"tree\nversion=v4\nnum_class=1\n"),
    ],
)
def test_pyfunc_serves_mlflow_boosters_unless_their_runtime_is_named(
    shelf: Shelf, flavor: str, name: str, content: bytes
) -> None:
    shelf.write(**{name: content})
    pyfunc = {"loader_module": f"mlflow.{flavor}", "data": name}
    folder = shelf.mlmodel(flavors={flavor: {"data": name, "code": None}, "python_function": pyfunc})
    with pytest.raises(Untrusted, match=f"the loader mlflow.{flavor}"):
        shelf.open(folder)
    assert shelf.open(folder, trust_pickle=True).artefact.format == "mlflow"
    native = shelf.open(folder, runtime=flavor).artefact
    assert (native.format, native.path, native.trusted) == (flavor, folder / name, False)
    shelf.write(**{name: pickle.dumps({})})
    with pytest.raises(Untrusted, match="is a pickle"):
        shelf.open(folder, runtime=flavor)


def test_code_beside_a_scikit_learn_model_goes_to_pyfunc_and_needs_trust(shelf: Shelf, tmp_path: Path) -> None:
    shelf.write(model_DOT_skops=skops_bytes(tmp_path), code__mine_DOT_py=b"import os")
    shelf.mlmodel(flavors={"python_function": {**PYFUNC, "code": "code"}, "sklearn": {**SKLEARN, "code": "code"}})
    with pytest.raises(Untrusted, match="code is code that comes with the model"):
        shelf.open(shelf.folder)
    assert shelf.open(shelf.folder, trust_pickle=True).artefact.format == "mlflow"


def test_a_packaged_folder_follows_its_manifest(shelf: Shelf, tmp_path: Path) -> None:
    # The pickle is what the twin was made from: nothing reads it.
    folder = packaged(
        shelf, "onnx", "fairlead/model.onnx", fairlead__model_DOT_onnx=onnx_bytes(), old_DOT_pkl=pickle.dumps([1])
    )
    bundle = shelf.open(folder)
    assert (bundle.artefact.format, bundle.artefact.path) == ("onnx", folder / "fairlead/model.onnx")
    assert (bundle.artefact.signature, bundle.notes) == (SIGNATURE, ())
    assert bundle.manifest is not None


def test_why_the_original_serves_is_told(shelf: Shelf, tmp_path: Path) -> None:
    folder = packaged(shelf, "sklearn", "model.skops", model_DOT_skops=skops_bytes(tmp_path))
    bundle = shelf.open(folder)
    assert bundle.notes[0] == "because"
    assert bundle.notes[1].startswith("scikit-learn 1.0.2 made this model")


def test_a_manifest_that_lies_about_a_pickle_is_refused(shelf: Shelf) -> None:
    folder = packaged(shelf, "onnx", "model.onnx", model_DOT_onnx=pickle.dumps([1]))
    with pytest.raises(Untrusted, match="is a pickle, and the runtime 'onnx' chosen for it reads onnx"):
        shelf.open(folder)
    with pytest.raises(Untrusted):
        shelf.open(folder, trust_pickle=True)


def test_a_manifest_that_calls_a_pickle_skops_is_seen_through(shelf: Shelf) -> None:
    folder = packaged(shelf, "sklearn", "model.skops", model_DOT_skops=pickle.dumps([1]))
    with pytest.raises(Untrusted, match=r"model\.skops is a pickle"):
        shelf.open(folder)


@pytest.mark.parametrize("artefact", ["/etc/passwd", "../other/model.onnx"])
def test_a_manifest_that_points_outside_is_refused(shelf: Shelf, artefact: str) -> None:
    folder = packaged(shelf, "onnx", artefact, model_DOT_onnx=onnx_bytes())
    with pytest.raises(Untrusted, match="outside its own folder"):
        shelf.open(folder, trust_pickle=True)


def test_a_manifest_cannot_name_the_python_runtime(shelf: Shelf) -> None:
    folder = packaged(shelf, "python", "model.onnx", model_DOT_onnx=onnx_bytes())
    with pytest.raises(BrokenModel, match="the python runtime serves classes"):
        shelf.open(folder, trust_pickle=True)


def test_an_unknown_runtime_is_scanned_like_any_folder(shelf: Shelf) -> None:
    folder = packaged(shelf, "stranger", "weights", weights=pickle.dumps([1]))
    with pytest.raises(Untrusted, match="weights is a pickle"):
        shelf.open(folder)


def test_changed_bytes_are_a_digest_mismatch(shelf: Shelf) -> None:
    folder = packaged(shelf, "onnx", "model.onnx", model_DOT_onnx=onnx_bytes())
    (folder / "model.onnx").write_bytes(onnx_bytes() + b"\x32\x01a")
    with pytest.raises(DigestMismatch, match=r"model\.onnx: changed"):
        shelf.open(folder, trust_pickle=True)


def test_a_registered_version(shelf: Shelf) -> None:
    publish(shelf.registry, packaged(shelf, "onnx", "model.onnx", model_DOT_onnx=onnx_bytes()), "churn")
    shelf.registry.set_alias("churn", "champion", "1")
    bundle = shelf.open("models:/churn@champion")
    assert (bundle.name, bundle.version, bundle.uri) == ("churn", "1", "models:/churn@champion")
    assert bundle.artefact.path is not None
    assert bundle.artefact.path.is_relative_to(shelf.home.cache)


def test_a_manifest_that_was_swapped_in_the_artefact_store_is_noticed(shelf: Shelf) -> None:
    folder = packaged(shelf, "onnx", "model.onnx", model_DOT_onnx=onnx_bytes())
    publish(shelf.registry, folder, "churn")
    manifest.write(folder, Manifest("m", SIGNATURE, "onnx", "model.onnx", "swapped"))
    files = {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    shelf.registry.add("models:/churn/1", files)
    with pytest.raises(DigestMismatch, match="not the one that was registered"):
        shelf.open("models:/churn/1")
    files.pop(manifest.PATH)
    shelf.registry.add("models:/churn/1", files)
    with pytest.raises(DigestMismatch, match="missing"):
        Opener(Home(shelf.folder / "2", "memory:", "", "x"), lambda: shelf.registry, shelf.book).open("models:/churn/1")


def test_wrong_bytes_do_not_stay_in_the_cache(shelf: Shelf) -> None:
    folder = packaged(shelf, "onnx", "model.onnx", model_DOT_onnx=onnx_bytes())
    publish(shelf.registry, folder, "churn")
    files = {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}
    shelf.registry.add("models:/churn/1", {**files, "model.onnx": b"half"})
    with pytest.raises(DigestMismatch, match="fetch or package the model again"):
        shelf.open("models:/churn/1")
    shelf.registry.add("models:/churn/1", files)
    assert shelf.open("models:/churn/1").version == "1"


def test_bytes_other_than_the_trusted_ones_do_not_stay_in_the_cache(shelf: Shelf) -> None:
    shelf.write(model_DOT_pkl=pickle.dumps([1]))
    shelf.mlmodel(flavors={"python_function": PYFUNC, "sklearn": {"pickled_model": "model.pkl"}})
    shelf.registry.log(shelf.folder, "churn")
    shelf.trust("models:/churn/1")
    (kept,) = (path for path in shelf.home.cache.rglob("model.pkl"))
    files = {name: (shelf.folder / name).read_bytes() for name in ("MLmodel", "model.pkl")}
    shelf.registry.add("models:/churn/1", {**files, "model.pkl": pickle.dumps([2])})
    kept.write_bytes(b"touched, so that it is fetched again")
    with pytest.raises(Untrusted, match="other bytes"):
        shelf.open("models:/churn/1")
    shelf.registry.add("models:/churn/1", files)
    assert shelf.open("models:/churn/1").artefact.trusted


def test_a_flag_does_not_vouch_for_a_registered_version(shelf: Shelf) -> None:
    shelf.write(model_DOT_pkl=pickle.dumps([1]))
    shelf.mlmodel(flavors={"python_function": PYFUNC, "sklearn": {"pickled_model": "model.pkl"}})
    shelf.registry.log(shelf.folder, "churn")
    with pytest.raises(Untrusted, match=r"fairlead models trust churn/1 --why"):
        shelf.open("models:/churn/1", trust_pickle=True)
    shelf.trust("models:/churn/1")
    assert shelf.open("models:/churn/1").artefact.trusted


def test_the_runtime_can_be_chosen(shelf: Shelf, tmp_path: Path) -> None:
    folder = packaged(
        shelf,
        "onnx",
        "fairlead/model.onnx",
        fairlead__model_DOT_onnx=onnx_bytes(),
        model_DOT_skops=skops_bytes(tmp_path),
    )
    assert shelf.open(folder, runtime="sklearn").artefact.path == folder / "model.skops"
    with pytest.raises(Untrusted):
        shelf.open(folder, runtime="mlflow")
    with pytest.raises(BrokenModel, match="reads onnx"):
        shelf.open(folder / "model.skops", runtime="onnx")
    with pytest.raises(UnknownFormat, match="none of them is for the runtime 'onnx'"):
        shelf.open(shelf.mlmodel(flavors={"python_function": PYFUNC}) and _without_manifest(folder), runtime="onnx")


def _without_manifest(folder: Path) -> Path:
    (folder / manifest.PATH).unlink()
    return folder


def test_default_names() -> None:
    assert Opener.default_name("models:/churn@champion") == "churn"
    assert Opener.default_name("./digits.onnx") == "digits"
    with pytest.raises(UsageError):
        Opener.default_name("models:/churn")
