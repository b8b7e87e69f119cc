"""PyTorch on modules of one layer: what is found out about them, and what is refused."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fairlead[torch]'")

from safetensors.torch import save_file, save_model  # noqa: E402

from fairlead.adapters.runtimes.torch.runtime import TorchModel, TorchRuntime  # noqa: E402
from fairlead.contracts.errors import BrokenModel, MissingExtra, ModelFailed, Untrusted  # noqa: E402
from fairlead.contracts.runtime import Artefact, RuntimeOptions  # noqa: E402
from fairlead.contracts.types import DataType, Signature, TensorSpec  # noqa: E402
from fairlead.testing import runtime_suite  # noqa: E402
from torch_files import NETS, Exp, Net, save, script  # noqa: E402

DYNAMIC = torch.export.Dim.AUTO
X = TensorSpec("x", DataType.FP32, (-1, 4))
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)


def load(path: Path | None, signature: Signature | None = None, **more: Any) -> TorchModel:
    options = RuntimeOptions(more.pop("threads", 0), more.pop("providers", ()))
    return TorchRuntime().load(Artefact("torch", path, signature=signature, trusted=True, **more), options)


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the Python path with ``nets_here.py`` in it."""
    (tmp_path / "nets_here.py").write_text(NETS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("check", runtime_suite.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", ["traced", "compiled", "one row", "class"])
def test_every_kind_keeps_the_contract(nets: Path, kind: str, check: Any) -> None:
    rows = {"x": np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)}
    broken = nets / "broken.pt"
    broken.write_bytes(b"PK\x03\x04 and no more")
    wrong = Artefact("torch", broken, trusted=True)
    if kind == "class":
        save_model(Net(), nets / "net.safetensors")
        artefact = Artefact("torch", nets / "net.safetensors", "nets_here:Net")
        wrong = replace(artefact, path=broken)
    elif kind == "one row":
        artefact = Artefact("torch", save(nets / "m.pt2", Net(), torch.randn(1, 4), free=()), trusted=True)
    else:
        example = (torch.randn(2, 4),) if kind == "traced" else ()
        artefact = Artefact("torch", script(nets / "m.pt", Net(), *example), trusted=True)
    sample = runtime_suite.Sample(artefact, rows, wrong, unchecked=kind == "compiled")
    check(TorchRuntime(), sample)


def test_arguments_of_every_shape_are_tensors_by_name(tmp_path: Path) -> None:
    class Nested(torch.nn.Module):
        def forward(self, batch, scale=2):
            return batch["a"] * scale + batch["b"][0]

    example = ({"a": torch.ones(3, 2), "b": [torch.ones(3, 2)]}, 5)
    shapes = ({"a": {0: DYNAMIC}, "b": [{0: DYNAMIC}]}, None)
    model = load(save(tmp_path / "m.pt2", Nested(), *example, free=shapes))
    assert [spec.name for spec in model.signature.inputs] == ["batch_a", "batch_b_0"]
    feed = {"batch_a": np.full((2, 2), 3, np.float32), "batch_b_0": np.full((2, 2), 100, np.float32)}
    assert model.predict(feed, {})["output"].tolist() == [[115, 115]] * 2


def test_numbers_that_no_protocol_carries_are_refused(tmp_path: Path) -> None:
    class Waves(torch.nn.Module):
        def forward(self, x):
            return torch.fft.fft(x)

    with pytest.raises(BrokenModel, match=r"gives 'output' as torch\.complex64, which no protocol can carry"):
        load(save(tmp_path / "m.pt2", Waves(), torch.ones(3, 4)))
    with pytest.raises(ModelFailed, match="no tensors of object"):
        load(script(tmp_path / "m.pt", Exp())).predict({"x": np.array([["a"]], object)}, {})


def test_an_export_says_itself_what_it_takes_and_gives(tmp_path: Path) -> None:
    net = Net()
    model = load(save(tmp_path / "m.pt2", net, torch.randn(5, 4)))
    assert model.signature == Signature((X,), (TensorSpec("logits", DataType.FP32, (-1, 3)),))
    assert (model.traits.max_rows, model.traits.platform) == (0, "pytorch_export")
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS))["logits"].numpy()
    assert np.allclose(model.predict({"x": ROWS}, {})["logits"], expected, rtol=1e-6)


