"""What a decoder is made of, as far as the numbers go: one record for all families."""

from __future__ import annotations

from dataclasses import dataclass

from fairlead.adapters.engines.openvino.convert.rope import Rope


@dataclass(frozen=True, slots=True)
class Layer:
    """``window``: how many tokens back (itself included) a token looks; 0: all.  ``rope``: how positions turn."""

    window: int
    rope: Rope


@dataclass(frozen=True, slots=True)
class Decoder:
    """``hidden``, ``inner``: width of the stream, and inside of the feed-forward part.  ``context``: tokens at most.

    ``scale``: of the attention's scores.  ``embedding_gain``: what embeddings are multiplied by.  ``norm_gain``: what
    is added to the weights of every norm.  ``activation``: ``silu``, ``gelu`` or ``gelu_tanh``.
    ``sandwich``: norms after attention and feed-forward too (Gemma).  ``qk_norm``: queries and keys are normed too.
    ``fused``: query, key and value are one matrix, gate and up another (Phi-3).  ``logit_cap``: 0 for none.
    ``qkv_bias``, ``out_bias``, ``mlp_bias``: which projections add one.  ``notes``: what differs, sentences.
    """

    family: str
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    eps: float
    scale: float
    tied: bool
    activation: str
    layers: tuple[Layer, ...]
    embedding_gain: float = 1.0
    norm_gain: float = 0.0
    sandwich: bool = False
    qk_norm: bool = False
    fused: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    logit_cap: float = 0.0
    notes: tuple[str, ...] = ()
