"""Tiny language models of random numbers as Hugging Face folders, and what they answer: a forward pass in plain numpy.

The pass is written from the papers and the fields of the configs, one token position after the other where it matters,
and shares no code with the converter that it is compared with.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Config = dict[str, Any]

_SHAPE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

_GEMMA = {"hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True, "head_dim": 32, "hidden_act": None}

FAMILIES: dict[str, tuple[str, Config]] = {
    "llama": ("LlamaForCausalLM", {}),
    "mistral": ("MistralForCausalLM", {"sliding_window": 12, "head_dim": 32}),
    "qwen2": ("Qwen2ForCausalLM", {"tie_word_embeddings": True, "use_sliding_window": False, "max_window_layers": 3}),
    "qwen3": ("Qwen3ForCausalLM", {"head_dim": 32, "attention_bias": False}),
    "gemma2": (
        "Gemma2ForCausalLM",
        {
            **_GEMMA,
            "query_pre_attn_scalar": 24,
            "sliding_window": 12,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": 3.0,
        },
    ),
    "gemma3_text": (
        "Gemma3ForCausalLM",
        {
            **_GEMMA,
            "query_pre_attn_scalar": 24,
            "sliding_window": 12,
            "sliding_window_pattern": 3,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
        },
    ),
    "phi3": ("Phi3ForCausalLM", {"sliding_window": None, "original_max_position_embeddings": 512}),
}
"""``model_type`` to the class and the fields that are its own."""


def config(kind: str, **more: Any) -> Config:
    """The config.json of a tiny model. ``more``: other fields, or other values; None takes one out."""
    name, own = FAMILIES[kind]
    found = {**_SHAPE, "architectures": [name], "model_type": kind, "torch_dtype": "float32", **own, **more}
    kept = ("sliding_window", "attn_logit_softcapping")
    return {key: value for key, value in found.items() if value is not None or key in kept}


def weights(made: Config, seed: int = 7) -> dict[str, Array]:
    """Tensors of a config: random, in numbers that bfloat16 and float16 have too."""
    rng = np.random.default_rng(seed)
    hidden, inner, kind = made["hidden_size"], made["intermediate_size"], made["model_type"]
    head_dim = made.get("head_dim", hidden // made["num_attention_heads"])
    wide, narrow = made["num_attention_heads"] * head_dim, made["num_key_value_heads"] * head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (made["vocab_size"], hidden)}
    for index in range(made["num_hidden_layers"]):
        at = f"model.layers.{index}"
        shapes |= {f"{at}.{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
        if kind.startswith("gemma"):
            names = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
            shapes |= {f"{at}.{name}.weight": (hidden,) for name in names}
        if kind in ("qwen3", "gemma3_text"):
            shapes |= {f"{at}.self_attn.{name}.weight": (head_dim,) for name in ("q_norm", "k_norm")}
        if kind == "phi3":
            shapes[f"{at}.self_attn.qkv_proj.weight"] = (wide + 2 * narrow, hidden)
            shapes[f"{at}.mlp.gate_up_proj.weight"] = (2 * inner, hidden)
        else:
            parts = {"self_attn.q_proj": wide, "self_attn.k_proj": narrow, "self_attn.v_proj": narrow}
            parts |= {"mlp.gate_proj": inner, "mlp.up_proj": inner}
            shapes |= {f"{at}.{name}.weight": (rows, hidden) for name, rows in parts.items()}
        shapes[f"{at}.self_attn.o_proj.weight"] = (hidden, wide)
        shapes[f"{at}.mlp.down_proj.weight"] = (hidden, inner)
        for name in _biased(made):
            shapes[f"{at}.{name}.bias"] = shapes[f"{at}.{name}.weight"][:1]
    shapes["model.norm.weight"] = (hidden,)
    if not made["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (made["vocab_size"], hidden)
    return {name: _random(rng, name, shape, kind) for name, shape in shapes.items()}


def _biased(made: Config) -> list[str]:
    inward = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
    names = inward if made["model_type"] == "qwen2" else []
    if made.get("attention_bias"):
        names = [*inward, "self_attn.o_proj"]
    return names + (["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] if made.get("mlp_bias") else [])


def _random(rng: np.random.Generator, name: str, shape: tuple[int, ...], kind: str) -> Array:
    found = rng.standard_normal(shape).astype(np.float32)
    if "norm" in name:
        found = found * 0.2 + (0.0 if kind.startswith("gemma") else 1.0)
    elif name.endswith("bias"):
        found = found * 0.5
    elif "embed" in name:
        found = found * (0.2 if kind.startswith("gemma") else 0.5)
    else:
        found = found * 1.5 / math.sqrt(shape[-1])
    bits = found.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x8000) & 0xFFFF0000).view(np.float32)
    return np.where(np.abs(rounded) < 2.0**-12, np.float32(0), rounded)


def save(folder: Path, made: Config, tensors: dict[str, Array], dtype: str = "F32", shards: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(made, indent=1))
    names = list(tensors)
    if shards == 1:
        write(folder / "model.safetensors", tensors, dtype)
        return folder
    where = {}
    for part in range(shards):
        file = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        held = names[part::shards]
        write(folder / file, {name: tensors[name] for name in held}, dtype)
        where |= dict.fromkeys(held, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def write(path: Path, tensors: dict[str, Array], dtype: str = "F32") -> None:
    header, at, bodies = {}, 0, []
    for name, tensor in tensors.items():
        body = _bytes(tensor, dtype)
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + len(body)]}
        at += len(body)
        bodies.append(body)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(bodies))


def _bytes(tensor: Array, dtype: str) -> bytes:
    if dtype == "BF16":
        return bytes((np.ascontiguousarray(tensor).view(np.uint32) >> 16).astype("<u2").tobytes())
    return bytes(tensor.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes())


def answer(made: Config, tensors: dict[str, Array], prompt: list[int], tokens: int) -> list[int]:
    """Greedy tokens after a prompt."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(forward(made, tensors, ids)[-1].argmax()))
    return ids[len(prompt) :]