def test_bounds_of_an_export_are_kept(tmp_path: Path) -> None:
    rows = torch.export.Dim("rows", max=64)
    bounded = load(save(tmp_path / "bounded.pt2", Net(), torch.randn(5, 4), free=({0: rows},)))
    assert (bounded.signature.batched, bounded.traits.max_rows) == (True, 64)
    one = load(save(tmp_path / "one.pt2", Net(), torch.randn(1, 4), free=()))
    assert (one.signature.batched, one.traits.max_rows, one.signature.inputs) == (True, 1, (X,))
    five = load(save(tmp_path / "five.pt2", Net(), torch.randn(5, 4), free=()))
    assert (five.signature.batched, five.signature.inputs[0].shape) == (False, (5, 4))
    with pytest.raises(AssertionError, match="Guard failed"):
        five.predict({"x": ROWS}, {})


def test_rows_that_hang_together_are_not_batched(tmp_path: Path) -> None:
    class Centred(torch.nn.Module):
        def forward(self, x):
            return x - x.mean(0)

    model = load(save(tmp_path / "m.pt2", Centred(), torch.randn(3, 4)))
    assert not model.signature.batched
    assert model.signature.outputs == (TensorSpec("output", DataType.FP32, (-1, 4)),)


def test_a_program_that_changes_itself_is_refused(tmp_path: Path) -> None:
    exported = torch.export.export(torch.nn.BatchNorm1d(4), (torch.randn(3, 4),), dynamic_shapes=({0: DYNAMIC},))
    torch.export.save(exported, tmp_path / "m.pt2")
    with pytest.raises(BrokenModel, match=r"changes its own '\w+' in every run; save or export the model after"):
        load(tmp_path / "m.pt2")


def test_every_kind_of_answer_has_names(tmp_path: Path) -> None:
    class Nested(torch.nn.Module):
        def forward(self, ids, x):
            half = x.to(torch.bfloat16)
            return x.sum(1), {"half": half, "rest": [ids * 2, None]}

    example = (torch.ones(3, 7, dtype=torch.int64), torch.randn(3, 4))
    model = load(save(tmp_path / "m.pt2", Nested(), *example, free=({0: DYNAMIC, 1: DYNAMIC}, {0: DYNAMIC})))
    assert [(spec.name, spec.datatype, spec.shape) for spec in model.signature.outputs] == [
        ("output_0", "FP32", (-1,)),
        ("output_1.half", "FP32", (-1, 4)),
        ("output_1.rest.0", "INT64", (-1, -1)),
    ]
    answer = model.predict({"ids": np.ones((2, 5), np.int64), "x": ROWS}, {})
    assert answer["output_1.rest.0"].tolist() == [[2] * 5] * 2
    assert answer["output_1.half"].tolist() == ROWS.tolist()
    assert answer["output_0"].tolist() == [6, 22]


def test_a_traced_program_takes_what_it_was_traced_with(tmp_path: Path) -> None:
    model = load(script(tmp_path / "m.pt", Net(), torch.randn(2, 4)))
    assert model.signature == Signature((X,), (TensorSpec("logits", DataType.FP32, (-1, 3)),))


def test_a_compiled_program_takes_what_it_is_told_to(tmp_path: Path) -> None:
    net = Net()
    bare = load(script(tmp_path / "bare.pt", net))
    assert (bare.signature.inputs, bare.signature.outputs, bare.signature.batched) == ((), (), False)
    assert np.allclose(
        bare.predict({"anything": ROWS}, {})["logits"], bare.predict({"x": ROWS}, {})["logits"], rtol=1e-6
    )
    with pytest.raises(ModelFailed, match="the program takes x; the call has x, y"):
        bare.predict({"x": ROWS, "y": ROWS}, {})
    said = load(script(tmp_path / "said.pt", net, said=json.dumps({"inputs": [["x", "FP32", [-1, 4]]]})))
    assert (said.signature.inputs, said.signature.batched) == ((X,), True)
    public = Signature(
        (TensorSpec("INPUT__0", DataType.FP32, (-1, 4)),), (TensorSpec("OUTPUT__0", DataType.FP64, (-1, 3)),)
    )
    packaged = load(tmp_path / "bare.pt", public)
    assert packaged.signature == public
    answer = packaged.predict({"INPUT__0": ROWS}, {})
    assert answer["OUTPUT__0"].dtype == np.float64
    with pytest.raises(BrokenModel, match=r"fairlead\.json in .* must say"):
        load(script(tmp_path / "bad.pt", net, said="{'inputs'"))


