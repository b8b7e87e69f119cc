"""Language models of random numbers, of a given shape, as Hugging Face folders: speed does not depend on them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

SHAPES: dict[str, dict[str, int]] = {
    "half": {"hidden": 896, "inner": 4864, "layers": 24, "heads": 14, "kv": 2, "words": 151_936},
    "small": {"hidden": 512, "inner": 1536, "layers": 8, "heads": 8, "kv": 2, "words": 32_000},
    "tiny": {"hidden": 128, "inner": 512, "layers": 4, "heads": 4, "kv": 2, "words": 4_096},
}
"""Of Qwen2: ``half`` is that of 0.5B (494 million numbers)."""


def make(folder: Path, name: str) -> Path:
    """In bf16, tied embeddings."""
    shape = SHAPES[name]
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape["hidden"],
        "intermediate_size": shape["inner"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv"],
        "vocab_size": shape["words"],
        "max_position_embeddings": 32_768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    _write(folder / "model.safetensors", _tensors(shape))
    return folder


def add_words(folder: Path) -> None:
    """A tokenizer: the word ``w7`` is token 7, words stand between blanks."""
    count = int(json.loads((folder / "config.json").read_text())["vocab_size"])
    model = {"type": "WordLevel", "vocab": {f"w{one}": one for one in range(count)}, "unk_token": "w2"}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(document))


def _tensors(shape: dict[str, int]) -> dict[str, tuple[int, ...]]:
    hidden, inner = shape["hidden"], shape["inner"]
    narrow = hidden // shape["heads"] * shape["kv"]
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape["words"], hidden),
        "model.norm.weight": (hidden,),
    }
    for layer in range(shape["layers"]):
        stem = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{stem}.{norm}.weight"] = (hidden,)
        for part, wide in (("q", hidden), ("k", narrow), ("v", narrow)):
            found[f"{stem}.self_attn.{part}_proj.weight"] = (wide, hidden)
            found[f"{stem}.self_attn.{part}_proj.bias"] = (wide,)
        found[f"{stem}.self_attn.o_proj.weight"] = (hidden, hidden)
        for part, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
            found[f"{stem}.mlp.{part}_proj.weight"] = (rows, columns)
    return found


def _write(file: Path, tensors: dict[str, tuple[int, ...]]) -> None:
    header: dict[str, Any] = {}
    at = 0
    for name, shape in tensors.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    random = np.random.default_rng(1234)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors.items():
            numbers = random.standard_normal(int(np.prod(shape)), np.float32)
            numbers = np.float32(1.0) + numbers * 0 if "norm" in name else numbers * np.float32(0.02)
            stream.write((numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes())
