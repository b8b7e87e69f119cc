"""openvino-genai's pipeline: made from settings, warmed up, and what can be learnt of it. For the child alone."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino
import openvino_genai as genai

from fairlead.adapters.engines.openvino import lora
from fairlead.adapters.engines.openvino.described import Described
from fairlead.adapters.engines.openvino.grammars import Trial, silent, staged
from fairlead.adapters.engines.openvino.messages import Settings
from fairlead.adapters.engines.openvino.vocabulary import words
from fairlead.contracts.errors import BrokenModel, SourceNotFound
from fairlead.kit import memory
from fairlead.kit.sentences import cause

log = logging.getLogger("fairlead.engines")

BLOCK: Final = 32
"""Tokens of a block of the key-value cache on a CPU."""

_PLACE: Final = re.compile(r"^(\[[\d:]+\] )?(Exception from )?/\S+:\d+:\s*")
_GB: Final = 1 << 30
_SHARE: Final = 0.3
_MOST: Final = 8


@dataclass(slots=True)
class Pipeline:
    """``adapters``: LoRA adapters by name.  ``blocks``: of the key-value cache.  ``trial``: None: no grammars."""

    inner: Any
    settings: Settings
    adapters: dict[str, Any]
    blocks: int
    trial: Trial | None
    names: int = 0

    def add(self, ids: Sequence[int], config: Any) -> Any:
        """A handle. Raises RuntimeError for a configuration that it refuses."""
        self.names += 1
        return self.inner.add_request(self.names, _tensor(ids), config)

    def switch(self, adapter: str) -> None:
        """Have another adapter from now on; only while no answer is under way.

        Only ``generate`` changes adapters (``step`` keeps those there are), so one token is generated for nobody.
        """
        config = genai.GenerationConfig(max_new_tokens=1, ignore_eos=True, eos_token_id=0, stop_token_ids={0})
        config.adapters = genai.AdapterConfig(self.adapters[adapter]) if adapter else genai.AdapterConfig()
        self.inner.generate([_tensor([0])], [config])

    @property
    def words(self) -> int:
        """Tokens that its tokenizer knows; 0 where it has none."""
        return 0 if self.trial is None else self.trial.size

    @property
    def memory(self) -> float:
        """The share of the cache that the last step used, 0.0 to 1.0."""
        return float(self.inner.get_metrics().cache_usage) / 100.0


def opened(path: Path, described: Described, precision: str, threads: int, settings: Settings) -> Pipeline:
    """Ready to answer. Raises BrokenModel, SourceNotFound."""
    adapters = {name: _adapter(name, Path(place), path) for name, place in settings.adapters.items()}
    scheduling = _scheduling(settings, path)
    properties = _properties(precision, threads, settings, adapters)
    with tempfile.TemporaryDirectory(prefix="fairlead-") as scratch:
        if settings.draft_model:
            draft = Path(settings.draft_model)
            _alike(path, draft)
            properties["draft_model"] = genai.draft_model(str(staged(draft, 0, Path(scratch, "draft"))), "CPU")
        try:
            inner = _made(path, described.vocabulary, Path(scratch), scheduling, properties)
        except (RuntimeError, TypeError, IndexError) as error:
            raise BrokenModel(f"{path} does not load: {said(error)}{otherwise(path)}") from error
    found = Pipeline(inner, settings, adapters, 0, _trial(inner))
    try:
        found.blocks = _warmed(found, described.context or settings.batched_tokens * 2)
    except RuntimeError as error:
        raise BrokenModel(f"{path} loads, and does not answer: {said(error)}") from error
    return found


def _made(path: Path, size: int, scratch: Path, scheduling: Any, properties: dict[str, Any]) -> Any:
    if path.is_dir():
        return genai.ContinuousBatchingPipeline(str(staged(path, size, scratch)), scheduling, "CPU", properties)
    try:
        return genai.ContinuousBatchingPipeline(str(path), scheduling, "CPU", properties)
    except (RuntimeError, IndexError):  # it reads byte-level vocabularies out of .gguf files, and no others
        log.info("the vocabulary of a .gguf file is not read", exc_info=True)
        return genai.ContinuousBatchingPipeline(str(path), silent(scratch), scheduling, "CPU", **properties)


def guess(config: Any, settings: Settings) -> None:
    """Have an answer guessed ahead, where that was asked for: every one must be, then."""
    if settings.draft_model or settings.prompt_lookup:
        config.num_assistant_tokens = settings.assistant_tokens
    if settings.prompt_lookup:
        config.max_ngram_size = 3


def said(error: BaseException) -> str:
    """The sentence in what the library raises: it puts the place in its own source before it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return _PLACE.sub("", lines[-1])[:300] if lines else cause(error)


