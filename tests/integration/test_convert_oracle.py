"""Converted models against transformers in float32, where it is installed: `pip install transformers`, beside torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llm_checkpoints as made

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
ov = pytest.importorskip("openvino", reason="openvino is not installed: pip install 'fairlead[llm]'")
torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from fairlead.adapters.engines.openvino.convert.prepared import prepare  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs

PROMPT = [int(token) for token in np.random.default_rng(3).integers(3, 128, 40)]
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}

Array = np.ndarray[Any, Any]

LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LONG = {
    "rope_type": "longrope",
    "short_factor": [1.0 + index / 8 for index in range(8)],
    "long_factor": [2.0 + index for index in range(8)],
}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{kind: (kind, {}) for kind in made.FAMILIES},
    "llama3-scaling": ("llama", {"rope_scaling": LLAMA3, "rope_theta": 500000.0}),
    "linear-scaling": ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "dynamic-scaling": ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}),
    "yarn-scaling": ("qwen2", {"rope_scaling": YARN}),
    "yarn-mscale": ("llama", {"rope_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.2, "truncate": False}}),
    "longrope-scaling": ("phi3", {"rope_scaling": LONG, "original_max_position_embeddings": 64}),
    "gemma3-scaling": ("gemma3_text", {"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "llama-biases": ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 8}),
    "qwen2-slides": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
    "qwen3-biases": ("qwen3", {"attention_bias": True, "tie_word_embeddings": True}),
    "phi3-partly-turned": ("phi3", {"partial_rotary_factor": 0.75, "head_dim": 32, "sliding_window": 12}),
}


def logits(folder: Path) -> Array:
    request = ov.Core().compile_model(str(folder / "openvino_model.xml"), "CPU", EXACT).create_infer_request()
    count = len(PROMPT)
    request.infer(
        {
            "input_ids": np.array([PROMPT]),
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
    )
    return np.array(request.get_tensor("logits").data[0])


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    """The checkpoint is saved by transformers itself, so its config.json has the form that they have now.

    Every weight fits into float16 as it is, so only the order of float32 sums differs: 2e-4 of logits of about 2.
    """
    kind, more = CASES[name]
    config = made.config(kind, **more)
    source = made.save(tmp_path / "theirs", config, made.weights(config))
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager")
    model.save_pretrained(tmp_path / "again", max_shard_size="100KB" if name == "llama" else "5GB")
    with torch.no_grad():
        wanted = model.eval()(torch.tensor([PROMPT])).logits[0].numpy()
    for folder in (source, tmp_path / "again"):
        np.testing.assert_allclose(logits(prepare(folder, tmp_path / "cache", "f16")), wanted, atol=2e-4)
