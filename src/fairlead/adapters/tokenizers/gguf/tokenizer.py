"""Tokenizer ``gguf``: vocabulary, merges and chat templates out of the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from fairlead.adapters.tokenizers import sentencepieces
from fairlead.adapters.tokenizers.gguf.metadata import metadata
from fairlead.adapters.tokenizers.sentencepieces import CONTROL, UNKNOWN, USER
from fairlead.adapters.tokenizers.vocabulary import Added, Contents, Vocabulary
from fairlead.contracts.errors import BrokenModel, SourceNotFound

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ANY_CASE: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3: Final = rf"{_ANY_CASE}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"
_QWEN2: Final = rf"{_ANY_CASE}|{_WORDS}|\p{{N}}|{_REST}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SLASHED: Final = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN: Final = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_SLASHED}"
)
_O200K: Final = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ANY_CASE}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ANY_CASE}?"
    rf"|\p{{N}}{{1,3}}|{_SLASHED}"
)
_CUTS: Final[Mapping[str, tuple[str, ...]]] = (
    dict[str, tuple[str, ...]].fromkeys(
        ("", "default", "gpt-2", "phi-2", "jina-es", "jina-de", "mpt", "olmo", "gigachat"), (_GPT2,)
    )
    | dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "dbrx", "smaug-bpe", "glm4"), (_LLAMA3,))
    | dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), (_QWEN2,))
    | dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (r"\p{N}", _GPT2))
    | {"tekken": (_TEKKEN,), "gpt-4o": (_O200K,), "llama4": (_O200K,)}
)  # fmt: skip
"""How text is cut into words before it is merged, by the name that a file gives to it."""


_WORDS_OF: Final = (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding"))
"""What a template calls a token, and what GGUF does."""


class GgufTokenizer(Vocabulary):
    """Made with the path of a ``.gguf`` file. Raises SourceNotFound, BrokenModel."""

    def __init__(self, model: str) -> None:
        path = Path(model)
        if path.is_dir():
            held = sorted(path.glob("*.gguf"))
            if len(held) != 1:
                raise SourceNotFound(f"{path} has {len(held)} files .gguf; name the one that is meant")
            path = held[0]
        super().__init__(_contents(path, metadata(path, ("tokenizer.",))))


class _Found:
    """Metadata of a tokenizer, asked by name and type."""

    def __init__(self, path: Path, all_: dict[str, Any]) -> None:
        self.path = path
        self._all = all_

    def get(self, name: str, kind: type, default: Any = None) -> Any:
        value = self._all.get(f"tokenizer.{name}", default)
        if value is None or type(value) is kind:
            return value
        raise BrokenModel(f"{self.path}: tokenizer.{name} is no {kind.__name__}")

    def texts(self, name: str) -> list[str]:
        found: list[str] = self.get(name, list, [])
        return found

    def numbers(self, name: str, count: int, default: float) -> list[Any]:
        found = self._all.get(f"tokenizer.{name}")
        if found is None:
            return [default] * count
        if not hasattr(found, "tolist") or len(found) != count:
            raise BrokenModel(f"{self.path}: tokenizer.{name} has not one number for each of {count} tokens")
        listed: list[Any] = found.tolist()
        return listed

    def templates(self) -> dict[str, str]:
        first = self.get("chat_template", str)
        found = {"default": first} if first else {}
        for name, value in self._all.items():
            if name.startswith("tokenizer.chat_template.") and isinstance(value, str):
                found[name.removeprefix("tokenizer.chat_template.")] = value
        return found


def _contents(path: Path, all_: dict[str, Any]) -> Contents:
    found = _Found(path, all_)
    tokens = found.texts("ggml.tokens")
    if not tokens:
        raise BrokenModel(f"{path} has no tokenizer.ggml.tokens: no text can be made of it")
    kinds = found.numbers("ggml.token_type", len(tokens), sentencepieces.NORMAL)
    model = found.get("ggml.model", str, "")
    words = {
        name: tokens[place]
        for name, key in _WORDS_OF
        if (place := found.get(f"ggml.{key}_token_id", int)) is not None and 0 <= place < len(tokens)
    }  # fmt: skip
    ids = {one: place for place, one in enumerate(tokens)}
    added = [
        Added(place, one, special=kind != USER)
        for place, (one, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (UNKNOWN, CONTROL, USER) or one in words.values()
    ]
    ends = [found.get(f"ggml.{name}_token_id", int) for name in ("eos", "eot", "eom")]
    begin = (ids[words["bos_token"]],) if _begins(found, model) and "bos_token" in words else ()
    templates = found.templates()
    told = tuple(dict.fromkeys(one for one in ends if one is not None and 0 <= one < len(tokens)))
    if model == "llama":
        pieces = sentencepieces.Pieces(
            tokens, found.numbers("ggml.scores", len(tokens), 0.0), kinds,
            found.get("ggml.add_space_prefix", bool, True), found.get("ggml.unknown_token_id", int, 0),
        )  # fmt: skip
        made = sentencepieces.built(pieces)
        return Contents(
            made, tokens, added, "pieces", told, begin, (), pieces.prefix, templates, words, pieces.unknown
        )  # fmt: skip
    if model == "gpt2":
        made = _merging(found, tokens)
        return Contents(made, tokens, added, "bytes", told, begin, (), False, templates, words)
    if model == "bert":
        spelled = [_as_bert(one, kind) for one, kind in zip(tokens, kinds, strict=True)]
        final = tuple(one for one in [found.get("ggml.seperator_token_id", int)] if one is not None)
        begin = tuple(one for one in [found.get("ggml.cls_token_id", int)] if one is not None) or begin
        unknown = ids.get("[UNK]", -1)
        made = _of_words(spelled)
        return Contents(made, spelled, added, "words", told, begin, final, True, templates, words, unknown)
    raise BrokenModel(f"{path} has a tokenizer of the kind {model!r}; llama, gpt2 and bert are read here")


def _begins(found: _Found, model: str) -> bool:
    """Whether a text begins with a token: what the file says, else what the kind is known for."""
    said = found.get("ggml.add_bos_token", bool)
    return bool(said) if said is not None else model == "llama"


def _merging(found: _Found, tokens: Sequence[str]) -> tokenizers.Tokenizer:
    name = found.get("ggml.pre", str, "")
    if name not in _CUTS:
        known = ", ".join(sorted(one for one in _CUTS if one))
        raise BrokenModel(
            f"{found.path} cuts text into words by the rule {name!r}; known here are {known}. A folder with the "
            "model's tokenizer.json, named by the option tokenizer, serves as well"
        )
    pairs = [(left, right) for one in found.texts("ggml.merges") for left, _, right in [one.partition(" ")]]
    vocabulary = {one: place for place, one in enumerate(tokens)}
    try:
        made = tokenizers.Tokenizer(
            models.BPE(vocabulary, pairs, ignore_merges=name in ("llama-bpe", "llama3", "llama-v3"))
        )
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise BrokenModel(f"{found.path}: tokenizer.ggml.merges: {str(error)[:300]}") from None
    steps: list[Any] = [pre_tokenizers.Split(Regex(one), "isolated") for one in _CUTS[name]]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return made


def _as_bert(token: str, kind: int) -> str:
    """GGUF marks the beginning of a word, BERT what goes on in it."""
    if kind in (UNKNOWN, CONTROL):
        return token
    return token[1:] if token.startswith("\u2581") else f"##{token}"


def _of_words(tokens: Sequence[str]) -> tokenizers.Tokenizer:
    vocabulary = {one: place for place, one in enumerate(tokens)}
    unknown = "[UNK]" if "[UNK]" in vocabulary else tokens[0]
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made
