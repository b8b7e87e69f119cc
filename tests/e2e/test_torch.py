"""PyTorch models from the command line: served, registered, examined, exported; and a Triton repository."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fairlead

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_a_triton_repository_is_an_endpoint_for_each_model(start, run, doubler: Path, tmp_path: Path) -> None:
    for name, rows in (("small", 2), ("plain", 0)):
        (tmp_path / "models" / name / "3").mkdir(parents=True)
        (tmp_path / "models" / name / "3" / "model.onnx").write_bytes(doubler.read_bytes())
        dims = "[ 2 ]" if rows else "[ -1, 2 ]"
        (tmp_path / "models" / name / "config.pbtxt").write_text(
            f'backend: "onnxruntime" max_batch_size: {rows}\ninput {{ name: "x" data_type: TYPE_FP32 dims: {dims} }}'
            f'output {{ name: "y" data_type: TYPE_FP32 dims: {dims} }}'
        )
    process = start("serve", "./models", "--port", "0")
    with fairlead.Client(process.url()) as client:
        assert sorted(client.endpoints()) == ["plain", "small"]
        for name in ("plain", "small"):
            assert client.metadata(name)["versions"] == ["3"]
            answer = client.predict(name, {"x": np.ones((5, 2), np.float32)})
            assert answer["y"].tolist() == [[2, 2]] * 5
    loaded = {event["endpoint"]: event["batch_rows"] for event in process.events if event["event"] == "loaded"}
    assert loaded["small"] == 2
    assert process.stop() == 0
    (tmp_path / "models" / "small" / "config.pbtxt").write_text('backend: "python"')
    refused = run("serve", "./models", "--port", "0")
    assert refused.returncode == 1
    assert (
        refused.stderr.strip()
        .splitlines()[-1]
        .startswith("fairlead: small in the Triton repository is for the backend 'python', which is not run here")
    )


def test_programs_are_served_once_somebody_vouched_for_them(start, run, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fairlead[torch]'")
    from safetensors.torch import save_model

    from torch_files import NETS, Net, save, script

    net = Net()
    save(tmp_path / "export.pt2", net, torch.randn(3, 4))
    script(tmp_path / "program.pt", net, torch.randn(3, 4))
    save_model(net, str(tmp_path / "net.safetensors"))
    (tmp_path / "nets.py").write_text(NETS)
    refused = run("serve", "./export.pt2", "--port", "0")
    assert refused.returncode == 1
    assert "if you vouch for it, add --trust-pickle" in refused.stderr
    trusted = run("models", "trust", "./export.pt2", "--why", "made here")
    assert trusted.returncode == 0, trusted.stderr
    logged = run("models", "log", "program.pt", "--name", "net", "--alias", "champion", "--trust-pickle")
    assert logged.returncode == 0, logged.stderr
    process = start("serve", "./export.pt2", "models:/net@champion", "own=nets:Net@./net.safetensors", "--port", "0")
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS))["logits"].numpy()
    with fairlead.Client(process.url()) as client:
        assert sorted(client.endpoints()) == ["export", "net", "own"]
        for name in ("export", "net", "own"):
            assert np.allclose(client.predict(name, {"x": ROWS})["logits"], expected, rtol=1e-5, atol=1e-6)
    assert process.stop() == 0
    absent = run("serve", "./export.pt2", "--provider", "gpu0", "--port", "0")
    assert absent.returncode == 1
    assert "has no device 'gpu0'" in absent.stderr


def test_an_export_is_compared_and_its_exit_code_is_the_verdict(start, run, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fairlead[torch]'")
    from torch_files import NETS

    (tmp_path / "nets.py").write_text(NETS)
    done = run("package", "export", "nets:Net", "--target", "onnx", "--opset", "21", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["file"], told["opset"], told["parity"]["agrees"]) == ("net.onnx", 21, True)
    assert json.loads((tmp_path / "net.parity.json").read_text())["rows"] == told["rows"] == 16
    process = start("serve", "./net.onnx", "--port", "0")
    with fairlead.Client(process.url()) as client:
        assert client.predict("net", {"x": ROWS})["logits"].shape == (2, 3)
    assert process.stop() == 0
    noisy = run("package", "export", "nets:Noisy", "--output", "noisy.onnx")
    assert noisy.returncode == 1
    assert "does NOT agree with nets:Noisy" in noisy.stdout
    assert (tmp_path / "noisy.parity.json").exists()
    assert run("package", "export", "nets:Net").returncode == 2  # net.onnx is there already
