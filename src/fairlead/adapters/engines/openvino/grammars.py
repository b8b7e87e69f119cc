"""What openvino-genai needs to hold an answer to a grammar, and a place to try one. Only the child imports this."""

from __future__ import annotations

import contextlib
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

_TOKENIZER: Final = "openvino_tokenizer.xml"
_DETOKENIZER: Final = "openvino_detokenizer.xml"
_EXTENSION: Final = NodeFactory()
"""It lives as long as the process: operations that it made are code of the library that it loaded."""

_EXTENSION.add_extension(openvino_tokenizers._ext_path)  # noqa: SLF001 - it has no other name
_Node = Any
_WIDE: Final = 16


def staged(model: Path, size: int, scratch: Path) -> Path:
    """A folder as the library wants it, of one without its own tokenizer: links, and two models of our making.

    The one gives the bytes of tokens, out of ``tokenizer.json``: all that a grammar needs. The other should make ids of
    text, and is there because a draft model must have it; ids come ready, so it makes none. The folder itself where it
    has both, or no ``tokenizer.json`` that is known.

    ``size``: tokens that the model has logits for, 0 where it is not known; a grammar is held against exactly so many.
    """
    if not model.is_dir() or (model / _DETOKENIZER).is_file():
        return model
    known = words(model / "tokenizer.json")
    if known is None:
        return model
    found = scratch / model.name
    found.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        with contextlib.suppress(FileExistsError):
            (found / file.name).symlink_to(file.absolute())
    if size:
        known = [*known[:size], *[b""] * (size - len(known))]
    _speak(known, found / _DETOKENIZER)
    openvino.save_model(_silent(), found / _TOKENIZER, compress_to_fp16=False)
    return found


def _speak(known: list[bytes], file: Path) -> None:
    """The library reads the bytes from the constants of the operation that makes text of ids."""
    lengths = np.array([len(one) for one in known], np.int32)
    ends = np.cumsum(lengths, dtype=np.int32)
    characters = np.frombuffer(b"".join(known) or b"\0", np.uint8)
    ids = openvino.op.Parameter(openvino.Type.i64, openvino.PartialShape([-1, -1]))
    constants = [op.constant(one) for one in (ends - lengths, ends, characters)]
    inputs = [op.convert(ids, "i32"), *constants]
    *ragged, text = _EXTENSION.create("VocabDecoder", [one.output(0) for one in inputs]).outputs()
    fused = [*_EXTENSION.create("FuzeRagged", ragged).outputs(), text]
    packed = NodeFactory("opset15").create("StringTensorPack", fused)
    packed.output(0).set_names({"string_output"})
    openvino.save_model(openvino.Model([packed.output(0)], [ids], "words"), file, compress_to_fp16=False)


def _silent() -> openvino.Model:
    """One token for any text."""
    text = openvino.op.Parameter(openvino.Type.string, openvino.PartialShape([-1]))
    results = []
    for name in ("input_ids", "attention_mask"):
        result = op.result(op.constant(np.ones((1, 1), np.int64)))
        result.output(0).set_names({name})
        results.append(result)
    return openvino.Model(results, [text], "silent")


def silent(scratch: Path) -> Any:
    """A tokenizer that knows nothing, where the library insists on one."""
    openvino.save_model(_silent(), scratch / _TOKENIZER, compress_to_fp16=False)
    return genai.Tokenizer(str(scratch))


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
