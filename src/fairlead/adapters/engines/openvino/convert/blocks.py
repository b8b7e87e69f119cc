"""The parts of a decoder as nodes of an OpenVINO graph.

They have the forms that openvino-genai's rewrite to paged attention looks for (`SDPAToPagedAttention`: state read,
gathered by ``beam_idx``, concatenated, broadcast to the heads that share it, into one `ScaledDotProductAttention`); the
window of a layer that slides is read by it out of the mask, out of the one constant that is added to the positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from fairlead.adapters.engines.openvino.convert.rope import Rope

Node = Any

_HIDDEN = np.float32(-65504.0)
"""What is added to scores that must not count: float16 still has it."""


def i64(*numbers: int) -> Node:
    return op.constant(np.array(numbers, np.int64))


def scalar(number: float) -> Node:
    return op.constant(np.float32(number))


def rms(x: Node, weight: Node, eps: float) -> Node:
    """Root mean square norm over the last dimension (arXiv 1910.07467)."""
    mean = op.reduce_mean(op.power(x, scalar(2.0)), i64(-1), True)
    return op.multiply(weight, op.multiply(x, op.divide(scalar(1.0), op.sqrt(op.add(mean, scalar(eps))))))


def activated(x: Node, kind: str) -> Node:
    if kind == "silu":
        return op.swish(x)
    return op.gelu(x, "tanh" if kind == "gelu_tanh" else "erf")


def capped(x: Node, cap: float) -> Node:
    """``cap * tanh(x / cap)``: as openvino-genai looks for it, to compute only the logits that are asked for."""
    return op.multiply(op.tanh(op.divide(x, scalar(cap))), scalar(cap))


class Sequence:
    """The inputs of the graph, and what every layer needs of them: positions, masks, the state of keys and values."""

    def __init__(self) -> None:
        self.ids = _parameter("input_ids", ov.Type.i64, 2)
        self.mask = _parameter("attention_mask", ov.Type.i64, 2)
        self.positions = _parameter("position_ids", ov.Type.i64, 2)
        self.beam = _parameter("beam_idx", ov.Type.i32, 1)
        self.written: list[Node] = []
        """Assignments to the state, for the model."""
        self._batch = op.gather(op.shape_of(self.ids), i64(0), i64(0))
        self._turns: dict[Rope, tuple[Node, Node]] = {}
        self._masks: dict[int, Node] = {}

    @property
    def parameters(self) -> list[Node]:
        return [self.ids, self.mask, self.positions, self.beam]

    def turned(self, x: Node, rope: Rope, width: int) -> Node:
        """Heads (batch, heads, tokens, width), of which the first numbers are turned by their positions."""
        cos, sin = self._angles(rope)
        half, whole = rope.turned // 2, rope.turned
        head = x if whole == width else _cut(x, 0, whole)
        swapped = op.concat([op.multiply(_cut(head, half, whole), scalar(-1.0)), _cut(head, 0, half)], -1)
        head = op.add(op.multiply(head, cos), op.multiply(swapped, sin))
        return head if whole == width else op.concat([head, _cut(x, whole, width)], -1)

    def attention(
        self, query: Node, key: Node, value: Node, layer: int, shape: tuple[int, int, int], scale: float, window: int
    ) -> Node:
        """(batch, heads, tokens, head_dim). ``shape``: heads, heads of keys and values, head_dim.

        ``window``: tokens back that count, itself included; 0: all.
        """
        keys = self._state(key, f"past_key_values.{layer}.keypresent.{layer}.key", shape)
        values = self._state(value, f"past_key_values.{layer}.valuepresent.{layer}.value", shape)
        return op.scaled_dot_product_attention(query, keys, values, self._masked(window), scalar(scale))

    def _state(self, current: Node, name: str, shape: tuple[int, int, int]) -> Node:
        heads, kv_heads, head_dim = shape
        empty = op.broadcast(scalar(0.0), op.concat([self._batch, i64(kv_heads), i64(0), i64(head_dim)], 0))
        past = op.read_value(empty, name, ov.Type.f32, ov.PartialShape([-1, kv_heads, -1, head_dim]))
        whole = op.concat([op.gather(past, self.beam, op.constant(np.int32(0))), current], 2)
        self.written.append(op.assign(whole, name))
        if heads == kv_heads:
            return whole
        have = op.shape_of(whole)
        target = [op.gather(have, i64(0, 1), i64(0)), i64(heads // kv_heads), op.gather(have, i64(2, 3), i64(0))]
        shared = op.broadcast(op.unsqueeze(whole, i64(2)), op.concat(target, 0))
        return op.reshape(shared, i64(0, heads, -1, head_dim), True)

    def _angles(self, rope: Rope) -> tuple[Node, Node]:
        """Cosine and sine (batch, 1, tokens, turned)."""
        if rope not in self._turns:
            frequencies = op.constant(np.array(rope.frequencies, np.float32).reshape(1, -1, 1))
            places = op.convert(op.unsqueeze(self.positions, i64(1)), "f32")
            once = op.transpose(op.matmul(frequencies, places, False, False), i64(0, 2, 1))
            angles = op.concat([once, once], -1)
            cos, sin = op.unsqueeze(op.cos(angles), i64(1)), op.unsqueeze(op.sin(angles), i64(1))
            if rope.gain != 1.0:
                cos, sin = op.multiply(cos, scalar(rope.gain)), op.multiply(sin, scalar(rope.gain))
            self._turns[rope] = (cos, sin)
        return self._turns[rope]

    def _masked(self, window: int) -> Node:
        """What is added to scores: (batch, 1, tokens, tokens so far)."""
        if window not in self._masks:
            self._masks[window] = self._mask(window)
        return self._masks[window]

    def _mask(self, window: int) -> Node:
        far = op.gather(op.shape_of(self.mask), i64(1), i64(0))
        along = op.range(op.constant(np.int64(0)), op.squeeze(far, i64(0)), op.constant(np.int64(1)), "i64")
        seen = op.unsqueeze(along, i64(0, 1, 2))
        here = op.unsqueeze(self.positions, i64(1, 3))
        real = op.convert(op.unsqueeze(self.mask, i64(1, 2)), "boolean")
        past = op.less_equal(seen, here)
        if not window:
            return op.select(op.logical_and(past, real), scalar(0.0), op.constant(_HIDDEN))
        return self._slid(past, real, seen, here, window)

    def _slid(self, past: Node, real: Node, seen: Node, here: Node, window: int) -> Node:
        """The same with a window, in the form in which the rewrite finds it: four conjunctions, the first of which
        holds ``seen > here + (-window)``; two of them are there for it alone.
        """
        near = op.greater(seen, op.add(here, op.constant(np.array(-window, np.int64))))
        there = op.greater_equal(seen, op.constant(np.int64(0)))
        told = op.greater_equal(here, op.constant(np.int64(0)))
        both = op.bitwise_and(op.bitwise_and(past, near), there)
        counts = op.bitwise_and(op.bitwise_and(told, both), real)
        tokens = op.gather(op.shape_of(self.ids), i64(1), i64(0))
        far = op.gather(op.shape_of(self.mask), i64(1), i64(0))
        wide = op.broadcast(counts, op.concat([self._batch, i64(1), tokens, far], 0))
        added = op.select(wide, scalar(0.0), op.constant(_HIDDEN))
        return op.slice(added, i64(0), far, i64(1), i64(3))


def heads(x: Node, count: int, width: int) -> Node:
    """(batch, tokens, count * width) to (batch, tokens, count, width)."""
    return op.reshape(x, i64(0, 0, count, width), True)


def swapped(x: Node) -> Node:
    """(batch, tokens, heads, width) to (batch, heads, tokens, width), and back."""
    return op.transpose(x, i64(0, 2, 1, 3))


def joined(x: Node, width: int) -> Node:
    """(batch, tokens, heads, head_dim) to (batch, tokens, width)."""
    return op.reshape(x, i64(0, 0, width), True)


def _cut(x: Node, first: int, last: int) -> Node:
    return op.slice(x, i64(first), i64(last), i64(1), i64(3))


def _parameter(name: str, kind: Any, rank: int) -> Node:
    made = ov.op.Parameter(kind, ov.PartialShape([-1] * rank))
    made.set_friendly_name(name)
    made.output(0).set_names({name})
    return made
