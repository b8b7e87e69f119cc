"""The answers of one process, over a pipeline that a test plays."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

genai = pytest.importorskip("openvino_genai")

from fairlead.adapters.engines.openvino import batch as batches  # noqa: E402 - it needs the library
from fairlead.adapters.engines.openvino.batch import Batch  # noqa: E402
from fairlead.adapters.engines.openvino.messages import Ask, Choosing, Drop, Made, Over, Settings, packed  # noqa: E402
from fairlead.adapters.engines.openvino.prefixes import Prefixes  # noqa: E402

NONE, STOP, LENGTH = (getattr(genai.GenerationFinishReason, one) for one in ("NONE", "STOP", "LENGTH"))
CHOOSING = Choosing(0.0, 1.0, 0, 0.0, None, 0.0, 0.0, 1.0, False)


@dataclass
class Handle:
    """``ids``: what is not read yet."""

    number: int
    ids: list[int] = field(default_factory=list)
    reason: Any = NONE
    status: Any = genai.GenerationStatus.RUNNING
    cancelled: bool = False
    count: int = 0

    def can_read(self) -> bool:
        return bool(self.ids)

    def read(self) -> dict[int, Any]:
        ids, self.ids = self.ids, []
        return {0: SimpleNamespace(generated_ids=ids, generated_log_probs=[-1.0] * len(ids), finish_reason=self.reason)}

    def get_status(self) -> Any:
        return self.status

    def cancel(self) -> None:
        self.cancelled = True


class Played:
    """A pipeline in which each step gives each answer one token, 10 times its number at first, until it has four."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.handles: list[Handle] = []
        self.switched: list[str] = []
        self.made: dict[int, int] = {}
        self.memory = 0.5
        self.inner = self
        self.bad: set[int] = set()

    def add(self, ids: list[int], _config: object) -> Handle:
        if ids[0] in self.bad:
            raise RuntimeError("Check failed at /x/y.cpp:1:\nno such thing")
        self.handles.append(Handle(ids[0]))
        return self.handles[-1]

    def switch(self, adapter: str) -> None:
        assert not self.handles
        self.switched.append(adapter)

    def has_non_finished_requests(self) -> bool:
        return bool(self.handles)

    def step(self) -> None:
        self.handles = [one for one in self.handles if not one.cancelled]
        for one in self.handles:
            one.count += 1
            self.made[one.number] = one.count
            one.ids.append(10 * one.number + one.count)
            if one.count == 4:
                one.reason, one.status = LENGTH, genai.GenerationStatus.FINISHED
        self.handles = [one for one in self.handles if one.status == genai.GenerationStatus.RUNNING]


@pytest.fixture(autouse=True)
def _no_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "config", lambda asked, _pipeline, _bound: asked)


def ask(number: int, *more: int, adapter: str = "", logprobs: bool = False) -> Ask:
    choosing = Choosing(0.0, 1.0, 0, 0.0, None, 0.0, 0.0, 1.0, logprobs)
    return Ask(number, packed([number, *more]), 4, 0, choosing, adapter=adapter)


def test_a_step_tells_everything_of_all_in_one_message() -> None:
    batch = Batch(Played(), None, 100)  # type: ignore[arg-type]
    batch.take(ask(1))
    batch.take(ask(2, logprobs=True))
    first = batch.step()
    assert first.begun == [(1, 0), (2, 0)]
    assert first.made == [Made(1, [11], []), Made(2, [21], [-1.0])]
    assert (first.over, first.memory) == ([], 0.5)
    steps = [batch.step() for _ in range(3)]
    assert steps[-1].over == [Over(1, stopped=False), Over(2, stopped=False)]
    assert not batch.busy


def test_the_token_that_ends_an_answer_is_not_told() -> None:
    pipeline = Played()
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    batch.take(ask(1, 1))
    batch.step()
    handle = pipeline.handles[0]
    handle.ids, handle.reason, handle.status = [5, 2], STOP, genai.GenerationStatus.FINISHED
    pipeline.step = lambda: None  # type: ignore[method-assign]
    step = batch.step()
    assert (step.made, step.over) == ([Made(1, [5], [])], [Over(1, stopped=True)])


