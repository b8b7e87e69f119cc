from __future__ import annotations

import asyncio
import time

import pytest
from fakes_of_guards import ENDED, Line, Remote, ask, judge, pieces, pii, settle, text_of

from fairlead.contracts.errors import EngineLost, Unavailable
from fairlead.contracts.generation import Begun, CallDelta, Chosen, Ended, Piece, Usage
from fairlead.contracts.guardrail import Action
from fairlead.serve.llm.guard.answered import AnsweredGuard
from fairlead.serve.llm.guard.arguments import Allowed
from fairlead.serve.llm.guard.examine import Examiner
from fairlead.testing.sinks import MemoryGuardMeter


def guard(*rules, meter=None, tools=None, refusing=Action.BLOCK, budget=0.2) -> AnsweredGuard:
    slow = [one for one in rules if not one.quick]
    examiners = (
        Examiner([one for one in slow if one.detector.reach], budget, time.monotonic),
        Examiner([one for one in slow if not one.detector.reach], budget, time.monotonic),
        Examiner([one for one in rules if one.calls], budget, time.monotonic),
    )
    allowed = Allowed(tools) if tools is not None else None
    quick = [one for one in rules if one.quick]
    return AnsweredGuard(quick, *examiners, meter or MemoryGuardMeter(), time.monotonic, allowed, refusing)


def run(made: AnsweredGuard, line: Line, asked=None) -> list:
    told: list = []
    made.stage(line)(asked or ask(), told.append)
    return told


def test_masks_in_flight_and_ends_once() -> None:
    line = Line(pieces("write to bo", "b@exam", "ple.com", " or call ", "555-123-4567", "."))
    told = run(guard(pii()), line)
    assert text_of(told) == "write to <EMAIL> or call <PHONE>."
    assert told[0] == Begun(Usage(input=3))
    assert told[-1] is ENDED
    assert sum(isinstance(one, Ended) for one in told) == 1


def test_says_how_much_it_holds_back() -> None:
    asked = ask()
    run(guard(pii()), Line(pieces("x")), asked)
    assert asked.notes.headers["fairlead-guard"] == "stream; holdback=136"
    asked = ask(streams=False)
    run(guard(pii()), Line(pieces("x")), asked)
    assert asked.notes.headers["fairlead-guard"] == "output"


def test_blocks_after_the_safe_prefix_and_stops_the_engine() -> None:
    line = Line(pieces("my number: ", "4111 1111", " 1111 1111", " yes", " more"))
    meter = MemoryGuardMeter()
    asked = ask()
    told = run(guard(pii(Action.BLOCK), meter=meter), line, asked)
    assert text_of(told) == "my number: "
    assert isinstance(told[-1], Ended)
    assert told[-1].reason == "content_filter"
    assert told[-1].usage.input == 3
    assert line.cancelled == 1
    assert meter.findings == {("output", "pii", "card", "block"): 1}
    assert asked.notes.facts["guard_output"] == {"pii/card/block": 1}


def test_nothing_of_a_secret_is_told_before_it_is_whole() -> None:
    line = Line(at_once=False)
    told: list = []
    guard(pii(Action.BLOCK)).stage(line)(ask(), told.append)
    for one in "call 4111111111111111":
        line.tell(Piece(one))
    assert text_of(told) == "call " or text_of(told) == ""
    line.tell(ENDED)
    assert told[-1].reason == "content_filter"


@pytest.mark.parametrize("when", ["before", "in the first", "in the middle", "twice"])
def test_after_cancel_nothing(when: str) -> None:
    line = Line(at_once=False)
    told: list = []

    def tell(event) -> None:
        told.append(event)
        if when == "in the first":
            running.cancel()

    running = guard(pii()).stage(line)(ask(), tell)
    if when == "before":
        running.cancel()
    line.tell(Piece("hello there "))
    if when in ("in the middle", "twice"):
        running.cancel()
        running.cancel()
    count = len(told)
    line.tell(Piece("and more "))
    line.tell(ENDED)
    assert len(told) == count
    assert line.cancelled >= 1


