from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from fairlead.contracts.errors import BrokenModel, UnknownFormat
from fairlead.package.formats import sniff
from fairlead.package.risks import of_file


def script() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as inner:
        for name in ("m/data.pkl", "m/constants.pkl", "m/code/a.py"):
            inner.writestr(name, b"")
    return made.getvalue()


def mar(path: Path, handler: str = "base_handler", members: dict[str, bytes] | None = None, **manifest: str) -> Path:
    members = {"net.pt": script()} if members is None else members
    said = {"modelName": "net", "serializedFile": "net.pt", "handler": handler, **manifest}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": said}))
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_torchscript_program_on_raw_tensors_is_served(tmp_path: Path) -> None:
    path = mar(tmp_path / "net.mar")
    found = sniff(path)
    assert (found.name, found.runtime, found.details) == ("mar", "torch", {"member": "net.pt"})
    assert [risk.why for risk in of_file(path)] == [
        "holds a TorchScript program, and running it may read and write files"
    ]


@pytest.mark.parametrize(
    ("handler", "members", "manifest", "error", "said"),
    [
        ("image_classifier", None, {}, UnknownFormat, "handler 'image_classifier', which is not kept here; unpack"),
        ("own.py", None, {}, UnknownFormat, r"handler 'own\.py', which is code that is not run here"),
        ("base_handler.py", {"base_handler.py": b"", "net.pt": script()}, {}, UnknownFormat, "code that is not run"),
        ("base_handler", {"net.pt": b"\x80\x02."}, {"modelFile": "net.py"}, UnknownFormat, r"the class in net\.py"),
        ("base_handler", {}, {}, BrokenModel, "names the serializedFile 'net.pt' and does not hold it"),
        ("own.py", {}, {"serializedFile": ""}, UnknownFormat, "without a serializedFile"),
    ],
)
def test_anything_else_is_told_in_one_sentence(
    tmp_path: Path, handler: str, members: dict[str, bytes] | None, manifest: dict[str, str], error: type, said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        sniff(mar(tmp_path / "net.mar", handler, members, **manifest))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("manifest", [b"{", b"[]", b'{"model": 3}', b"[" * 100_000])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, manifest: bytes) -> None:
    path = tmp_path / "net.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", manifest)
    with pytest.raises(BrokenModel):
        sniff(path)
