"""What openvino-genai needs to hold an answer to a grammar, and a place to try one. Only the child imports this."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai as genai
import openvino_tokenizers
from openvino import opset13 as op
from openvino.utils.node_factory import NodeFactory

from fairlead.adapters.engines.openvino.vocabulary import words

_Node = Any
_WIDE: Final = 16


def tokenizer(model: Path) -> Any:
    """One that knows the bytes of tokens and cannot encode, of a folder that has ``tokenizer.json``; None for others.

    A folder with the library's own tokenizer needs none.
    """
    if not model.is_dir() or (model / "openvino_detokenizer.xml").is_file():
        return None
    known = words(model / "tokenizer.json")
    return None if known is None else _tokenizer(known)


def _tokenizer(known: list[bytes]) -> Any:
    """It reads them from the constants of the operation that makes text of ids."""
    lengths = np.array([len(one) for one in known], np.int32)
    ends = np.cumsum(lengths, dtype=np.int32)
    characters = np.frombuffer(b"".join(known) or b"\0", np.uint8)
    factory = NodeFactory()
    factory.add_extension(openvino_tokenizers._ext_path)  # noqa: SLF001 - it has no other name
    ids = openvino.op.Parameter(openvino.Type.i64, openvino.PartialShape([-1, -1]))
    constants = [op.constant(one) for one in (ends - lengths, ends, characters)]
    inputs = [op.convert(ids, "i32"), *constants]
    *ragged, text = factory.create("VocabDecoder", [one.output(0) for one in inputs]).outputs()
    fused = [*factory.create("FuzeRagged", ragged).outputs(), text]
    packed = NodeFactory("opset15").create("StringTensorPack", fused)
    packed.output(0).set_names({"string_output"})
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        model = openvino.Model([packed.output(0)], [ids], "words")
        openvino.save_model(model, Path(folder) / "openvino_detokenizer.xml", compress_to_fp16=False)
        return genai.Tokenizer(folder)


class Trial:
    """A model of next to no size with the same tokenizer: it compiles a grammar before an answer that counts needs it.

    One that does not compile fails the step that meets it, and every later one, of all answers; ``generate`` forgets
    what failed, and may be called only while nothing else runs. What was compiled is kept with the tokenizer.
    """

    def __init__(self, speaking: Any) -> None:
        self.size = max(speaking.get_vocab().values()) + 1
        with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
            openvino.save_model(_smallest(self.size), Path(folder) / "openvino_model.xml")
            settings = genai.SchedulerConfig()
            settings.num_kv_blocks = 4
            settings.enable_prefix_caching = False
            self._inner = genai.ContinuousBatchingPipeline(folder, speaking, settings, "CPU", INFERENCE_NUM_THREADS=1)

    def compile(self, grammar: Any) -> None:
        """Raises RuntimeError for one that cannot be used."""
        config = genai.GenerationConfig(max_new_tokens=1, eos_token_id=0, stop_token_ids={0})
        config.structured_output_config = grammar
        self._inner.generate([openvino.Tensor(np.zeros((1, 1), np.int64))], [config])


def _smallest(size: int) -> openvino.Model:
    """One layer of attention over ``size`` tokens."""
    dynamic = openvino.PartialShape([-1, -1])
    ids, mask, places = (
        _input(name, openvino.Type.i64, dynamic) for name in ("input_ids", "attention_mask", "position_ids")
    )
    beam = _input("beam_idx", openvino.Type.i32, openvino.PartialShape([-1]))
    table = op.constant(np.zeros((size, _WIDE), np.float32))
    found = op.gather(table, op.convert(ids, "i32"), op.constant(np.int32(0)))
    heads = op.transpose(op.reshape(found, _ints(0, 0, 1, _WIDE), True), _ints(0, 2, 1, 3))
    batch = op.gather(op.shape_of(ids), _ints(0), _ints(0))
    sinks, kept = [], []
    for name in ("key", "value"):
        empty = op.broadcast(op.constant(np.float32(0)), op.concat([batch, _ints(1, 0, _WIDE)], 0))
        variable = f"past_key_values.0.{name}present.0.{name}"
        past = op.read_value(empty, variable, openvino.Type.f32, openvino.PartialShape([-1, 1, -1, _WIDE]))
        whole = op.concat([op.gather(past, beam, op.constant(np.int32(0))), heads], 2)
        sinks.append(op.assign(whole, variable))
        kept.append(whole)
    seen = op.unsqueeze(op.convert(op.unsqueeze(mask, _ints(1)), "boolean"), _ints(1))
    asked = op.add(heads, op.convert(op.unsqueeze(op.unsqueeze(places, _ints(1)), _ints(3)), "f32"))
    hidden = op.scaled_dot_product_attention(asked, *kept, seen)
    flat = op.reshape(op.transpose(hidden, _ints(0, 2, 1, 3)), _ints(0, 0, _WIDE), True)
    logits = op.result(op.matmul(flat, table, False, True))
    logits.output(0).set_names({"logits"})
    return openvino.Model([logits], sinks, [ids, mask, places, beam], "trial")


def _input(name: str, kind: Any, shape: Any) -> _Node:
    found = openvino.op.Parameter(kind, shape)
    found.set_friendly_name(name)
    found.output(0).set_names({name})
    return found


def _ints(*values: int) -> _Node:
    return op.constant(np.array(values, np.int64))
