"""A decoder with its weights as one OpenVINO model: ids in, logits out, keys and values in its state."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from fairlead.adapters.engines.openvino.convert import blocks
from fairlead.adapters.engines.openvino.convert.checkpoint import Checkpoint
from fairlead.adapters.engines.openvino.convert.constants import Constants
from fairlead.adapters.engines.openvino.convert.decoder import Decoder, Layer
from fairlead.contracts.errors import UnknownFormat

Node = Any

_EMBEDDINGS, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_COMPUTED = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
"""Tensors of old checkpoints that the config says as well."""


class Graph:
    """Builds the model of one checkpoint."""

    def __init__(self, decoder: Decoder, checkpoint: Checkpoint, constants: Constants) -> None:
        self._made = decoder
        self._checkpoint = checkpoint
        self._constants = constants
        self._sequence = blocks.Sequence()

    def model(self) -> ov.Model:
        """Raises BrokenModel for a tensor that is missing or has another shape, UnknownFormat for one too many."""
        made = self._made
        shape = (made.vocabulary, made.hidden)
        embeddings = self._constants.matrix(_EMBEDDINGS, shape, coarse=False)
        x = op.gather(embeddings, op.convert(self._sequence.ids, "i32"), op.constant(np.int32(0)))
        if made.embedding_gain != 1.0:
            x = op.multiply(x, blocks.scalar(made.embedding_gain))
        for index, layer in enumerate(made.layers):
            x = self._layer(x, index, layer)
        x = self._norm(x, "model.norm")
        head = embeddings if self._shares_embeddings() else self._constants.matrix(_HEAD, shape, coarse=False)
        logits = op.matmul(x, head, False, True)
        if made.logit_cap:
            logits = blocks.capped(logits, made.logit_cap)
        self._nothing_left()
        result = op.result(logits)
        for one in (result, logits):
            one.output(0).set_names({"logits"})
        return ov.Model([result], self._sequence.written, self._sequence.parameters, "fairlead")

    def _shares_embeddings(self) -> bool:
        """What the config says counts: a head that is stored beside tied embeddings is their copy."""
        if self._made.tied and self._checkpoint.has(_HEAD):
            self._checkpoint.skip(_HEAD)
        return self._made.tied

    def _layer(self, x: Node, index: int, layer: Layer) -> Node:
        at = f"model.layers.{index}"
        between = self._attention(self._norm(x, f"{at}.input_layernorm"), index, layer)
        if self._made.sandwich:
            x = op.add(x, self._norm(between, f"{at}.post_attention_layernorm"))
            inner = self._feed_forward(self._norm(x, f"{at}.pre_feedforward_layernorm"), f"{at}.mlp")
            return op.add(x, self._norm(inner, f"{at}.post_feedforward_layernorm"))
        x = op.add(x, between)
        return op.add(x, self._feed_forward(self._norm(x, f"{at}.post_attention_layernorm"), f"{at}.mlp"))

    def _attention(self, x: Node, index: int, layer: Layer) -> Node:
        made, at = self._made, f"model.layers.{index}.self_attn"
        wide, narrow = made.heads * made.head_dim, made.kv_heads * made.head_dim
        query, key, value = (
            blocks.heads(one, count, made.head_dim)
            for one, count in zip(
                self._split(x, at, ("q_proj", "k_proj", "v_proj"), "qkv_proj", (wide, narrow, narrow), made.qkv_bias),
                (made.heads, made.kv_heads, made.kv_heads),
                strict=True,
            )
        )
        if made.qk_norm:
            query = self._norm(query, f"{at}.q_norm", made.head_dim, 4)
            key = self._norm(key, f"{at}.k_norm", made.head_dim, 4)
        query = self._sequence.turned(blocks.swapped(query), layer.rope, made.head_dim)
        key = self._sequence.turned(blocks.swapped(key), layer.rope, made.head_dim)
        shape = (made.heads, made.kv_heads, made.head_dim)
        mixed = self._sequence.attention(query, key, blocks.swapped(value), index, shape, made.scale, layer.window)
        joined = blocks.joined(blocks.swapped(mixed), wide)
        return self._linear(joined, f"{at}.o_proj", (made.hidden, wide), made.out_bias)

    def _feed_forward(self, x: Node, at: str) -> Node:
        made = self._made
        gate, up = self._split(x, at, ("gate_proj", "up_proj"), "gate_up_proj", (made.inner,) * 2, made.mlp_bias)
        inside = op.multiply(blocks.activated(gate, made.activation), up)
        return self._linear(inside, f"{at}.down_proj", (made.hidden, made.inner), made.mlp_bias)

    def _split(
        self, x: Node, at: str, names: tuple[str, ...], fused: str, widths: tuple[int, ...], bias: bool
    ) -> list[Node]:
        """Several projections of the same, each by its own matrix, or cut out of what one for all of them gives."""
        if self._made.fused:
            whole = self._linear(x, f"{at}.{fused}", (sum(widths), self._made.hidden), False)
            return list(op.variadic_split(whole, op.constant(np.int64(-1)), blocks.i64(*widths)).outputs())
        return [
            self._linear(x, f"{at}.{name}", (width, self._made.hidden), bias)
            for name, width in zip(names, widths, strict=True)
        ]

    def _linear(self, x: Node, name: str, shape: tuple[int, int], bias: bool) -> Node:
        y = op.matmul(x, self._constants.matrix(f"{name}.weight", shape), False, True)
        y.set_friendly_name(f"__module.{name}/MatMul")  # by which openvino-genai finds what a LoRA adapter changes
        return op.add(y, self._constants.vector(f"{name}.bias", shape[0])) if bias else y

    def _norm(self, x: Node, name: str, width: int = 0, rank: int = 3) -> Node:
        weight = self._constants.vector(f"{name}.weight", width or self._made.hidden, rank, self._made.norm_gain)
        return blocks.rms(x, weight, self._made.eps)

    def _nothing_left(self) -> None:
        left = [name for name in self._checkpoint.unused if not name.endswith(_COMPUTED)]
        if left:
            raise UnknownFormat(
                f"the checkpoint has {len(left)} tensors that a {self._made.family} of this config.json does not have, "
                f"such as {left[0]!r}: it is another model, or its config.json is another's"
            )