def test_an_error_of_the_engine_comes_after_what_was_safe() -> None:
    lost = EngineLost("gone", retry_after=1)
    told = run(guard(pii()), Line([Begun(Usage(1)), Piece("bob@example.com wrote"), lost]))
    assert text_of(told) == "<EMAIL> wrote"
    assert told[-1] is lost


def test_reasoning_and_refusals_are_looked_at_as_well() -> None:
    line = Line(
        [Piece(reasoning="think of bob@exa"), Piece(reasoning="mple.com"), Piece(refusal="no, 10.0.0.1"), ENDED]
    )
    told = run(guard(pii()), line)
    assert "".join(one.reasoning for one in told[:-1]) == "think of <EMAIL>"
    assert "".join(one.refusal for one in told[:-1]) == "no, <IP>"


def test_likelihoods_of_masked_pieces_are_left_out() -> None:
    def piece(text: str) -> Piece:
        return Piece(text, 1, (), "", "", (Chosen(text, -0.1, text.encode(), ((text, -0.1, text.encode()),)),))

    told = run(guard(pii()), Line([piece("to"), piece(" bob@"), piece("example.com"), piece(" ok"), piece("!"), ENDED]))
    assert [one.token for event in told[:-1] for one in event.logprobs] == ["to", " ok", "!"] or [
        one.token for event in told[:-1] for one in event.logprobs
    ] == ["to", "!", " ok"]
    assert text_of(told) == "to <EMAIL> ok!"


def test_all_tokens_are_told() -> None:
    told = run(guard(pii()), Line(pieces(*"a b bob@example.com c d")))
    assert sum(one.tokens for one in told if isinstance(one, Piece)) == 23


CALL = [
    Piece(calls=(CallDelta(0, "c1", "send", '{"to": "bob'),)),
    Piece(calls=(CallDelta(0, arguments='\\u0040example.com", "n": 1}'),)),
    Ended("tool_calls", Usage()),
]


def test_arguments_of_calls_are_masked_as_a_reader_of_the_json_sees_them() -> None:
    told = run(guard(pii()), Line(CALL))
    assert [one.calls for one in told[:-1] if one.calls] == [(CallDelta(0, "c1", "send", '{"to": "<EMAIL>", "n": 1}'),)]
    assert told[-1].reason == "tool_calls"


def test_arguments_pass_where_the_rule_says_so() -> None:
    told = run(guard(pii(calls=False)), Line(CALL))
    assert told[0].calls == (CallDelta(0, "c1", "send", '{"to": "bob\\u0040example.com", "n": 1}'),)


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ({"send": None}, "tool_calls"),
        ({"search": None}, "content_filter"),
        ({"send": {"type": "object", "properties": {"to": {"pattern": "@example.com$"}}}}, "tool_calls"),
        ({"send": {"type": "object", "properties": {"to": {"pattern": "@other.com$"}}}}, "content_filter"),
        ({"send": {"type": "object", "properties": {"to": {}}, "additionalProperties": False}}, "content_filter"),
    ],
)
def test_only_tools_on_the_list_are_called(tools: dict, reason: str) -> None:
    told = run(guard(tools=tools), Line(CALL))
    assert told[-1].reason == reason
    assert any(isinstance(one, Piece) and one.calls for one in told) is (reason == "tool_calls")


def test_a_call_that_is_only_flagged_goes_on() -> None:
    meter = MemoryGuardMeter()
    told = run(guard(tools={}, refusing=Action.FLAG, meter=meter), Line(CALL))
    assert told[0].calls
    assert meter.findings == {("output", "tools", "tool", "flag"): 1}


def test_who_judges_sees_every_sentence_before_the_caller() -> None:
    line = Line(at_once=False)
    told: list = []
    guard(judge()).stage(line)(ask(), told.append)
    line.tell(Piece("All is well. "))
    assert text_of(told) == "All is well. "
    line.tell(Piece("Now an ev"))
    assert text_of(told) == "All is well. "
    line.tell(Piece("il plan. "))
    assert text_of(told) == "All is well. "
    assert told[-1].reason == "content_filter"
    assert line.cancelled == 1


