"""Our own wheel: the same bytes for the same files, and one that pip takes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

import fairlead
from fairlead.package import sbom, wheel
from fairlead.package.image import Base, Facts
from fairlead.package.lock import WHEELS, Wheel


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "a", tmp_path / "b"
    assert wheel.build(one).read_bytes() == wheel.build(other).read_bytes()


def test_its_record_is_true_and_nothing_compiled_is_in_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel.build(tmp_path)) as archive:
        names = archive.namelist()
        record = archive.read(next(one for one in names if one.endswith("/RECORD"))).decode()
        for name, digest, size in csv.reader(io.StringIO(record)):
            if digest:
                data = archive.read(name)
                assert len(data) == int(size)
                assert digest == "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip(
                    "="
                )
        assert {row[0] for row in csv.reader(io.StringIO(record))} == set(names)
        assert not [one for one in names if "__pycache__" in one]
        assert "fairlead/py.typed" in names
        assert b"fairlead = fairlead.cli.main:main" in archive.read(
            next(n for n in names if n.endswith("entry_points.txt"))
        )


def test_a_distribution_can_have_another_name_in_a_build_for_a_gpu(tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel.build(tmp_path, renamed={"onnxruntime": "onnxruntime-gpu"})) as archive:
        text = archive.read(f"fairlead-{fairlead.__version__}.dist-info/METADATA").decode()
    assert "Requires-Dist: onnxruntime-gpu>=1.20" in text
    assert "Requires-Dist: onnxruntime>=1.20" not in text
    assert "Provides-Extra: registry" in text


def _library(context: Path, name: str, version: str, *lines: str) -> Wheel:
    folder = context / WHEELS
    folder.mkdir(parents=True, exist_ok=True)
    file = f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join((f"Name: {name}", *lines)) + "\n")
    return Wheel(name, version, file, "c" * 64)


def test_the_bill_of_materials_names_libraries_licences_and_the_model(tmp_path: Path) -> None:
    wheels = [
        _library(tmp_path, "fairlead", "0.1.0", "License-Expression: Apache-2.0", "Requires-Dist: numpy>=2"),
        _library(tmp_path, "numpy", "2.4.6", "License: BSD-3-Clause", "Requires-Dist: x; extra == 'dev'"),
        _library(
            tmp_path, "old", "1.0", "License: " + "whole text " * 40, "Classifier: License :: OSI Approved :: MIT"
        ),
        _library(tmp_path, "bare", "1.0"),
    ]
    facts = Facts(
        "churn", "models:/churn/3", "onnx", "0.1.0", "3.11", Base("python:3.11", "sha256:" + "a" * 64),
        lineage={"model": "churn", "model.version": "3", "model.digest": "sha256:" + "b" * 64, "run": "r1"},
    )  # fmt: skip
    found = sbom.document(facts, tmp_path, wheels, "churn:4")
    parts = {one["name"]: one for one in found["components"]}
    assert parts["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert parts["numpy"]["licenses"] == [{"license": {"id": "BSD-3-Clause"}}]
    assert parts["fairlead"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert parts["old"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert "licenses" not in parts["bare"]
    assert parts["churn"]["type"] == "machine-learning-model"
    assert parts["churn"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    needs = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert needs["pkg:pypi/fairlead@0.1.0"] == ["pkg:pypi/numpy@2.4.6"]
    assert "pkg:pypi/fairlead@0.1.0" in needs["churn:4"]
    assert found == sbom.document(facts, tmp_path, wheels, "churn:4")


def test_the_bill_of_materials_keeps_its_schema(tmp_path: Path) -> None:
    import json

    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    facts = Facts("churn", "models:/churn/3", "onnx", "0.1.0", "3.11", Base("python:3.11"), lineage={"model": "churn"})
    wheels = [_library(tmp_path, "numpy", "2.4.6+cpu", "License: something of our own")]
    text = json.dumps(sbom.document(facts, tmp_path, wheels, "churn:4"))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"library"', '"libary"')) is not None
