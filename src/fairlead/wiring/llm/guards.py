"""Guardrails of a language model: from the spec to the two stages of its line, and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fairlead.contracts.errors import UsageError
from fairlead.contracts.guardrail import Action, Channel, DetectorOptions
from fairlead.kit import plugins
from fairlead.kit.config import nearest
from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.guard.answered import AnsweredGuard
from fairlead.serve.llm.guard.arguments import Allowed
from fairlead.serve.llm.guard.asked import AskedGuard
from fairlead.serve.llm.guard.examine import Examiner
from fairlead.serve.llm.guard.masks import redacted
from fairlead.serve.llm.guard.rules import Rule
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:  # pydantic, which a server that has no spec does not load
    from fairlead.kit.spec.guardrails import Guardrail, Guardrails

GROUP: Final = "fairlead.guardrails"
_DEFAULT: Final = frozenset({Channel.USER, Channel.TOOL, Channel.ANSWER})
Where = Callable[..., str]
"""Says where in the spec a field is."""


def names() -> list[str]:
    """Of every detector that is installed."""
    return plugins.names(GROUP)


def rule(asked: Guardrail, where: str = "guardrail") -> Rule:
    """A detector, made, with what is done about its findings. Raises UsageError and MissingExtra."""
    if asked.name not in names():
        told = f"{nearest(asked.name, names())}; installed are {', '.join(names())}"
        raise UsageError(f"{where}: there is no detector {asked.name!r}{told}")
    options = dict(asked.options)
    options |= {name: value for name, value in (("url", asked.url), ("token", asked.token)) if value}
    try:
        made: Any = plugins.load(GROUP, asked.name)(DetectorOptions(asked.name, asked.kinds, asked.threshold, options))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    remote = made if hasattr(made, "ask") else None
    action = Action(asked.action or ("mask" if made.reach else "block"))
    actions = {kind: Action(act) for kind, act in asked.actions.items()}
    if not made.reach and Action.MASK in (action, *actions.values()):
        raise UsageError(f"{where}: {asked.name} judges whole texts, so there is nothing to mask; give flag or block")
    return Rule(
        asked.name,
        action,
        None if remote is not None else made,
        remote,
        actions,
        frozenset(map(Channel, asked.channels)) or _DEFAULT,
        asked.fail == "open",
        asked.calls,
    )


def rules(asked: Sequence[Guardrail], where: Callable[[int], str]) -> list[Rule]:
    return [rule(one, where(place)) for place, one in enumerate(asked)]


def check(part: Guardrails, where: Where) -> None:
    """Raises UsageError, which says where, for what could not be honoured."""
    for side in ("input", "output"):
        given: tuple[Guardrail, ...] = getattr(part, side)
        made = rules(given, lambda place, side=side: where(side, place))  # type: ignore[misc]
        seen: set[tuple[str, str]] = set()
        for place, one in enumerate(given):
            for kind in one.kinds or ("",):
                if (one.name, kind) in seen or (one.name, "") in seen:
                    raise UsageError(f"{where(side, place)}: {one.name} is there already{f' for {kind}' * bool(kind)}")
                seen.add((one.name, kind))
            if one.kinds and (unknown := set(one.actions) - set(one.kinds)):
                raise UsageError(f"{where(side, place)}.actions: {min(unknown)} is none of its kinds")
            if side == "output" and one.channels and "answer" not in one.channels:
                raise UsageError(f"{where(side, place)}.channels: an answer is looked at here; leave channels out")
        if side == "input" and part.restore and not any(_masks(one) for one in made):
            raise UsageError(f"{where('restore')}: nothing of what is asked is masked, so there is nothing to restore")
    _allowed(part, where("tools"))


def asking(building: Building) -> Stage | None:
    """The stage that looks at questions; None: the spec has no detector for them."""
    part = _part(building)
    if part is None or not part.input:
        return None
    clock = building.around.clock.now
    examiner = Examiner(rules(part.input, _path(building, "input")), part.budget_ms / 1000, clock)
    return AskedGuard(examiner, building.around.sink.guards(building.wanted.name), clock, part.restore)


def answering(building: Building) -> Stage | None:
    """The stage that looks at answers; None: the spec has no detector for them, and no list of tools."""
    part = _part(building)
    if part is None or not (part.output or part.tools is not None):
        return None
    clock, budget = building.around.clock.now, part.budget_ms / 1000
    made = rules(part.output, _path(building, "output"))
    slow = [one for one in made if not one.quick]
    return AnsweredGuard(
        [one for one in made if one.quick],
        Examiner([one for one in slow if one.detector.reach], budget, clock),
        Examiner([one for one in slow if not one.detector.reach], budget, clock),
        Examiner([one for one in made if one.calls], budget, clock),
        building.around.sink.guards(building.wanted.name),
        clock,
        _allowed(part, f"endpoints.{building.wanted.name}.guardrails.tools"),
        Action(part.tools_action),
    )


def redactor() -> Callable[[str], str]:
    """Makes of a text what may be written down of it: every kind of the built-in patterns is masked."""
    hiding = [Rule("pii", Action.MASK, plugins.load(GROUP, "pii")(DetectorOptions("pii")))]
    return lambda text: redacted(text, hiding)


def _masks(one: Rule) -> bool:
    return Action.MASK in (one.action, *one.actions.values())


def _part(building: Building) -> Guardrails | None:
    found: Guardrails | None = building.wanted.parts.get("guardrails")
    return found


def _path(building: Building, side: str) -> Callable[[int], str]:
    return lambda place: f"endpoints.{building.wanted.name}.guardrails.{side}[{place}]"


def _allowed(part: Guardrails, where: str) -> Allowed | None:
    if part.tools is None:
        return None
    tools: Mapping[str, Mapping[str, Any] | None] = {one.name: one.arguments for one in part.tools}
    return Allowed(tools, where)