def otherwise(path: Path) -> str:
    """What can be done about a model that does not load; nothing for one that was converted here."""
    if path.is_dir():
        return ""
    return (
        "; of .gguf files this engine reads weights of F16, Q8_0, Q4_0, Q4_1, Q4_K and Q6_K: serve another by "
        "llama-server (engine: llama-server), or name the folder of safetensors that it was made of"
    )


def _scheduling(settings: Settings, path: Path) -> Any:
    found = genai.SchedulerConfig()
    found.max_num_batched_tokens = settings.batched_tokens
    found.max_num_seqs = settings.parallel
    found.dynamic_split_fuse = True
    # What is kept is found by ids alone, so with adapters the one would get what another computed.
    found.enable_prefix_caching = settings.prefix_caching and not settings.adapters
    found.cache_size = settings.cache_gb or budget(memory.available(), weight(path))
    return found


def budget(free: int, weights: int) -> int:
    """Gigabytes of cache where nobody says how many. ``free``, ``weights``: bytes of memory."""
    return max(1, min(_MOST, int((free - weights) * _SHARE / _GB)))


def weight(path: Path) -> int:
    """Bytes of a model's files."""
    files = path.glob("*.bin") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _properties(precision: str, threads: int, settings: Settings, adapters: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"KV_CACHE_PRECISION": settings.cache_precision}
    if threads:
        found["INFERENCE_NUM_THREADS"] = threads
    # Where the processor has bf16, everything is computed in it, also with f16 weights: then greedy text is not that of
    # the model. Who asks for f16 asks for exactness.
    compute = settings.compute or ("f32" if precision == "f16" else "")
    if compute:
        found["INFERENCE_PRECISION_HINT"] = compute
    if settings.prompt_lookup:
        found["prompt_lookup"] = True
    if adapters:
        found["adapters"] = genai.AdapterConfig(list(adapters.values()))
    return found


def _alike(path: Path, draft: Path) -> None:
    """Raises BrokenModel for a draft model whose tokens are others: what it guesses would mean something else."""
    known, guessed = (words(one / "tokenizer.json") if one.is_dir() else None for one in (path, draft))
    if known is not None and guessed is not None and known != guessed:
        raise BrokenModel(f"option draft_model: the tokens of {draft} are not those of {path}")


def _adapter(name: str, place: Path, model: Path) -> Any:
    file = place / "adapter_model.safetensors" if place.is_dir() else place
    if not file.is_file():
        raise SourceNotFound(f"option adapters: {name!r} is at {file}, where no file is")
    graph = model / "openvino_model.xml"
    try:
        changed = lora.modules(file)
        if graph.is_file() and not lora.found(changed, graph.read_text()):
            raise BrokenModel(f"option adapters: {name!r} at {file} changes nothing that {model} has")
        return genai.Adapter(str(file))
    except (RuntimeError, ValueError) as error:
        raise BrokenModel(f"option adapters: {name!r} at {file} does not load: {said(error)}") from error


def _trial(inner: Any) -> Trial | None:
    """None where it does not know which text a token stands for."""
    try:
        return Trial(inner.get_tokenizer())
    except RuntimeError:
        log.info("no grammars", exc_info=True)
        return None


def _warmed(pipeline: Pipeline, room: int) -> int:
    """Blocks of the cache. The first steps compile code for the shapes that they meet, so they are made for nobody."""
    config = genai.GenerationConfig(max_new_tokens=2, ignore_eos=True, eos_token_id=0, stop_token_ids={0})
    guess(config, pipeline.settings)
    first = min(pipeline.settings.batched_tokens, max(1, room - 4))
    blocks = 0
    for prompts in ((first,), (first // 2 or 1, 1, 3, 5), (1,)):
        handles = [pipeline.add([place % 2] * length, config) for place, length in enumerate(prompts)]
        while pipeline.inner.has_non_finished_requests():
            pipeline.inner.step()
            used = pipeline.memory
            if not blocks and used > 0.0:
                blocks = round(-(-first // BLOCK) / used)
        del handles
    return blocks


def _tensor(ids: Sequence[int]) -> Any:
    return openvino.Tensor(np.array([ids], np.int64))
