"""The stage that asks cheap models first, and where it finds what was fitted."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.contracts.errors import UsageError
from fairlead.kit.codec import json
from fairlead.kit.config import Home
from fairlead.serve.llm.ask import Stage
from fairlead.serve.llm.cascade import record
from fairlead.serve.llm.cascade.auditing import Alarm
from fairlead.serve.llm.cascade.settings import Climbing, Step
from fairlead.serve.llm.cascade.stage import Cascade
from fairlead.serve.settings import endpoint_name
from fairlead.wiring.llm.around import Building

if TYPE_CHECKING:  # pydantic is not loaded for a server that was started without a spec
    from fairlead.kit.spec.cascade import Cascade as Asked

log = logging.getLogger("fairlead.serve")


def path(home: Home, endpoint: str, step: str) -> Path:
    """Where what was fitted for a step is. Raises UsageError for names that no endpoint has."""
    return home.root / "cascades" / endpoint_name(endpoint) / f"{endpoint_name(step)}.json"


def cascade(building: Building) -> Stage | None:
    """Raises UsageError for a fitted file that is damaged, or that promises less than the spec wants."""
    wanted, around = building.wanted, building.around
    asked: Asked | None = wanted.parts.get("cascade")
    if asked is None:
        return None
    steps = tuple(_step(around.home, wanted.name, name, asked) for name in asked.steps[:-1])
    settings = Climbing(steps, asked.steps[-1], asked.step_time, asked.audit, asked.disagree)
    kept = Alarms(around.home.root / "cascades" / wanted.name / "alarms.jsonl")
    made = Cascade(wanted.name, settings, around.chats.resolve, around.clock, random.random, kept.tell)
    around.sink.figures(f"{wanted.name}/cascade", made.figures)
    building.troubles.append(made.troubles)
    return made


class Alarms:
    """Are logged, and kept: a line of JSON each. There are a few at most for each start of a server."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def tell(self, alarm: Alarm) -> None:
        fields = asdict(alarm) | {"threshold": None if alarm.threshold == math.inf else alarm.threshold}
        log.warning("answers of the cheap model disagree", extra={"fields": fields})
        try:
            self._where.parent.mkdir(parents=True, exist_ok=True)
            with self._where.open("ab") as file:
                file.write(json.encode(fields) + b"\n")
        except OSError as error:
            log.warning("alarm not kept", extra={"fields": {"path": str(self._where), "error": str(error)}})


def _step(home: Home, endpoint: str, name: str, asked: Asked) -> Step:
    if asked.threshold is not None:
        return Step(name, asked.threshold)
    where = path(home, endpoint, name)
    found = record.read(where)
    if found is None:
        return Step(name, math.inf)
    if found.max_loss > asked.max_loss:
        raise UsageError(
            f"{where} was fitted for a loss of at most {found.max_loss:g}, and the spec of {endpoint} wants "
            f"{asked.max_loss:g}: fit it again, fairlead cascade fit {endpoint} --max-loss {asked.max_loss:g}"
        )
    router = record.unpacked(found.router) if found.router is not None else None
    return Step(name, found.level, found.signal, router)
