"""The pure parts of the embedded engine: messages, options, what is refused, and what is kept of prompts."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.adapters.engines.openvino import lora
from fairlead.adapters.engines.openvino.asking import GRAMMAR, message
from fairlead.adapters.engines.openvino.frames import LARGEST, Cutter, framed
from fairlead.adapters.engines.openvino.messages import (
    Ask,
    Drop,
    Loaded,
    Made,
    Over,
    Settings,
    Stepped,
    ToProcess,
    ToServer,
    packed,
    unpacked,
)
from fairlead.adapters.engines.openvino.prefixes import Prefixes
from fairlead.adapters.engines.openvino.settings import checked
from fairlead.adapters.engines.openvino.vocabulary import words
from fairlead.contracts.engine import EngineOptions
from fairlead.contracts.errors import ContextTooLong, InvalidParameter, UsageError
from fairlead.contracts.generation import Sampling
from fairlead.contracts.tokens import TokenGeneration

LOADED = Loaded(100, 1000, grammars=True)
SETTINGS = Settings(adapters={"red": "r", "blue": "b"})


def asked(**changes: Any) -> TokenGeneration:
    return TokenGeneration(**{"id": "x", "ids": (1, 2, 3), "most": 10, **changes})  # type: ignore[arg-type]


class TestFrames:
    def test_messages_come_out_as_they_went_in_however_they_are_cut(self) -> None:
        sent = [
            message(7, asked(), LOADED, SETTINGS),
            Drop(7),
            message(8, asked(grammar={"regex": "a"}, ends=(2,), adapter="red"), LOADED, SETTINGS),
        ]
        data = b"".join(framed(one) for one in sent)
        for size in (1, 3, 17, len(data)):
            cutter, found = Cutter(ToProcess), []
            for start in range(0, len(data), size):
                found += cutter.feed(data[start : start + size])
            assert found == sent

    def test_a_step_too(self) -> None:
        step = Stepped([(1, 64)], [Made(1, [5, 6], [-0.5, -1.0]), Made(2, [7], [])], [Over(1, stopped=True)], 0.25)
        assert Cutter(ToServer).feed(framed(step)) == [step]

    def test_what_is_no_message_is_a_value_error(self) -> None:
        for data in (struct.pack("!I", LARGEST + 1), struct.pack("!I", 2) + b"xx", framed(Drop(1))):
            with pytest.raises(ValueError):  # noqa: PT011 - of any words
                Cutter(ToServer).feed(data)

    def test_ids_are_32_bits(self) -> None:
        assert unpacked(packed([0, -5, 2**31 - 1])) == [0, -5, 2**31 - 1]
        with pytest.raises(OverflowError):
            packed([2**31])


class TestAsking:
    def test_everything_crosses(self) -> None:
        sampling = Sampling(0.5, 0.9, 40, 0.1, 7, 0.2, 0.3, 1.1, least=4, logprobs=0)
        found = message(3, asked(sampling=sampling, ends=(2, 9), adapter="red"), LOADED, SETTINGS)
        assert isinstance(found, Ask)
        assert (found.number, unpacked(found.ids), found.most, found.least) == (3, [1, 2, 3], 10, 4)
        assert msgspec.structs.astuple(found.choosing) == (0.5, 0.9, 40, 0.1, 7, 0.2, 0.3, 1.1, True)
        assert (found.ends, found.adapter, found.grammar) == ((2, 9), "red", None)

    def test_numbers_of_any_size_cross(self) -> None:
        sampling = Sampling(seed=-1, least=1 << 70)
        found = message(3, asked(sampling=sampling, most=1 << 70), Loaded(0, 0, grammars=False), SETTINGS)
        assert (found.choosing.seed, found.most, found.least) == ((1 << 64) - 1, (1 << 31) - 1, (1 << 31) - 1)
        assert framed(found)

    def test_an_answer_has_the_room_that_its_prompt_leaves(self) -> None:
        assert message(1, asked(ids=[1] * 95, most=50), LOADED, SETTINGS).most == 5
        assert message(1, asked(ids=[1] * 95, most=50), Loaded(0, 0, grammars=False), SETTINGS).most == 50
        with pytest.raises(ContextTooLong, match="has 100 tokens, 1 too many; the model takes 100"):
            message(1, asked(ids=[1] * 100), LOADED, SETTINGS)

    def test_ends_are_ignored_where_asked_but_for_a_grammar(self) -> None:
        sampling = Sampling(ignore_end=True)
        assert message(1, asked(sampling=sampling, ends=(2,)), LOADED, SETTINGS).ends == ()
        held = asked(sampling=sampling, ends=(2,), grammar={"json_schema": {"type": "object"}})
        found = message(1, held, LOADED, SETTINGS)
        assert found.ends == (2,)
        assert found.grammar == {"json_schema": '{"type": "object"}'}

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"ids": ()}, "no tokens"),
            ({"most": 0}, "0 tokens at most"),
            ({"ids": (2**31,)}, "a token that is none"),
            ({"adapter": "green"}, "'green'; the engine has blue, red"),
            ({"sampling": Sampling(logprobs=3)}, "3 alternatives"),
            ({"grammar": {"lark": "x"}}, "json_schema, regex, grammar"),
            ({"grammar": {}}, "json_schema, regex, grammar"),
            ({"grammar": {"regex": "a" * (GRAMMAR + 1)}}, str(GRAMMAR)),
        ],
    )
    def test_what_it_cannot_do_is_refused(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidParameter, match=words):
            message(1, asked(**changes), LOADED, SETTINGS)

    def test_a_grammar_needs_a_tokenizer(self) -> None:
        with pytest.raises(InvalidParameter, match="takes no grammar"):
            message(1, asked(grammar={"regex": "a"}), Loaded(100, 1000, grammars=False), SETTINGS)


class TestSettings:
    def of(self, precision: str = "", **options: Any) -> Any:
        return checked(EngineOptions("x", "m", options=options, precision=precision))

    def test_names_of_the_spec_reach_the_process(self) -> None:
        found = self.of(max_num_batched_tokens=128, cache_gb=3, adapters={"red": "r"}, hang_seconds=5)
        assert (found.inner.batched_tokens, found.inner.cache_gb, found.inner.adapters) == (128, 3, {"red": "r"})
        assert (found.hang_seconds, found.precision, found.inner.prefix_caching) == (5.0, "int8", True)
        assert self.of("f16").precision == "f16"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"cache": 1}, "no option 'cache'"),
            ({"cache_gb": "2"}, "expected int"),
            ({"cache_gb": -1}, "it may be 0 to"),
            ({"parallel": 0}, "it may be 1 to"),
            ({"cache_precision": "u7"}, "it may be 'u8'"),
            ({"compute": "int8"}, "it may be ''"),
            ({"adapters": {"red": 1}}, "names and paths"),
            ({"draft_model": "d", "prompt_lookup": True}, "not by both"),
            ({"adapters": {"red": "r"}, "prompt_lookup": True}, "not both"),
        ],
    )
    def test_others_are_refused(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            self.of(**options)


class TestPrefixes:
    def test_whole_blocks_from_the_start_are_found(self) -> None:
        kept = Prefixes(4, 100)
        assert kept.found([1, 2, 3, 4, 5]) == 0
        kept.keep([1, 2, 3, 4, 5, 6, 7, 8, 9])
        assert kept.found([1, 2, 3, 4, 5, 6, 7, 8, 9]) == 8
        assert kept.found([1, 2, 3, 4, 5, 6, 7, 0, 9]) == 4
        assert kept.found([0, 2, 3, 4, 5, 6, 7, 8, 9]) == 0
        assert kept.found([1, 2, 3]) == 0

    def test_the_last_token_is_always_computed(self) -> None:
        kept = Prefixes(4, 100)
        kept.keep([1, 2, 3, 4])
        assert kept.found([1, 2, 3, 4]) == 3

    def test_half_of_the_blocks_are_trusted_and_the_oldest_goes(self) -> None:
        kept = Prefixes(2, 8)
        for first in range(4):
            kept.keep([first, first])
        assert len(kept) == 4
        assert kept.found([0, 0, 9]) == 2  # used: now it is the youngest
        kept.keep([7, 7])
        assert kept.found([0, 0, 9]) == 2
        assert kept.found([1, 1, 9]) == 0


class TestVocabulary:
    def write(self, folder: Path, **tokenizer: Any) -> Path:
        file = folder / "tokenizer.json"
        file.write_text(json.dumps(tokenizer), encoding="utf-8")
        return file

    def test_byte_level(self, tmp_path: Path) -> None:
        vocab = {"a": 0, "\u0120b": 1, "\u00e4": 2, "\u010a": 3}
        added = [{"id": 4, "content": "<end>", "special": True}, {"id": 6, "content": "<tool>", "special": False}]
        file = self.write(
            tmp_path,
            model={"type": "BPE", "vocab": vocab},
            decoder={"type": "Sequence", "decoders": [{"type": "ByteLevel"}]},
            added_tokens=added,
        )
        assert words(file) == [b"a", b" b", b"\xe4", b"\n", b"", b"", b"<tool>"]

    def test_sentence_piece(self, tmp_path: Path) -> None:
        vocab = {"<unk>": 0, "\u2581the": 1, "<0x0A>": 2, "\u00e4": 3}
        file = self.write(
            tmp_path,
            model={"type": "BPE", "vocab": vocab},
            added_tokens=[{"id": 0, "content": "<unk>", "special": True}],
        )
        assert words(file) == [b"", b" the", b"\n", "\u00e4".encode()]
        pairs = [[word, 0.0] for word in vocab]
        file = self.write(tmp_path, model={"type": "Unigram", "vocab": pairs})
        assert words(file) == [b"<unk>", b" the", b"\n", "\u00e4".encode()]

    def test_what_is_not_known_gives_none(self, tmp_path: Path) -> None:
        assert words(tmp_path / "tokenizer.json") is None
        assert words(self.write(tmp_path, model={"type": "WordPiece", "vocab": {}})) is None
        assert words(self.write(tmp_path, model=[])) is None
        (tmp_path / "tokenizer.json").write_text("{")
        assert words(tmp_path / "tokenizer.json") is None


class TestLora:
    def test_modules_and_where_they_are(self, tmp_path: Path) -> None:
        names = [
            f"base_model.model.model.layers.{one}.self_attn.q_proj.lora_{part}.weight"
            for one in (1, 11)
            for part in "AB"
        ]
        header = json.dumps({**{name: {} for name in names}, "__metadata__": {}}).encode()
        file = tmp_path / "adapter_model.safetensors"
        file.write_bytes(struct.pack("<Q", len(header)) + header)
        changed = lora.modules(file)
        assert changed == {"model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"}
        assert lora.found(changed, '<layer name="__module.model.layers.11.self_attn.q_proj/MatMul">') == {
            "model.layers.11.self_attn.q_proj"
        }

    @pytest.mark.parametrize("data", [b"", b"short", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"{x"])
    def test_what_is_no_adapter_is_a_value_error(self, tmp_path: Path, data: bytes) -> None:
        file = tmp_path / "x.safetensors"
        file.write_bytes(data)
        with pytest.raises(ValueError):  # noqa: PT011 - of any words
            lora.modules(file)