def forward(made: Config, tensors: dict[str, Array], ids: list[int]) -> Array:
    """Logits (tokens, vocabulary), in float64."""
    gemma = made["model_type"].startswith("gemma")
    hidden = made["hidden_size"]
    x = tensors["model.embed_tokens.weight"][ids].astype(np.float64)
    if gemma:
        x *= np.float32(math.sqrt(hidden))

    def norm(x: Array, name: str) -> Array:
        weight = tensors[f"{name}.weight"].astype(np.float64) + (1 if gemma else 0)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + made["rms_norm_eps"]) * weight

    def linear(x: Array, name: str, rows: slice = slice(None)) -> Array:
        y = x @ tensors[f"{name}.weight"][rows].T.astype(np.float64)
        return y + tensors[f"{name}.bias"] if f"{name}.bias" in tensors else y

    for index in range(made["num_hidden_layers"]):
        at = f"model.layers.{index}"
        mixed = _attention(made, norm(x, f"{at}.input_layernorm"), index, norm, linear)
        if gemma:
            x = x + norm(mixed, f"{at}.post_attention_layernorm")
            inner = _inner(made, norm(x, f"{at}.pre_feedforward_layernorm"), f"{at}.mlp", linear)
            x = x + norm(inner, f"{at}.post_feedforward_layernorm")
        else:
            x = x + mixed
            x = x + _inner(made, norm(x, f"{at}.post_attention_layernorm"), f"{at}.mlp", linear)
    x = norm(x, "model.norm")
    head = "model.embed_tokens" if made["tie_word_embeddings"] else "lm_head"
    logits = x @ tensors[f"{head}.weight"].T.astype(np.float64)
    cap = made.get("final_logit_softcapping")
    return np.asarray(cap * np.tanh(logits / cap) if cap else logits)


def _inner(made: Config, x: Array, at: str, linear: Any) -> Array:
    inner = made["intermediate_size"]
    if made["model_type"] == "phi3":
        gate = linear(x, f"{at}.gate_up_proj", slice(0, inner))
        up = linear(x, f"{at}.gate_up_proj", slice(inner, None))
    else:
        gate, up = linear(x, f"{at}.gate_proj"), linear(x, f"{at}.up_proj")
    if made["model_type"].startswith("gemma"):
        active = 0.5 * gate * (1 + np.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
    else:
        active = gate / (1 + np.exp(-gate))
    return np.asarray(linear(active * up, f"{at}.down_proj"))


def _attention(made: Config, x: Array, index: int, norm: Any, linear: Any) -> Array:
    at, kind, count = f"model.layers.{index}.self_attn", made["model_type"], len(x)
    heads, kv_heads = made["num_attention_heads"], made["num_key_value_heads"]
    size = made.get("head_dim", made["hidden_size"] // heads)
    if kind == "phi3":
        a, b = heads * size, (heads + kv_heads) * size
        q, k, v = (linear(x, f"{at}.qkv_proj", rows) for rows in (slice(0, a), slice(a, b), slice(b, None)))
    else:
        q, k, v = (linear(x, f"{at}.{name}_proj") for name in "qkv")
    q, k, v = (one.reshape(count, -1, size) for one in (q, k, v))
    if kind in ("qwen3", "gemma3_text"):
        q, k = norm(q, f"{at}.q_norm"), norm(k, f"{at}.k_norm")
    window = _window(made, index)
    theta = made["rope_local_base_freq"] if kind == "gemma3_text" and window else made["rope_theta"]
    turned = int(size * made.get("partial_rotary_factor", 1.0))
    q, k = _rope(q, theta, turned), _rope(k, theta, turned)
    scale = made.get("query_pre_attn_scalar", size) ** -0.5
    mixed = np.zeros((count, heads, size))
    for place in range(count):
        first = max(0, place - window + 1) if window else 0
        for head in range(heads):
            of = head // (heads // kv_heads)
            scores = k[first : place + 1, of] @ q[place, head] * scale
            shares = np.exp(scores - scores.max())
            mixed[place, head] = shares / shares.sum() @ v[first : place + 1, of]
    return np.asarray(linear(mixed.reshape(count, -1), f"{at}.o_proj"))


def _window(made: Config, index: int) -> int:
    """0: looks at everything."""
    kind, window = made["model_type"], made.get("sliding_window") or 0
    if kind == "gemma2":
        return window if index % 2 == 0 else 0
    if kind == "gemma3_text":
        return window if (index + 1) % made["sliding_window_pattern"] else 0
    if kind.startswith("qwen"):
        return window if made.get("use_sliding_window") and index >= made["max_window_layers"] else 0
    return window


def _rope(x: Array, theta: float, turned: int) -> Array:
    """(tokens, heads, size): the pair (i, i + turned / 2) turns by position * theta^(-2i / turned)."""
    half = turned // 2
    angles = np.arange(len(x))[:, None] * theta ** (-2.0 * np.arange(half) / turned)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    first, second = x[..., :half], x[..., half:turned]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, x[..., turned:]], -1)