def test_one_that_was_dropped_is_gone_with_the_next_step() -> None:
    pipeline = Played(parallel=1)
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    for number in (1, 2, 3):
        batch.take(ask(number))
    assert batch.step().made == [Made(1, [11], [])]
    batch.take(Drop(1))
    batch.take(Drop(2))  # it waits
    batch.take(Drop(9))  # nobody
    step = batch.step()
    assert (step.begun, step.made) == ([(3, 0)], [Made(3, [31], [])])
    assert 1 not in [one.number for one in pipeline.handles]
    batch.take(Drop(3))
    assert batch.busy  # a step lets it go
    assert batch.step().made == []
    assert not batch.busy


def test_no_more_than_may_are_under_way() -> None:
    pipeline = Played(parallel=2)
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    for number in range(1, 6):
        batch.take(ask(number))
    most = 0
    while batch.busy:
        batch.step()
        most = max(most, len(pipeline.handles))
    assert most == 2
    assert pipeline.made == dict.fromkeys(range(1, 6), 4)


def test_adapters_take_turns_in_the_order_of_those_who_ask() -> None:
    pipeline = Played()
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    for number, adapter in enumerate(("", "", "red", "red", "blue", "")):
        batch.take(ask(number + 1, adapter=adapter))
    begun = []
    while batch.busy:
        begun.append([number for number, _ in batch.step().begun])
    assert [one for one in begun if one] == [[1, 2], [3, 4], [5], [6]]
    assert pipeline.switched == ["red", "blue", ""]


def test_what_it_does_not_take_ends_alone_and_names_no_place() -> None:
    pipeline = Played()
    pipeline.bad = {2}
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    for one in (ask(1), ask(2), ask(3, 100), ask(4)):
        batch.take(one)
    step = batch.step()
    assert [number for number, _ in step.begun] == [1, 4]
    assert [(one.number, one.code) for one in step.over] == [(2, "invalid_parameter"), (3, "invalid_parameter")]
    assert step.over[0].message == "the engine does not take this: no such thing"
    assert "the token 100; the model's tokens are 0 to 99" in step.over[1].message


def test_one_that_the_cache_has_no_room_for_is_told_so() -> None:
    pipeline = Played()
    batch = Batch(pipeline, None, 100)  # type: ignore[arg-type]
    batch.take(ask(1))
    batch.step()
    pipeline.handles[0].status = genai.GenerationStatus.IGNORED
    pipeline.step = lambda: None  # type: ignore[method-assign]
    (over,) = batch.step().over
    assert (over.code, "cache_gb" in over.message) == ("unavailable", True)


def test_what_was_computed_is_found_again() -> None:
    batch = Batch(Played(), Prefixes(2, 100), 100)  # type: ignore[arg-type]

    def again(number: int, *more: int) -> Ask:
        return msgspec.structs.replace(ask(number), ids=packed([1, 7, 8, 9, *more]))

    batch.take(again(1))
    batch.step()
    batch.take(again(2))  # its prompt is known from the first token on
    assert batch.step().begun == [(2, 3)]
    while batch.busy:
        batch.step()
    batch.take(again(3, 11, 12, 50))
    assert batch.step().begun == [(3, 6)]


def test_the_library_still_has_no_place_for_biases_and_alternatives() -> None:
    """Where it gets one, the engine is to honour it: ``logit_bias`` and ``top_logprobs`` are refused for want of it."""
    names = " ".join(dir(genai.GenerationConfig)).lower()
    assert "logprobs" in names
    assert not [one for one in ("bias", "logit", "top_logprobs", "processor", "bad_words") if one in names]
    told = vars(sys.modules[genai.GenerationConfig.__module__])["GenerationOutput"]
    assert {name for name in dir(told) if "prob" in name or "logit" in name} == {"generated_log_probs"}