def test_a_public_signature_must_fit(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Net(), torch.randn(5, 4))
    wide = Signature((TensorSpec("x", DataType.FP64, (-1, 4)),), (TensorSpec("logits", DataType.FP64, (-1, 3)),))
    assert load(path, wide).predict({"x": ROWS.astype(np.float64)}, {})["logits"].dtype == np.float64
    with pytest.raises(BrokenModel, match=r"takes 'x' as FP32 \[-1, 4\], the signature says FP32 \[-1, 5\]"):
        load(path, Signature((TensorSpec("x", DataType.FP32, (-1, 5)),)))
    with pytest.raises(BrokenModel, match="takes x, the signature names x, y"):
        load(path, Signature((X, TensorSpec("y", DataType.FP32, (-1, 4)))))


def test_a_class_with_weights(nets: Path) -> None:
    net = Net()
    save_model(net, nets / "net.safetensors")
    model = load(nets / "net.safetensors", target="nets_here:Net")
    assert (model.signature.inputs, model.signature.batched) == ((X,), True)
    with torch.no_grad():
        expected = net(torch.from_numpy(ROWS))["logits"].numpy()
    assert np.allclose(model.predict({"x": ROWS}, {})["logits"], expected, rtol=1e-6)
    bare = load(nets / "net.safetensors", target="nets_here:Bare")
    assert (bare.signature.inputs, bare.signature.batched) == ((), False)


def test_fields_of_a_named_tuple_are_names(nets: Path) -> None:
    model = load(None, target="nets_here:Paired")
    assert [spec.name for spec in model.signature.outputs] == ["logits", "best"]


def test_a_class_that_does_not_fit_its_weights(nets: Path) -> None:
    path = nets / "w.safetensors"
    for state, target, said in (
        ({"linear.weight": torch.zeros(3, 5), "linear.bias": torch.zeros(3)}, "Net", "size mismatch for linear.weight"),
        ({"linear.weight": torch.zeros(3, 4)}, "Net", "has no 'linear.bias', which nets_here:Net needs"),
        (deep_state(), "Net", r"has 'more.bias' \(and 1 more\), which nets_here:Net does not know"),
        ({}, "Nobody", "module 'nets_here' has no 'Nobody'"),
    ):
        save_file(state, path)
        with pytest.raises(BrokenModel, match=said):
            load(path, target=f"nets_here:{target}")
    path.write_bytes(b"no weights")
    with pytest.raises(BrokenModel, match="is no safetensors file that can be read"):
        load(path, target="nets_here:Net")
    with pytest.raises(BrokenModel, match=r"os:getcwd gives a str, not a torch\.nn\.Module"):
        load(None, target="os:getcwd")


def deep_state() -> dict[str, Any]:
    return {
        "linear.weight": torch.zeros(3, 4),
        "linear.bias": torch.zeros(3),
        "more.weight": torch.zeros(3, 3),
        "more.bias": torch.zeros(3),
    }


def rewritten(source: Path, into: Path, change: Any) -> Path:
    with zipfile.ZipFile(source) as read, zipfile.ZipFile(into, "w") as write:
        for name in read.namelist():
            for member, data in change(name, read.read(name)):
                write.writestr(member, data)
    return into


