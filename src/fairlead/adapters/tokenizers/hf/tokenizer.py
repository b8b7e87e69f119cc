"""Tokenizer ``hf``: `tokenizer.json`, or `vocab.json` with `merges.txt`, or the `tokenizer.model` of SentencePiece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import tokenizers
from tokenizers import models, pre_tokenizers

from fairlead.adapters.tokenizers import sentencepieces
from fairlead.adapters.tokenizers.hf.folder import Folder, kinds
from fairlead.adapters.tokenizers.vocabulary import Added, Contents, Spelling, Vocabulary
from fairlead.contracts.errors import BrokenModel, SourceNotFound

_PAIRS = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""Names of vocabulary and merges of byte-level BPE: Hugging Face's, OpenAI's."""


class HfTokenizer(Vocabulary):
    """Made with the folder of a model. Raises SourceNotFound, BrokenModel."""

    def __init__(self, model: str) -> None:
        path = Path(model)
        if not path.is_dir():
            raise SourceNotFound(f"{model} is no folder; name the folder of a model with its tokenizer.json")
        folder = Folder(path)
        super().__init__(_contents(folder))


def _contents(folder: Folder) -> Contents:
    if (folder.path / "tokenizer.json").is_file():
        return _of_document(folder, folder.document("tokenizer.json"))
    for vocabulary, merges in _PAIRS:
        if (folder.path / vocabulary).is_file() and (folder.path / merges).is_file():
            return _of_pair(folder, vocabulary, merges)
    if (folder.path / "tokenizer.model").is_file():
        return _of_pieces(folder)
    raise SourceNotFound(f"{folder.path} has no tokenizer.json (nor vocab.json with merges.txt, nor tokenizer.model)")


def _of_document(folder: Folder, document: dict[str, Any]) -> Contents:
    model = document.get("model")
    if not isinstance(model, dict):
        raise BrokenModel(f"{folder.path / 'tokenizer.json'} has no model")
    added = folder.added(document.get("added_tokens"))
    try:
        begin, final = folder.around(document.get("post_processor"), {one.text: one.id for one in added})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BrokenModel(f"{folder.path / 'tokenizer.json'}: post_processor is broken: {error!r}") from None
    alone = document | {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
    made = _made(folder, msgspec.json.encode(alone).decode())
    spelling, pads = _spelling(document)
    tokens = _tokens(folder, model.get("vocab"))
    unknown = model.get("unk_id", model.get("unk_token"))
    if isinstance(unknown, str):
        unknown = tokens.index(unknown) if unknown in tokens else None
    return Contents(
        made, tokens, added, spelling, folder.ends({one.text: one.id for one in added}), begin, final, pads,
        folder.templates(), folder.words(), unknown if isinstance(unknown, int) else -1,
    )  # fmt: skip


def _made(folder: Folder, text: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
        raise BrokenModel(f"{folder.path / 'tokenizer.json'} is no tokenizer: {str(error)[:300]}") from None


def _tokens(folder: Folder, vocabulary: Any) -> list[str | None]:
    """Tokens by id, of a map or a list of pairs."""
    pairs: dict[str, int] = {}
    if isinstance(vocabulary, dict):
        pairs = vocabulary
    elif isinstance(vocabulary, list):
        pairs = {str(one[0]): place for place, one in enumerate(vocabulary) if isinstance(one, list) and one}
    size = max(pairs.values(), default=-1) + 1
    if size == 0 or size > 2 * len(pairs) + 100_000:
        raise BrokenModel(
            f"{folder.path / 'tokenizer.json'}: its vocabulary has {len(pairs)} tokens up to id {size - 1}"
        )
    found: list[str | None] = [None] * size
    for token, place in pairs.items():
        found[place] = token
    return found


def _spelling(document: dict[str, Any]) -> tuple[Spelling, bool]:
    """How tokens are spelled, and whether a text that begins has a space that nobody wrote."""
    steps = kinds(document.get("decoder"))
    names = {one.get("type") for one in steps}
    before = {one.get("type") for one in kinds(document.get("pre_tokenizer"))}
    if "ByteLevel" in names or (not names and "ByteLevel" in before):
        return "bytes", False
    if "WordPiece" in names:
        return "words", True
    strips = any(one.get("type") == "Strip" and one.get("start", 0) > 0 for one in steps)
    meta = [one for one in steps if one.get("type") == "Metaspace"]
    padded = any(one.get("prepend_scheme", "always") != "never" and one.get("add_prefix_space", True) for one in meta)
    spaces = any(one.get("type") == "Replace" and one.get("pattern") == {"String": "\u2581"} for one in steps)
    if meta or spaces or "ByteFallback" in names:
        return "pieces", strips or padded
    return "plain", False


def _of_pair(folder: Folder, vocabulary: str, merges: str) -> Contents:
    """Byte-level BPE as GPT-2 has it."""
    ids = folder.document(vocabulary)
    lines = (folder.text(merges) or "").splitlines()
    pairs = [
        (left, right) for one in lines if not one.startswith("#version") for left, _, right in [one.partition(" ")]
    ]
    try:
        made = tokenizers.Tokenizer(models.BPE(ids, [one for one in pairs if one[1]]))
    except Exception as error:  # noqa: BLE001 - as above
        raise BrokenModel(f"{folder.path / merges}: {str(error)[:300]}") from None
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = folder.words() or ({"eos_token": "<|endoftext|>"} if "<|endoftext|>" in ids else {})
    added = folder.added(None) or [Added(ids[one], one, special=True) for one in set(words.values()) if one in ids]
    known = {one.text: one.id for one in added}
    ends = folder.ends(known) or tuple(known[one] for one in words.values() if one in known)
    begin, final = folder.around(None, known)
    return Contents(made, _tokens(folder, ids), added, "bytes", ends, begin, final, False, folder.templates(), words)


def _of_pieces(folder: Folder) -> Contents:
    pieces = sentencepieces.read(folder.path / "tokenizer.model")
    added = sentencepieces.added(pieces)
    known = {one.text: one.id for one in added}
    words = {"bos_token": "<s>", "eos_token": "</s>"} | folder.words()
    begin = () if folder.config.get("add_bos_token") is False else tuple(known[one] for one in ("<s>",) if one in known)
    ends = folder.ends(known) or tuple(known[one] for one in (words["eos_token"],) if one in known)
    return Contents(
        sentencepieces.built(pieces), pieces.tokens, added, "pieces", ends, begin, (), pieces.prefix,
        folder.templates(), words, pieces.unknown,
    )  # fmt: skip
