"""Export to ONNX: what agrees, what does not, and what cannot be exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fairlead[torch]'")

from fairlead.contracts.errors import BrokenModel, MalformedBody, UsageError  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.kit import plugins  # noqa: E402
from fairlead.package.bundle import Bundle  # noqa: E402
from fairlead.package.export import Exported, export  # noqa: E402
from fairlead.package.formats import sniff  # noqa: E402
from torch_files import NETS, Net, save, script  # noqa: E402


def exported(output: Path, path: Path | None = None, target: str = "", to: str = "onnx", **more: Any) -> Exported:
    artefact = Artefact("torch", path, target, trusted=True)
    model = plugins.load("fairlead.runtimes", "torch")().load(artefact, RuntimeOptions())
    return export(Bundle("m", "1", str(path or target), artefact, ""), model, output, target=to, **more)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "nets_to_export.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "nets_to_export"


def test_an_archive_agrees_with_its_export(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Net(), torch.randn(5, 4))
    np.savez(tmp_path / "rows.npz", x=np.random.default_rng(0).normal(size=(40, 4)))
    done = exported(tmp_path / "out" / "m.onnx", path, example=tmp_path / "rows.npz", opset=21)
    assert (done.parity.agrees, done.rows, done.opset) == (True, 40 + 5 + 16, 21)
    assert sniff(done.file).name == "onnx"
    document = json.loads(done.report.read_text())
    assert {one["case"] for one in document["parity"]["differences"]} == {"example", "kept", "made-up"}
    graph = plugins.load("fairlead.runtimes", "onnx")().load(Artefact("onnx", done.file), RuntimeOptions())
    assert graph.signature.batched
    assert [spec.name for spec in (*graph.signature.inputs, *graph.signature.outputs)] == ["x", "logits"]
    with pytest.raises(UsageError, match="is there already; name another file"):
        exported(done.file, path)


def test_a_class_is_exported_with_a_free_batch(tmp_path: Path, nets: str) -> None:
    (tmp_path / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n5,6,7,8.5\n0,0,0,0\n")
    done = exported(tmp_path / "m.onnx", target=f"{nets}:Net", example=tmp_path / "rows.csv")
    assert (done.parity.agrees, done.rows) == (True, 3 + 16)


def test_an_export_that_does_not_agree_says_so_and_is_kept(tmp_path: Path, nets: str) -> None:
    done = exported(tmp_path / "m.onnx", target=f"{nets}:Noisy")
    assert not done.parity.agrees
    assert "is off by up to" in done.parity.reasons[0]
    assert done.file.exists()
    assert not json.loads(done.report.read_text())["parity"]["agrees"]


def test_what_cannot_be_exported_is_one_sentence(tmp_path: Path, nets: str) -> None:
    output = tmp_path / "m.onnx"
    with pytest.raises(BrokenModel, match="takes a number of rows that is fixed, or mixes its rows"):
        exported(output, save(tmp_path / "five.pt2", Net(), torch.randn(5, 4), free=()))
    with pytest.raises(BrokenModel, match="takes one row"):
        exported(output, save(tmp_path / "one.pt2", Net(), torch.randn(1, 4), free=()))
    with pytest.raises(BrokenModel, match="does not say what it takes"):
        exported(output, target=f"{nets}:Bare")
    with pytest.raises(BrokenModel, match="TorchScript program cannot be exported"):
        exported(output, script(tmp_path / "m.pt", Net(), torch.randn(2, 4)))
    path = save(tmp_path / "m.pt2", Net(), torch.randn(5, 4))
    with pytest.raises(BrokenModel, match="cannot be turned into 999"):
        exported(output, path, opset=999)
    with pytest.raises(UsageError, match="no plugin named 'torch-tflite'"):
        exported(output, path, to="tflite")
    (tmp_path / "rows.npz").write_bytes(b"no archive")
    with pytest.raises(MalformedBody, match=r"is no \.npz file"):
        exported(output, path, example=tmp_path / "rows.npz")
    np.savez(tmp_path / "rows.npz", y=np.zeros(3))
    with pytest.raises(UsageError, match="has no array 'x'"):
        exported(output, path, example=tmp_path / "rows.npz")
    assert not output.exists()
