"""Converted models against a forward pass in plain numpy: as a graph, and as they are served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llm_checkpoints as made

ov = pytest.importorskip("openvino", reason="openvino is not installed: pip install 'fairlead[llm]'")
genai = pytest.importorskip("openvino_genai", reason="openvino-genai is not installed: pip install 'fairlead[llm]'")

from fairlead.adapters.engines.openvino.convert import prepared  # noqa: E402
from fairlead.adapters.engines.openvino.convert.prepared import prepare, report  # noqa: E402
from fairlead.contracts.errors import (  # noqa: E402
    BrokenModel,
    FairleadError,
    SourceNotFound,
    StorageFull,
    UnknownFormat,
    UsageError,
)
from fairlead.package import llms  # noqa: E402

EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
PROMPT = [int(token) for token in np.random.default_rng(3).integers(3, 128, 40)]
"""Longer than every window here, and than a step of the scheduler."""

Array = np.ndarray[Any, Any]


def logits(folder: Path, ids: list[int], cut: int, **more: str) -> Array:
    """Of all tokens: the first ``cut`` at once, then one by one, out of the state."""
    compiled = ov.Core().compile_model(str(folder / "openvino_model.xml"), "CPU", {**EXACT, **more})
    request = compiled.create_infer_request()
    found = []
    for first, last in [(0, cut), *((at, at + 1) for at in range(cut, len(ids)))]:
        request.infer(
            {
                "input_ids": np.array([ids[first:last]]),
                "attention_mask": np.ones((1, last), np.int64),
                "position_ids": np.arange(first, last)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        found.append(request.get_tensor("logits").data[0].copy())
    return np.concatenate(found)


def served(folder: Path, prompts: list[list[int]], tokens: int) -> list[tuple[list[int], list[float]]]:
    """Greedy tokens and their log probabilities, all prompts at once, in steps of 16 tokens."""
    pipeline = genai.ContinuousBatchingPipeline(str(folder), _scheduler(), "CPU", EXACT)
    asked = genai.GenerationConfig()
    asked.max_new_tokens, asked.ignore_eos, asked.logprobs = tokens, True, 1
    handles = [
        pipeline.add_request(number, ov.Tensor(np.array([prompt], np.int64)), asked)
        for number, prompt in enumerate(prompts)
    ]
    while pipeline.has_non_finished_requests():
        pipeline.step()
    results = [handle.read_all()[0] for handle in handles]
    return [(list(one.generated_ids), list(one.generated_log_probs)) for one in results]


def _scheduler() -> Any:
    scheduler = genai.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_batched_tokens = 1, 16
    return scheduler


def told(config: made.Config, tensors: dict[str, Array], ids: list[int], first: int) -> list[float]:
    """Log probability of each token of ``ids`` from ``first`` on."""
    rows = made.forward(config, tensors, ids)[first - 1 : -1]
    rows = rows - rows.max(-1, keepdims=True)
    rows -= np.log(np.exp(rows).sum(-1, keepdims=True))
    return [float(row[token]) for row, token in zip(rows, ids[first:], strict=True)]


@pytest.mark.parametrize("kind", made.FAMILIES)
def test_logits_are_those_of_a_plain_forward_pass(tmp_path: Path, kind: str) -> None:
    """float16 holds every weight of the test exactly, so only the order of float32 sums differs: 1e-4 of logits of
    about 2 is 20 times what was seen."""
    config = made.config(kind)
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", "f16")
    np.testing.assert_allclose(logits(folder, PROMPT, 30), made.forward(config, tensors, PROMPT), atol=1e-4)


VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 8}),
    "llama-no-groups": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama-one-head-for-all": ("llama", {"num_key_value_heads": 1}),
    "mistral-everywhere": ("mistral", {"sliding_window": None}),
    "qwen2-slides-late": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "qwen3-biases": ("qwen3", {"attention_bias": True}),
    "phi3-partly-turned": ("phi3", {"partial_rotary_factor": 0.75, "head_dim": 32, "sliding_window": 12}),
    "window-of-one": ("mistral", {"sliding_window": 1}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_a_family(tmp_path: Path, name: str) -> None:
    kind, more = VARIANTS[name]
    config = made.config(kind, **more)
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", "f16")
    np.testing.assert_allclose(logits(folder, PROMPT, 30), made.forward(config, tensors, PROMPT), atol=1e-4)


@pytest.mark.parametrize("kind", made.FAMILIES)
def test_paged_attention_says_the_same(tmp_path: Path, kind: str) -> None:
    """Windows, scales and caps outlive the rewrite, in a chunked prompt and in steps, beside others in the batch.

    Heads of their own: a random model whose embeddings are tied repeats one token.
    """
    config = made.config(kind, tie_word_embeddings=False)
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", "f16")
    prompts = [PROMPT, PROMPT[:7], PROMPT[5:30]]
    for prompt, (ids, probabilities) in zip(prompts, served(folder, prompts, 16), strict=True):
        assert len(set(ids)) > 3
        assert ids == made.answer(config, tensors, prompt, 16)
        np.testing.assert_allclose(probabilities, told(config, tensors, prompt + ids, len(prompt)), atol=2e-3)


def test_batches_with_padding_in_front(tmp_path: Path) -> None:
    """As plain pipelines batch; paged attention needs no padding."""
    config = made.config("mistral")
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", "f16")
    request = ov.Core().compile_model(str(folder / "openvino_model.xml"), "CPU", EXACT).create_infer_request()
    mask = np.ones((2, 30), np.int64)
    mask[1, :10] = 0
    request.infer(
        {
            "input_ids": np.array([PROMPT[:30], [0] * 10 + PROMPT[:20]]),
            "attention_mask": mask,
            "position_ids": np.array([list(range(30)), [0] * 10 + list(range(20))]),
            "beam_idx": np.arange(2, dtype=np.int32),
        }
    )
    found = request.get_tensor("logits").data
    np.testing.assert_allclose(found[0], made.forward(config, tensors, PROMPT[:30]), atol=1e-4)


def rounded(x: Array, precision: str) -> Array:
    """A matrix in fewer bits and back, by the rule, with numpy on the whole of it."""
    if precision == "int8":
        scale = (np.abs(x).max(1, keepdims=True) / 127).astype(np.float16).astype(np.float32)
        return np.asarray(np.clip(np.rint(x / scale), -127, 127) * scale)
    groups = x.reshape(len(x), -1, 64)
    high, low = groups.max(2, keepdims=True), groups.min(2, keepdims=True)
    scale = (np.where(high > -low, high, low) / -8).astype(np.float16).astype(np.float32)
    return np.asarray((np.clip(np.rint(groups / scale), -8, 7) * scale).reshape(x.shape))


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "phi3"])
def test_fewer_bits_are_those_of_the_rule(tmp_path: Path, kind: str, precision: str) -> None:
    """The logits of a plain pass over the rounded weights; bfloat16 holds every weight of the test.

    OpenVINO also makes integers of what is multiplied with them, 32 numbers at a time; not here.
    """
    config = made.config(kind)
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", precision)
    if precision != "bf16":
        whole = ("model.embed_tokens.weight", "lm_head.weight")
        for name, tensor in tensors.items():
            if tensor.ndim == 2:
                tensors[name] = rounded(tensor, "int8" if name in whole else precision)
    found = logits(folder, PROMPT, 40, DYNAMIC_QUANTIZATION_GROUP_SIZE="0")
    np.testing.assert_allclose(found, made.forward(config, tensors, PROMPT), atol=1e-4)
    assert len(served(folder, [PROMPT], 4)[0][0]) == 4


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")),
        ("phi3", ("self_attn.qkv_proj", "mlp.gate_up_proj", "self_attn.o_proj")),
    ],
)
def test_an_adapter_changes_what_it_names(tmp_path: Path, kind: str, names: tuple[str, ...]) -> None:
    """LoRA in the names of PEFT: the tokens are those of a model whose weights have it added."""
    config = made.config(kind)
    tensors = made.weights(config)
    folder = prepare(made.save(tmp_path / "m", config, tensors), tmp_path / "cache", "f16")
    draw, merged, adapter = np.random.default_rng(5), dict(tensors), {}
    for name in [f"model.layers.{layer}.{name}" for layer in range(3) for name in names]:
        rows, columns = tensors[f"{name}.weight"].shape
        down = draw.standard_normal((4, columns)).astype(np.float32) / 5
        up = draw.standard_normal((rows, 4)).astype(np.float32) / 5
        adapter |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        merged[f"{name}.weight"] = tensors[f"{name}.weight"] + up @ down
    made.write(tmp_path / "adapter.safetensors", adapter)
    adapters = genai.AdapterConfig()
    adapters.add(genai.Adapter(str(tmp_path / "adapter.safetensors")), 1.0)
    pipeline = genai.ContinuousBatchingPipeline(str(folder), _scheduler(), "CPU", {**EXACT, "adapters": adapters})
    asked = genai.GenerationConfig()
    asked.max_new_tokens, asked.ignore_eos, asked.adapters = 12, True, adapters
    ids = pipeline.generate([ov.Tensor(np.array([PROMPT], np.int64))], [asked])[0].m_generation_ids[0]
    assert list(ids) == made.answer(config, merged, PROMPT, 12) != made.answer(config, tensors, PROMPT, 12)


def test_rows_that_int4_cannot_group_are_int8_and_told(tmp_path: Path) -> None:
    config = made.config("llama", intermediate_size=100)
    folder = prepare(made.save(tmp_path / "m", config, made.weights(config)), tmp_path / "cache", "int4")
    found = report(folder)
    assert found is not None
    assert found.notes == ("3 matrices have rows of 100 numbers, no multiple of 64: they are int8",)
    assert found.family == "Llama"
    assert found.precision == "int4"


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_what_the_source_is_stored_in_does_not_show(tmp_path: Path, dtype: str) -> None:
    config = made.config("llama")
    tensors = made.weights(config)
    for precision in ("bf16", "f16"):
        folder = prepare(made.save(tmp_path / dtype, config, tensors, dtype, shards=3), tmp_path / "cache", precision)
        np.testing.assert_allclose(logits(folder, PROMPT, 40), made.forward(config, tensors, PROMPT), atol=1e-4)


def test_a_published_model_tells_its_published_story(tmp_path: Path) -> None:
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    model = Path(data, "models-stories260k")
    reference = json.loads((model / "greedy_reference.json").read_text())["token_ids"]
    folder = prepare(model / "hf", tmp_path / "cache", "f16")
    first = [token for token in reference if token != 1][:5]
    alone = served(folder, [[1]], 199)[0][0]
    assert alone in (reference[1:200], reference[:199])
    among = served(folder, [[1], *([1, token] for token in first), *[[1]] * 10], 60)
    assert [ids for ids, _ in among if ids[:60] == alone[:60]] == [alone[:60]] * 11


def test_llms_says_the_same_of_what_was_converted(tmp_path: Path) -> None:
    long = {"type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
    config = made.config("phi3", rope_scaling=long, original_max_position_embeddings=128)
    source = made.save(tmp_path / "m", config, made.weights(config))
    folder = prepare(source, tmp_path / "cache", "int8")
    assert llms.about(source).context == 512
    found = llms.about(folder)
    assert (found.kind, found.family, found.context) == (llms.IR, "phi3", 128)
    assert prepared.context(folder) == 128
    (folder / "converted.json").unlink()
    assert prepared.context(folder) == 512
    (folder / "config.json").write_text("{}")
    assert prepared.context(folder) == 0
    (folder / "config.json").unlink()
    assert prepared.context(folder) == 0


# The cache.


@pytest.fixture
def source(tmp_path: Path) -> Path:
    config = made.config("llama", num_hidden_layers=1)
    folder = made.save(tmp_path / "m", config, made.weights(config))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_conversion_is_made_once(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = prepare(source, cache, "int8")
    assert (folder / "tokenizer.json").read_text() == "{}"
    before = (folder / "openvino_model.bin").stat()
    assert prepare(source, cache, "int8") == folder
    assert (folder / "openvino_model.bin").stat().st_ino == before.st_ino
    assert prepare(source, cache, "f16") != folder
    (source / "tokenizer.json").write_text("[]")
    assert prepare(source, cache, "int8") != folder
    (source / "tokenizer.json").write_text("{}")
    elsewhere = source.rename(tmp_path / "moved")
    assert prepare(elsewhere, cache, "int8") == folder, "by content, not by name"


def test_weights_that_changed_are_another_model(source: Path, tmp_path: Path) -> None:
    folder = prepare(source, tmp_path / "cache", "int8")
    config = json.loads((source / "config.json").read_text())
    made.save(source, config, made.weights(config, seed=8))
    assert prepare(source, tmp_path / "cache", "int8") != folder


@pytest.mark.parametrize("file", ["converted.json", "openvino_model.bin", "openvino_model.xml"])
def test_a_conversion_that_is_not_whole_is_made_again(source: Path, tmp_path: Path, file: str) -> None:
    folder = prepare(source, tmp_path / "cache", "int8")
    (folder / file).write_bytes(b"")
    assert prepare(source, tmp_path / "cache", "int8") == folder
    assert report(folder) is not None
    assert (folder / file).stat().st_size > 0


def test_notes_about_files_that_are_nonsense_are_passed_over(source: Path, tmp_path: Path) -> None:
    folder = prepare(source, tmp_path / "cache", "int8")
    for text in ("{", "[]", '{"a": 3}', '{"a": [1, 2]}'):
        (tmp_path / "cache" / "digests.json").write_text(text)
        assert prepare(source, tmp_path / "cache", "int8") == folder


def test_several_at_once_have_one_result(source: Path, tmp_path: Path) -> None:
    found: list[Path] = []

    def one() -> None:
        found.append(prepare(source, tmp_path / "cache", "int8"))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == found[:1]


def test_two_processes_at_once_have_one_result(source: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fairlead.adapters.engines.openvino.convert.prepared import prepare;"
        "print(prepare(Path(sys.argv[1]), Path(sys.argv[2]), 'int8'))"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(source), str(tmp_path / "cache")], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = {one.communicate(timeout=120)[0] for one in running}
    assert [one.returncode for one in running] == [0, 0]
    assert len(said) == 1


def test_a_disk_that_fills_up_leaves_nothing(source: Path, tmp_path: Path) -> None:
    """A limit on the size of files, which the system answers as it does a full disk."""
    code = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from fairlead.adapters.engines.openvino.convert.prepared import prepare
        from fairlead.contracts.errors import StorageFull
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
        try:
            prepare(Path(sys.argv[1]), Path(sys.argv[2]), "f16")
        except StorageFull as error:
            print(error)
        """
    )
    cache = tmp_path / "cache"
    for size in (0, 1000, 50_000):
        asked = [sys.executable, "-c", code, str(source), str(cache), str(size)]
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=120).stdout
        assert said.startswith("the converted model cannot be written to")
        assert "make room" in said
        assert not [path for path in cache.iterdir() if path.is_dir()]
    assert prepare(source, cache, "f16").is_dir()


