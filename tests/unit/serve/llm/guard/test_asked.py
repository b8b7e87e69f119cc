from __future__ import annotations

import asyncio
import time

import pytest
from fakes_of_guards import ENDED, Line, Remote, ask, judge, pii, settle, text_of

from fairlead.contracts.errors import ContentBlocked, InvalidParameter, Unavailable
from fairlead.contracts.generation import CallDelta, Message, Piece, ToolCall
from fairlead.contracts.guardrail import Action
from fairlead.serve.llm.guard.asked import AskedGuard, rebuilt, said
from fairlead.serve.llm.guard.examine import Examiner
from fairlead.serve.llm.guard.rules import Rule
from fairlead.testing.sinks import MemoryGuardMeter

TALK = (
    Message("system", "You serve bob@example.com; ignore evil."),
    Message("user", "I am ann@example.com, write to carl@example.com"),
    Message(
        "assistant", "Shall I write to ann@example.com?", calls=(ToolCall("1", "send", '{"to": ["carl@example.com"]}'),)
    ),
    Message("tool", "sent to carl@example.com", answers="1"),
)


def guard(*rules: Rule, restore: bool = False, meter=None, budget: float = 0.2) -> AskedGuard:
    examiner = Examiner(rules, budget, time.monotonic)
    return AskedGuard(examiner, meter or MemoryGuardMeter(), time.monotonic, restore)


def run(made: AskedGuard, line: Line, asked) -> list:
    told: list = []
    made.stage(line)(asked, told.append)
    return told


def test_texts_come_and_go_in_order() -> None:
    assert rebuilt(TALK, said(TALK)) == TALK
    assert rebuilt("a text", said("a text")) == "a text"


def test_names_are_stable_and_the_system_is_left_alone() -> None:
    line = Line([ENDED])
    asked = ask(TALK)
    run(guard(pii()), line, asked)
    system, user, assistant, tool = line.asked[0].prompt
    assert system.content == TALK[0].content
    assert user.content == "I am <EMAIL_1>, write to <EMAIL_2>"
    assert assistant.content == "Shall I write to <EMAIL_1>?"
    assert assistant.calls[0].arguments == '{"to": ["<EMAIL_2>"]}'
    assert tool.content == "sent to <EMAIL_2>"
    assert asked.notes.facts["guard_input"] == {"pii/email/mask": 5}
    assert asked.notes.headers["fairlead-guard"] == "input, masked=2"
    longer = (*TALK, Message("user", "and dora@example.com"))
    run(guard(pii()), line, ask(longer))
    assert line.asked[1].prompt[:4] == line.asked[0].prompt
    assert line.asked[1].prompt[4].content == "and <EMAIL_3>"


def test_what_looks_like_a_name_never_becomes_one() -> None:
    line = Line([Piece("<EMAIL_1> <EMAIL_2>"), ENDED])
    told = run(guard(pii(), restore=True), line, ask("tell me <EMAIL_1>, I am ann@example.com"))
    assert line.asked[0].prompt[0].content == "tell me <EMAIL_1>, I am <EMAIL_2>"
    assert text_of(told) == "<EMAIL_1> ann@example.com"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_an_answer_has_it_again(size: int) -> None:
    answer = "Dear <EMAIL_1>, a < b, <EMAIL_2 and <EMAIL_9> <"
    line = Line([*(Piece(answer[at : at + size]) for at in range(0, len(answer), size)), ENDED])
    told = run(guard(pii(), restore=True), line, ask("I am ann@example.com"))
    assert text_of(told) == "Dear ann@example.com, a < b, <EMAIL_2 and <EMAIL_9> <"
    assert told[-1] is ENDED


def test_calls_have_it_again_as_json() -> None:
    calls = [
        Piece(calls=(CallDelta(0, "1", "f", '{"key": "<KE'),)),
        Piece(calls=(CallDelta(0, arguments='Y_1>"}'),)),
        ENDED,
    ]
    told = run(guard(pii(), restore=True), Line(calls), ask("sk-" + "a1B2" * 9))
    arguments = "".join(one.arguments for event in told[:-1] for one in event.calls)
    assert arguments == '{"key": "sk-' + "a1B2" * 9 + '"}'


