"""The families of models that are converted: each makes a ``Decoder`` of a config.json.

A field that changes the numbers and is not known here is refused by name: a wrong model is worse than none. Defaults of
fields that are not there are those of Hugging Face's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fairlead.adapters.engines.openvino.convert.decoder import Decoder, Layer
from fairlead.adapters.engines.openvino.convert.fields import ELSEWHERE, Fields, listed
from fairlead.adapters.engines.openvino.convert.rope import Asked, Rope, rope
from fairlead.contracts.errors import BrokenModel, UnknownFormat

_GEMMA3 = "Gemma 3"
_FULL, _SLIDING = "full_attention", "sliding_attention"
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_LAYERS_AT_MOST = 10_000
_ENDLESS = 1 << 40
_WIDEST_HEAD = 1 << 16


def decoder(fields: Fields) -> Decoder:
    """Raises UnknownFormat for a family or a field that is not known here, BrokenModel for a config that lacks some."""
    names = fields.words("architectures")
    if len(names) != 1:
        raise BrokenModel(f"{fields.place}: architectures names {listed(names) or 'nothing'}; expected one class")
    make = FAMILIES.get(names[0])
    if make is None:
        raise UnknownFormat(
            f"{fields.place}: the architecture {names[0]} is not converted here (converted are "
            f"{listed(sorted(FAMILIES))}); {ELSEWHERE}"
        )
    if fields.has("quantization_config"):
        method = (fields.part("quantization_config") or fields).any("quant_method")
        raise UnknownFormat(
            f"{fields.place}: the weights are quantised already ({method}); take the checkpoint that was not, or "
            "serve this one by vLLM (engine: openai)"
        )
    fields.any("model_type")
    made = make(fields)
    fields.only_taken(made.family)
    return made


def _llama(fields: Fields) -> Decoder:
    made = _plain(fields, "Llama")
    bias = fields.flag("attention_bias")
    return replace(made, qkv_bias=bias, out_bias=bias, mlp_bias=fields.flag("mlp_bias"))


def _mistral(fields: Fields) -> Decoder:
    made = _plain(fields, "Mistral")
    window = fields.count("sliding_window") if fields.has("sliding_window") else 0
    fields.any("sliding_window")
    return _windows(made, fields, window, lambda _: True)


def _qwen2(fields: Fields) -> Decoder:
    return replace(_qwen(fields, "Qwen2"), qkv_bias=True)


def _qwen3(fields: Fields) -> Decoder:
    bias = fields.flag("attention_bias")
    return replace(_qwen(fields, "Qwen3", 128), qkv_bias=bias, out_bias=bias, qk_norm=True)


def _qwen(fields: Fields, family: str, head_dim: int = 0) -> Decoder:
    made = _plain(fields, family, head_dim)
    slides = fields.flag("use_sliding_window")
    window = fields.count("sliding_window", 4096) if slides else 0
    fields.any("sliding_window")
    first = fields.any("max_window_layers")
    if slides and (type(first) is not int or first < 0):
        raise BrokenModel(f"{fields.place}: max_window_layers is {first}; expected a whole number")
    return _windows(made, fields, window, lambda layer: layer >= first)


def _gemma2(fields: Fields) -> Decoder:
    made = _gemma(fields, "Gemma 2")
    window = fields.count("sliding_window", 4096)
    return _windows(made, fields, window, lambda layer: layer % 2 == 0)


def _gemma3(fields: Fields) -> Decoder:
    made = _gemma(fields, _GEMMA3)
    if fields.flag("use_bidirectional_attention"):
        raise UnknownFormat(f"{fields.place}: use_bidirectional_attention makes it an encoder, which writes no text")
    every = fields.count("sliding_window_pattern", fields.count("_sliding_window_pattern", 6))
    window = fields.count("sliding_window", 4096)
    return replace(_windows(made, fields, window, lambda layer: (layer + 1) % every != 0), qk_norm=True)


def _gemma(fields: Fields, family: str) -> Decoder:
    made = _plain(fields, family, 256, tied=True, activation="gelu_pytorch_tanh")
    if fields.has("attn_logit_softcapping"):
        cap = fields.any("attn_logit_softcapping")
        raise UnknownFormat(
            f"{fields.place}: attn_logit_softcapping is {cap}: {family} caps its attention scores, which OpenVINO's "
            f"paged attention cannot compute; {ELSEWHERE}. Write null there to serve it here without the cap: it is "
            "another model then, by a little"
        )
    bias = fields.flag("attention_bias")
    cap = fields.number("final_logit_softcapping") if fields.has("final_logit_softcapping") else 0.0
    return replace(
        made,
        scale=float(fields.number("query_pre_attn_scalar", 256)) ** -0.5,
        embedding_gain=made.hidden**0.5,
        norm_gain=1.0,
        sandwich=True,
        qkv_bias=bias,
        out_bias=bias,
        logit_cap=cap,
    )


def _phi3(fields: Fields) -> Decoder:
    made = replace(_plain(fields, "Phi-3"), fused=True)
    window = fields.count("sliding_window") if fields.has("sliding_window") else 0
    fields.any("sliding_window")
    return _windows(made, fields, window, lambda _: True)


FAMILIES: Mapping[str, Callable[[Fields], Decoder]] = {
    "LlamaForCausalLM": _llama,
    "MistralForCausalLM": _mistral,
    "Qwen2ForCausalLM": _qwen2,
    "Qwen3ForCausalLM": _qwen3,
    "Gemma2ForCausalLM": _gemma2,
    "Gemma3ForCausalLM": _gemma3,
    "Phi3ForCausalLM": _phi3,
}
"""The classes that ``architectures`` of a config may name."""


def _plain(fields: Fields, family: str, head_dim: int = 0, tied: bool = False, activation: str = "silu") -> Decoder:
    """What all families say alike; every layer looks at all tokens."""
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    if not head_dim and not fields.has("head_dim") and hidden % heads:
        raise BrokenModel(f"{fields.place}: hidden_size {hidden} is no multiple of num_attention_heads {heads}")
    head_dim = fields.count("head_dim", head_dim or hidden // heads)
    if head_dim > _WIDEST_HEAD:
        raise BrokenModel(f"{fields.place}: a head has {head_dim} numbers, at most {_WIDEST_HEAD} may be")
    kv_heads = fields.count("num_key_value_heads", heads)
    if heads % kv_heads:
        raise BrokenModel(
            f"{fields.place}: num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
        )
    layers = fields.count("num_hidden_layers")
    if layers > _LAYERS_AT_MOST:
        raise BrokenModel(f"{fields.place}: num_hidden_layers is {layers}, at most {_LAYERS_AT_MOST} may be")
    everywhere, sliding = _ropes(fields, family, head_dim)
    both = (everywhere, sliding)
    return Decoder(
        family=family,
        hidden=hidden,
        inner=fields.count("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocabulary=fields.count("vocab_size"),
        context=min(fields.count("max_position_embeddings"), *(one.context for one in both if one.context), _ENDLESS),
        eps=fields.number("rms_norm_eps"),
        scale=head_dim**-0.5,
        tied=fields.flag("tie_word_embeddings", tied),
        activation=_activation(fields, activation),
        layers=(Layer(0, everywhere),) * layers,
        notes=tuple(sorted({one.note for one in both if one.note})),
    )


def _activation(fields: Fields, default: str) -> str:
    """Gemma says it in ``hidden_activation``; where both are there, as in its first configs, that one counts."""
    name = fields.word("hidden_act", default)
    if fields.has("hidden_activation"):
        name = fields.word("hidden_activation")
    fields.any("hidden_activation")
    if name not in _ACTIVATIONS:
        raise UnknownFormat(
            f"{fields.place}: hidden_act is {name!r}; known are {listed(sorted(_ACTIVATIONS))}; {ELSEWHERE}"
        )
    return _ACTIVATIONS[name]


def _kinds(fields: Fields, layers: int) -> tuple[str, ...]:
    """What ``layer_types`` says, checked; nothing where it is not there."""
    kinds = fields.words("layer_types")
    if kinds and len(kinds) != layers:
        raise BrokenModel(f"{fields.place}: layer_types names {len(kinds)} layers, and num_hidden_layers is {layers}")
    if other := sorted(set(kinds) - {_FULL, _SLIDING}):
        raise UnknownFormat(
            f"{fields.place}: layer_types has {listed(other)}; known are {_FULL} and {_SLIDING}; {ELSEWHERE}"
        )
    return kinds


def _windows(made: Decoder, fields: Fields, window: int, slides: Callable[[int], bool]) -> Decoder:
    """Layers that slide, by ``layer_types`` where it is there, else by the family's rule.

    A window that holds the whole context is none. Gemma 3 turns positions otherwise in layers that slide.
    """
    kinds = _kinds(fields, len(made.layers)) or tuple(
        _SLIDING if window and slides(index) else _FULL for index in range(len(made.layers))
    )
    if _SLIDING in kinds and not window:
        raise BrokenModel(f"{fields.place}: layer_types has {_SLIDING}, and there is no sliding_window")
    everywhere, sliding = _ropes(fields, made.family, made.head_dim)
    narrow = window if window < made.context else 0
    layers = tuple(Layer(narrow, sliding) if kind == _SLIDING else Layer(0, everywhere) for kind in kinds)
    return replace(made, layers=layers)


def _ropes(fields: Fields, family: str, head_dim: int) -> tuple[Rope, Rope]:
    """How positions turn in layers that look everywhere, and in those that slide.

    Configs written by transformers 5 have ``rope_parameters``, older ones ``rope_theta`` and ``rope_scaling``.
    """
    gemma3 = family == _GEMMA3
    context = fields.count("max_position_embeddings")
    theta = fields.number("rope_theta", 1_000_000.0 if gemma3 else 10_000.0)
    local = fields.number("rope_local_base_freq", 10_000.0) if gemma3 else theta
    share = fields.number("partial_rotary_factor", 1.0)
    original = fields.count("original_max_position_embeddings", context)
    told, scaling = fields.part("rope_parameters"), fields.part("rope_scaling")
    whole = told or scaling
    narrow: Fields | None = None
    if told is not None and (told.has(_FULL) or told.has(_SLIDING)):
        if not gemma3:
            raise UnknownFormat(f"{told.place} differs from layer to layer, which a {family} does not; {ELSEWHERE}")
        whole, narrow = told.part(_FULL), told.part(_SLIDING)

    def made(part: Fields | None, base: float) -> Rope:
        part_share = share if part is None else part.number("partial_rotary_factor", share)
        base = base if part is None else part.number("rope_theta", base)
        if part_share > 1:
            raise BrokenModel(f"{fields.place}: partial_rotary_factor is {part_share}; at most 1 may be")
        return rope(Asked(family, base, int(head_dim * part_share), context, original, part))

    everywhere = made(whole, theta)
    return everywhere, made(narrow, local) if gemma3 else everywhere
