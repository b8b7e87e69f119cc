"""What each family makes of its config, in the form of transformers 4 and of 5, and what is refused by name."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llm_checkpoints as made
from fairlead.adapters.engines.openvino.convert.decoder import Decoder
from fairlead.adapters.engines.openvino.convert.families import FAMILIES, decoder
from fairlead.adapters.engines.openvino.convert.fields import Fields
from fairlead.contracts.errors import BrokenModel, UnknownFormat

VALUES = st.sampled_from(
    [None, True, False, 0, -1, 1, 7, 1e9, 1e308, -0.5, float("nan"), float("inf"), 10**30, "", "x", [], [1], ["a"], {}]
)
SCALINGS = st.fixed_dictionaries(
    {"rope_type": st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn", "longrope", "x"])},
    optional={
        name: VALUES | st.floats()
        for name in ("factor", "attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow", "truncate")
    },
)


def of(kind: str, **more: Any) -> Decoder:
    return decoder(Fields(made.config(kind, **more), "config.json"))


def windows(found: Decoder) -> list[int]:
    return [layer.window for layer in found.layers]


def test_every_family_has_a_model_here() -> None:
    assert {name for name, _ in made.FAMILIES.values()} == set(FAMILIES)


@pytest.mark.parametrize("kind", made.FAMILIES)
def test_every_family_is_read(kind: str) -> None:
    found = of(kind)
    assert (found.hidden, found.inner, found.heads, found.kv_heads) == (64, 128, 4, 2)
    assert len(found.layers) == 3
    assert found.context == 512


def test_llama() -> None:
    found = of("llama")
    assert (found.head_dim, found.tied, found.activation) == (16, False, "silu")
    assert not any((found.qkv_bias, found.out_bias, found.mlp_bias, found.sandwich, found.qk_norm))
    assert found.scale == 16**-0.5
    found = of("llama", attention_bias=True, mlp_bias=True, head_dim=24, tie_word_embeddings=True)
    assert (found.head_dim, found.tied) == (24, True)
    assert found.qkv_bias
    assert found.out_bias
    assert found.mlp_bias


def test_an_old_llama_without_its_optional_fields() -> None:
    found = of("llama", num_key_value_heads=None, rope_theta=None, tie_word_embeddings=None, hidden_act=None)
    assert (found.kv_heads, found.tied, found.activation) == (4, False, "silu")
    assert found.layers[0].rope == of("llama").layers[0].rope


def test_mistral_slides_in_every_layer() -> None:
    assert windows(of("mistral")) == [12, 12, 12]
    assert windows(of("mistral", sliding_window=None)) == [0, 0, 0]
    assert windows(of("mistral", sliding_window=512)) == [0, 0, 0], "a window that holds the whole context is none"
    assert windows(of("mistral", sliding_window=511)) == [511] * 3


def test_qwen_slides_only_where_it_says_so() -> None:
    assert windows(of("qwen2", sliding_window=8)) == [0, 0, 0]
    assert windows(of("qwen2", sliding_window=8, use_sliding_window=True, max_window_layers=1)) == [0, 8, 8]
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    found = of("qwen3", sliding_window=8, use_sliding_window=True, max_window_layers=1, layer_types=kinds)
    assert windows(found) == [8, 0, 8]
    assert found.qk_norm
    assert not found.qkv_bias
    assert of("qwen2").qkv_bias
    assert not of("qwen2").out_bias
    assert of("qwen3", head_dim=None).head_dim == 128


def test_gemma() -> None:
    found = of("gemma2")
    assert windows(found) == [12, 0, 12]
    assert (found.embedding_gain, found.norm_gain, found.logit_cap) == (8.0, 1.0, 3.0)
    assert found.scale == 24**-0.5
    assert found.activation == "gelu_tanh"
    assert found.sandwich
    assert of("gemma2", tie_word_embeddings=None).tied
    assert of("gemma2", hidden_act="gelu").activation == "gelu_tanh", (
        "hidden_activation counts, as in its first configs"
    )


def test_gemma_3_turns_otherwise_where_it_slides() -> None:
    old = of("gemma3_text", rope_scaling={"rope_type": "linear", "factor": 8.0})
    assert windows(old) == [12, 12, 0]
    assert old.layers[0].rope.frequencies[1] == pytest.approx(10_000.0 ** (-2 / 32))
    assert old.layers[2].rope.frequencies[1] == pytest.approx(1_000_000.0 ** (-2 / 32) / 8)
    new = of(
        "gemma3_text",
        rope_theta=None,
        rope_local_base_freq=None,
        sliding_window_pattern=None,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    )
    assert new == old


def test_phi_3_cuts_its_matrices() -> None:
    found = of("phi3", partial_rotary_factor=0.75, head_dim=None)
    assert found.fused
    assert found.layers[0].rope.turned == 12


def test_the_form_of_transformers_5() -> None:
    told = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    told |= {"original_max_position_embeddings": 64}
    old = of("llama", rope_theta=500000.0, rope_scaling=told)
    new = of("llama", rope_theta=None, rope_parameters={**told, "rope_theta": 500000.0}, dtype="float32")
    assert new == old
    assert new != of("llama", rope_theta=500000.0)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("llama", {"architectures": ["MixtralForCausalLM"]}, "MixtralForCausalLM is not converted here .*llama-server"),
        ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "is not converted here"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, r"quantised already \(gptq\).*vLLM"),
        ("llama", {"rope_scaling": {"type": "warped", "factor": 2.0}}, "has the type 'warped', and known here are"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0, "twist": 3}}, "rope_scaling: twist is 3"),
        ("llama", {"hidden_act": "relu2"}, "hidden_act is 'relu2'"),
        ("llama", {"residual_multiplier": 0.22}, "residual_multiplier is 0.22, which is not known here for Llama"),
        ("llama", {"lm_head_bias": True}, "lm_head_bias is true"),
        ("llama", {"num_local_experts": 8}, "num_local_experts is 8"),
        ("llama", {"sliding_window": 8}, "sliding_window is 8"),
        ("qwen2", {"layer_types": ["full_attention", "mamba", "full_attention"]}, "layer_types has mamba"),
        ("gemma2", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0: Gemma 2 caps its attention"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "makes it an encoder"),
        ("llama", {"rope_parameters": {"full_attention": {}, "sliding_attention": {}}}, "differs from layer to layer"),
    ],
)
def test_what_is_not_known_is_refused_by_name(kind: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownFormat, match=said):
        of(kind, **more)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("llama", {"architectures": None}, "architectures names nothing"),
        ("llama", {"architectures": ["A", "B"]}, "architectures names A, B"),
        ("llama", {"architectures": "LlamaForCausalLM"}, "expected a list of texts"),
        ("llama", {"hidden_size": None}, "config.json has no hidden_size, which it must have"),
        ("llama", {"rms_norm_eps": None}, "has no rms_norm_eps"),
        ("llama", {"vocab_size": "many"}, 'vocab_size is "many"; expected a whole number'),
        ("llama", {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ("llama", {"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, at most"),
        ("llama", {"rms_norm_eps": -1.0}, "expected a number over 0"),
        ("llama", {"tie_word_embeddings": 1}, "expected true or false"),
        ("llama", {"hidden_act": 3}, "expected a text"),
        ("llama", {"rope_scaling": "linear"}, "expected an object"),
        ("llama", {"rope_scaling": {"rope_type": "linear"}}, "rope_scaling has no factor"),
        ("llama", {"num_key_value_heads": 3}, "no multiple of num_key_value_heads 3"),
        ("llama", {"hidden_size": 66}, "no multiple of num_attention_heads 4"),
        ("llama", {"head_dim": 1 << 20}, "a head has 1048576 numbers"),
        ("llama", {"partial_rotary_factor": 1.5}, "partial_rotary_factor is 1.5; at most 1"),
        ("llama", {"rope_theta": 10**400}, "expected a number over 0"),
        ("llama", {"rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2.0}}, "cannot be computed"),
        ("llama", {"rope_theta": 5e-324}, "angles that float32 lacks"),
        ("llama", {"head_dim": 15}, "must be an even number"),
        ("qwen2", {"layer_types": ["full_attention"]}, "names 1 layers, and num_hidden_layers is 3"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 3}, "there is no sliding_window"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": None}, "max_window_layers is None"),
    ],
)
def test_a_config_that_lacks_or_breaks_a_field(kind: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(BrokenModel, match=said):
        of(kind, **more)


def test_fields_that_change_no_number_are_passed_over() -> None:
    more = {
        "attention_dropout": 0.1,
        "use_cache": True,
        "pretraining_tp": 2,
        "_name_or_path": "x",
        "unsloth_version": "1",
    }
    more |= {"id2label": {"0": "a"}, "full_attn_mod": 1, "interpolate_factor": 1.0, "lm_head_bias": False}
    more |= {"num_experts": 0, "head_scale": None, "transformers_version": "4.40", "auto_map": {"AutoModel": "m.A"}}
    found = of("llama", **more)
    assert found == of("llama")


@given(
    st.sampled_from(sorted(made.FAMILIES)),
    st.dictionaries(st.sampled_from(sorted(made.config("gemma3_text"))), VALUES, max_size=3),
    st.none() | SCALINGS,
    st.sampled_from(["rope_scaling", "rope_parameters"]),
)
def test_any_config_is_a_decoder_or_an_error(kind: str, more: dict[str, Any], scaling: Any, place: str) -> None:
    with contextlib.suppress(BrokenModel, UnknownFormat):
        assert of(kind, **{**more, place: scaling}).layers