def test_what_cannot_be_run_is_one_sentence(tmp_path: Path) -> None:
    export = save(tmp_path / "m.pt2", Exp(), torch.randn(3, 2))
    program = script(tmp_path / "m.pt", Exp())
    cut = tmp_path / "cut"
    cases = [
        (cut, whole[:size])
        for whole in (export.read_bytes(), program.read_bytes())
        for size in range(10, len(whole), len(whole) // 7)
    ]
    unknown = rewritten(
        export, tmp_path / "u.pt2", lambda name, data: [(name, data.replace(b"aten.exp.", b"aten.axp."))]
    )
    cases.append((unknown, unknown.read_bytes()))
    for path, data in cases:
        path.write_bytes(data)
        with pytest.raises(BrokenModel) as error:
            load(path)
        assert "\n" not in str(error.value)
    odd = rewritten(
        program,
        tmp_path / "u.pt",
        lambda name, data: [(name, data.replace(b"torch.exp", b"torch.axp") if "/code/" in name else data)],
    )
    with pytest.raises(BrokenModel, match=r"u\.pt cannot be loaded by PyTorch .*: Unknown builtin op: aten::axp$"):
        load(odd)


def test_archives_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    export = save(tmp_path / "m.pt2", Exp(), torch.randn(3, 2))
    compiled = tmp_path / "c.pt2"
    compiled.write_bytes(export.read_bytes())
    with zipfile.ZipFile(compiled, "a") as archive:
        archive.writestr("m/data/aotinductor/model/x.so", b"")
    with pytest.raises(BrokenModel, match="holds compiled machine code"):
        load(compiled)
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as old:
        old.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(BrokenModel, match=r"was saved by PyTorch 2\.7 or older"):
        load(tmp_path / "old.pt2")


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_an_archive_may_unpickle_so_it_loads_only_when_somebody_vouched_for_it(tmp_path: Path) -> None:
    """PyTorch does run the pickle: this is why the archive is refused."""
    buffer = io.BytesIO()
    torch.save(Touch(tmp_path / "ran"), buffer)

    def poison(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if not name.endswith("weights_config.json"):
            return [(name, data)]
        config = json.loads(data)
        next(iter(config["config"].values())).update(use_pickle=True, path_name="weight_9")
        return [(name, json.dumps(config).encode()), (f"{name.rpartition('/')[0]}/weight_9", buffer.getvalue())]

    evil = rewritten(save(tmp_path / "m.pt2", Net(), torch.randn(3, 4)), tmp_path / "evil.pt2", poison)
    with pytest.raises(Untrusted, match="loading it runs code that it brings"):
        TorchRuntime().load(Artefact("torch", evil), RuntimeOptions())
    assert not (tmp_path / "ran").exists()
    with pytest.raises(BrokenModel):
        load(evil)
    assert (tmp_path / "ran").exists()


def test_a_device_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Exp(), torch.randn(3, 2))
    absent = ["meta", "gpu0", "cuda:99"] + ([] if torch.cuda.is_available() else ["cuda", "CUDAExecutionProvider"])
    for name in absent:
        with pytest.raises(MissingExtra, match="has no device"):
            load(path, providers=(name,))
    assert load(path, providers=("cpu",)).predict({"x": np.zeros((1, 2), np.float32)}, {})["output"].tolist() == [
        [1, 1]
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("kind", ["m.pt2", "m.pt"])
def test_cuda_answers_what_the_cpu_does(tmp_path: Path, kind: str) -> None:
    make = save if kind == "m.pt2" else script
    path = make(tmp_path / kind, Net(), torch.randn(3, 4))
    here, there = load(path), load(path, providers=("cuda",))
    assert np.allclose(
        there.predict({"x": ROWS}, {})["logits"], here.predict({"x": ROWS}, {})["logits"], rtol=1e-3, atol=1e-4
    )


def test_threads_are_those_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt2", Exp(), torch.randn(3, 2))
    one, two = load(path, threads=1), load(path, threads=2)
    for model, threads in ((one, 1), (two, 2), (one, 1)):
        model.predict({"x": np.zeros((1, 2), np.float32)}, {})
        assert torch.get_num_threads() == threads


def test_other_python_threads_run_beside_a_large_product(tmp_path: Path) -> None:
    class Product(torch.nn.Module):
        def forward(self, x):
            return x @ x.T @ x

    model = load(save(tmp_path / "m.pt2", Product(), torch.randn(3, 512)), threads=1)
    rows = np.random.default_rng(0).normal(size=(2000, 512)).astype(np.float32)
    model.predict({"x": rows}, {})
    worker = threading.Thread(target=model.predict, args=({"x": rows}, {}))
    turns = 0
    worker.start()
    while worker.is_alive():
        time.sleep(0.0005)
        turns += 1
    assert turns > 5  # one that holds the lock would let this thread run once or twice


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    model = load(save(tmp_path / "m.pt2", Exp(), torch.randn(3, 2)))
    model.close()
    with pytest.raises(ModelFailed, match="was closed"):
        model.predict({"x": np.zeros((1, 2), np.float32)}, {})