def test_who_does_not_stream_is_judged_once() -> None:
    rule = judge()
    told = run(guard(rule), Line(pieces("One. ", "Two. ", "Three.")), ask(streams=False))
    assert rule.local.asked == ["One. Two. Three."]
    assert text_of(told) == "One. Two. Three."


def remote(*given, action=Action.BLOCK, **more):
    from fairlead.serve.llm.guard.rules import Rule

    opens = more.pop("opens", False)
    return Rule("remote", action, None, Remote(*given, **more), opens=opens)


async def test_another_server_is_asked_while_the_engine_goes_on() -> None:
    line = Line(pieces("One is fine. ", "Two bob@example.com is, too. ", "Three."))
    rule = remote("evil", seconds=0.01)
    told: list = []
    guard(pii(), rule).stage(line)(ask(), told.append)
    await settle(lambda: bool(told) and isinstance(told[-1], Ended))
    assert text_of(told) == "One is fine. Two <EMAIL> is, too. Three."
    assert not any("bob@" in text for text in rule.remote.asked)
    assert told[-1] is ENDED


async def test_another_server_masks_places() -> None:
    told: list = []
    rule = remote("Bob", reach=20, action=Action.MASK)
    guard(rule).stage(Line(pieces("I am Bob. ", "Who else?")))(ask(), told.append)
    await settle(lambda: bool(told) and isinstance(told[-1], Ended))
    assert text_of(told) == "I am <BAD>. Who else?"


async def test_another_server_blocks_late_in_an_answer_that_is_all_there() -> None:
    told: list = []
    line = Line(pieces("One. ", "An evil one. ", "Three. "))
    guard(remote(seconds=0.01)).stage(line)(ask(), told.append)
    await settle(lambda: bool(told) and isinstance(told[-1], Ended))
    assert text_of(told) == "One. "
    assert told[-1].reason == "content_filter"


@pytest.mark.parametrize(("opens", "last"), [(True, Ended), (False, Unavailable)])
@pytest.mark.parametrize("how", ["fails", "late"])
async def test_silence_passes_or_does_not(opens: bool, last: type, how: str) -> None:
    given = {"fails": True} if how == "fails" else {"seconds": 5.0}
    meter = MemoryGuardMeter()
    told: list = []
    made = guard(remote(opens=opens, **given), meter=meter, budget=0.05)
    made.stage(Line(pieces("A sentence. ")))(ask(), told.append)
    await settle(lambda: bool(told) and isinstance(told[-1], Ended | Unavailable))
    assert isinstance(told[-1], last)
    assert text_of(told) == ("A sentence. " if opens else "")
    assert meter.silent[("output", "remote", "failed" if how == "fails" else "late")] >= 1


async def test_cancel_while_another_server_is_asked() -> None:
    told: list = []
    line = Line(pieces("A sentence. "))
    running = guard(remote(seconds=0.05)).stage(line)(ask(), told.append)
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.sleep(0.08)
    assert [type(one) for one in told] == [Begun]
    assert line.cancelled >= 1


async def test_a_dear_one_looks_from_a_thread() -> None:
    told: list = []
    guard(judge(cost=1.0)).stage(Line(pieces("x" * 100 + ". ", "An evil end. ")))(ask(), told.append)
    await settle(lambda: bool(told) and isinstance(told[-1], Ended))
    assert text_of(told) == "x" * 100 + ". "
    assert told[-1].reason == "content_filter"


def test_a_detector_that_raises_ends_the_answer_and_says_nothing_of_the_text(caplog) -> None:
    from fairlead.serve.llm.guard.rules import Rule

    class Broken:
        name, reach, cost = "broken", 4, 0.0

        def find(self, text, channel):
            raise ValueError(text)

    line = Line(pieces("a secret text"))
    told = run(guard(Rule("broken", Action.MASK, Broken())), line)
    assert isinstance(told[-1], Unavailable)
    assert text_of(told) == ""
    assert line.cancelled >= 1
    assert "secret" not in caplog.text