def test_cancel_while_the_last_piece_is_told() -> None:
    line = Line(at_once=False)
    told: list = []

    def tell(event) -> None:
        told.append(event)
        running.cancel()

    running = guard(pii(), restore=True).stage(line)(ask("ann@example.com"), tell)
    line.tell(Piece("<EMAIL_"))
    assert told == [Piece("")]
    line.tell(ENDED)
    assert len(told) == 1
    assert line.cancelled == 1


def test_a_block_names_the_kind_and_never_the_text() -> None:
    line, meter = Line([ENDED]), MemoryGuardMeter()
    told = run(guard(pii(Action.BLOCK), meter=meter), line, ask("my card 4111111111111111"))
    assert [type(one) for one in told] == [ContentBlocked]
    assert str(told[0]) == "guardrail pii found card in the request; it was not passed on"
    assert line.asked == []
    assert meter.findings == {("input", "pii", "card", "block"): 1}


def test_actions_by_kind() -> None:
    line = Line([ENDED])
    made = guard(pii(Action.FLAG, actions={"card": Action.BLOCK, "email": Action.MASK}))
    run(made, line, ask("ann@example.com 10.0.0.1"))
    assert line.asked[0].prompt[0].content == "<EMAIL_1> 10.0.0.1"
    assert isinstance(run(made, line, ask("4111111111111111"))[0], ContentBlocked)


def test_the_system_is_judged_only_where_it_is_asked_for() -> None:
    line = Line([ENDED])
    assert run(guard(judge()), line, ask(TALK))[-1] is ENDED
    made = guard(judge(channels=frozenset({"system"})))  # type: ignore[arg-type]
    assert isinstance(run(made, line, ask(TALK))[0], ContentBlocked)


def test_ids_of_tokens_are_refused() -> None:
    told = run(guard(pii()), Line([ENDED]), ask((1, 2, 3)))
    assert isinstance(told[0], InvalidParameter)


def test_a_text_of_no_conversation() -> None:
    line = Line([ENDED])
    asked = ask()
    asked = asked.of(__import__("dataclasses").replace(asked.generation, prompt="ann@example.com"))
    run(guard(pii()), line, asked)
    assert line.asked[0].prompt == "<EMAIL_1>"


def remote(opens: bool = False, **given) -> Rule:
    return Rule("remote", Action.BLOCK, None, Remote(**given), opens=opens)


async def test_another_server_sees_what_is_masked_already() -> None:
    line, told, rule = Line([ENDED]), [], remote()
    guard(rule, pii()).stage(line)(ask("I am ann@example.com"), told.append)
    await settle(lambda: bool(told))
    assert rule.remote.asked == ["I am <EMAIL_1>"]
    assert line.asked[0].prompt[0].content == "I am <EMAIL_1>"


@pytest.mark.parametrize(("opens", "last"), [(True, type(ENDED)), (False, Unavailable)])
@pytest.mark.parametrize("given", [{"fails": True}, {"seconds": 5.0}])
async def test_silence_passes_or_does_not(opens: bool, last: type, given: dict) -> None:
    line, told = Line([ENDED]), []
    asked = ask("hello")
    began = time.monotonic()
    guard(remote(opens, **given), budget=0.05).stage(line)(asked, told.append)
    await settle(lambda: bool(told))
    assert isinstance(told[-1], last)
    assert time.monotonic() - began < 2
    assert asked.notes.facts["guard_input_missed"] == {"remote": "failed" if "fails" in given else "late"}


async def test_cancel_while_it_is_looked_at() -> None:
    line, told = Line([ENDED]), []
    running = guard(remote(seconds=0.05)).stage(line)(ask("hello"), told.append)
    await asyncio.sleep(0.01)
    running.cancel()
    running.cancel()
    await asyncio.sleep(0.08)
    assert (told, line.asked) == ([], [])


async def test_cancel_reaches_the_engine_after_it_was_looked_at() -> None:
    line, told = Line(at_once=False), []
    running = guard(remote()).stage(line)(ask("hello"), told.append)
    await settle(lambda: bool(line.asked))
    running.cancel()
    assert line.cancelled == 1


async def test_a_detector_that_raises_is_one_that_does_not_answer() -> None:
    class Broken:
        name, reach, cost = "broken", 5, 0.0

        def find(self, text, channel):
            raise ValueError("boom")

    for opens, expected in ((False, Unavailable), (True, type(ENDED))):
        told = run(guard(Rule("broken", Action.MASK, Broken(), opens=opens)), Line([ENDED]), ask("hello"))
        assert isinstance(told[-1], expected)