def test_room_is_looked_at_before_the_work(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda _: _Usage(10))
    with pytest.raises(StorageFull, match="the model takes .* MiB in int8, and .* has 0 MiB free; make room"):
        prepare(source, tmp_path / "cache", "int8")


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_cache_that_cannot_be_a_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageFull, match="cannot be written to .*cache"):
        prepare(source, tmp_path / "cache" / "engines", "int8")


def test_what_was_used_least_lately_goes(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    oldest, older, fresh = (prepare(source, cache, precision) for precision in ("int8", "int4", "f16"))
    for folder, age in ((oldest, 9000), (older, 5000)):
        os.utime(folder / "converted.json", (time.time() - age,) * 2)
    leftover = cache / ".making-0123"
    leftover.mkdir()
    size = sum(file.stat().st_size for folder in (older, fresh, fresh) for file in folder.iterdir())
    newest = prepare(source, cache, "bf16", limit=size + 10_000)
    assert not leftover.exists()
    assert not oldest.exists()
    assert older.exists()
    prepare(source, cache, "bf16", limit=1)
    assert not older.exists()
    assert fresh.exists(), "somebody may be opening it"
    assert newest.exists()


# What is no conversion, and what is none.


def test_what_is_taken_as_it_is(source: Path, tmp_path: Path) -> None:
    folder = prepare(source, tmp_path / "cache", "int8")
    assert prepare(folder, tmp_path / "other", "int4") == folder
    assert not (tmp_path / "other").exists()
    (folder / "openvino_model.bin").unlink()
    with pytest.raises(BrokenModel, match=r"and no openvino_model\.bin"):
        prepare(folder, tmp_path / "other", "int4")


def test_gguf(tmp_path: Path) -> None:
    data = os.environ.get("FAIRLEAD_DATA")
    if not data:
        pytest.skip("FAIRLEAD_DATA is not set")
    file = Path(data, "models-stories260k", "stories260K-f32.gguf")
    assert prepare(file, tmp_path / "cache", "int8") == file
    assert prepared.context(file) == 512
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.gguf").write_bytes(
        file.read_bytes().replace(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba", 1)
    )
    with pytest.raises(UnknownFormat, match="architecture 'mamba'.*llama, qwen2, qwen3; serve it by llama-server"):
        prepare(tmp_path / "m", tmp_path / "cache", "int8")


def test_what_cannot_be_converted(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def refused(kind: type[FairleadError], said: str, model: Path = source, precision: str = "int8") -> None:
        with pytest.raises(kind, match=said):
            prepare(model, cache, precision)
        assert not [path for path in cache.glob("*") if path.is_dir()]

    refused(UsageError, "the precision is 'fp8'; expected one of f16, bf16, int8, int4", precision="fp8")
    refused(SourceNotFound, "no such file or folder", tmp_path / "none")
    refused(UnknownFormat, r"is no \.gguf file", source / "config.json")
    (tmp_path / "empty").mkdir()
    refused(SourceNotFound, "config.json cannot be read", tmp_path / "empty")
    config = made.config("llama", num_hidden_layers=1)
    tensors = made.weights(config)
    name = "model.layers.0.mlp.up_proj.weight"
    made.save(source, config, {key: value for key, value in tensors.items() if key != name})
    refused(BrokenModel, f"has no tensor '{name}'")
    made.save(source, config, {**tensors, name: tensors[name].T})
    refused(BrokenModel, f"tensor '{name}' has the shape .* must be")
    made.save(source, config, {**tensors, "model.layers.0.mlp.experts": tensors[name]})
    refused(UnknownFormat, "has 1 tensors that a Llama of this config.json does not have, such as .*experts")
    broken = tensors[name].copy()
    broken[3, 3] = np.nan
    for precision in ("f16", "bf16", "int8", "int4"):
        made.save(source, config, {**tensors, name: broken})
        refused(BrokenModel, f"tensor '{name}' has numbers that are not finite", precision=precision)
    vector = "model.norm.weight"
    made.save(source, config, {**tensors, vector: np.full(64, np.inf, np.float32)})
    refused(BrokenModel, f"tensor '{vector}' has numbers that are not finite")
    made.save(source, config, tensors)
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(BrokenModel, "it is cut short")


def test_tensors_that_the_config_says_as_well_are_passed_over(source: Path, tmp_path: Path) -> None:
    config = made.config("llama", num_hidden_layers=1, tie_word_embeddings=True)
    tensors = made.weights(config)
    more = {
        "lm_head.weight": tensors["model.embed_tokens.weight"],
        "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8),
    }
    made.save(source, config, {**tensors, **more})
    assert prepare(source, tmp_path / "cache", "int8").is_dir()


def test_a_conversion_is_told_before_it_is_made_and_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = made.config("llama")
    model = made.save(tmp_path / "m", config, made.weights(config))
    with caplog.at_level("INFO", logger="fairlead.engines"):
        prepare(model, tmp_path / "cache", "f16")
        assert caplog.messages == ["converting", "converted"]
        prepare(model, tmp_path / "cache", "f16")
    assert len(caplog.messages) == 2
