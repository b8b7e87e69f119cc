"""``fairlead status``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import FAILED, AsJson, HomeOption, TrackingOption, emit, table
from fairlead.cli.where import spec_path
from fairlead.contracts.plans import TrafficSplit
from fairlead.kit.config import Home
from fairlead.kit.config import home as read_home
from fairlead.kit.sentences import without_secrets
from fairlead.kit.spec import read as files
from fairlead.kit.spec.spec import Spec
from fairlead.monitor import timeline
from fairlead.wiring import presence, specs, standing
from fairlead.wiring.access import shown_key
from fairlead.wiring.presence import Presence
from fairlead.wiring.standing import Answering, Rolling, Stored


def status(
    spec: Annotated[
        Path | None,
        typer.Argument(metavar="[SPEC]", help="The spec file; without it, fairlead.yaml if there is one."),
    ] = None,
    alerts: Annotated[int, typer.Option(help="How many alerts to show.", min=1, max=100)] = 5,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what runs here: which versions answer, how traffic is split, rollouts, alerts. Exit code 1: nothing runs."""
    path = spec_path(spec)
    asked = files.read(path).spec if path else None
    where = specs.home(asked, home, tracking) if asked else read_home(home, tracking)
    server = presence.found(where)
    answer = standing.answering(server, key=shown_key(where)) if server else Answering(problem="nothing runs")
    stored = standing.stored(where, alerts)
    rows = _rows(asked, answer, stored)
    data = {
        "running": server is not None,
        "server": {**asdict(server), "ready": answer.ready} if server else None,
        "problem": answer.problem,
        "troubles": list(answer.troubles),
        "endpoints": rows,
        "controller": stored.controller,
        "state_problem": stored.problem,
        "alerts": [asdict(one) for one in stored.alerts],
    }
    emit(data, _text(where, server, answer, stored, rows), as_json)
    if server is None or answer.problem:
        raise typer.Exit(FAILED)


def _rows(asked: Spec | None, answer: Answering, stored: Stored) -> list[dict[str, Any]]:
    """One for each endpoint that answers, that the spec names, or that has a split."""
    names = dict.fromkeys([*(asked.endpoints if asked else ()), *(one["name"] for one in answer.endpoints)])
    rows = []
    for name in dict.fromkeys([*names, *stored.splits]):
        live = [one for one in answer.endpoints if one["name"] == name]
        split, rollout = stored.splits.get(name), stored.rollouts.get(name)
        rows.append(
            {
                "name": name,
                "versions": [one["version"] for one in live if "version" in one],
                "state": " ".join(dict.fromkeys(one["state"].lower() for one in live)) or "absent",
                "split": _split(split) if split else [],
                "rollout": asdict(rollout) if rollout else None,
            }
        )
    return rows


def _split(split: TrafficSplit) -> list[dict[str, Any]]:
    return [asdict(share) for share in split.shares]


def _text(home: Home, server: Presence | None, answer: Answering, stored: Stored, rows: list[dict[str, Any]]) -> str:
    if server is None:
        lines = [f"nothing runs on {home.root} that `fairlead up` started; start it with: fairlead up fairlead.yaml"]
    else:
        state = answer.problem or ("ready" if answer.ready else "not ready")
        lines = [f"{server.url or 'no address yet'}  {state}  (process {server.pid}, {server.spec})"]
    lines += [f"trouble: {one}" for one in answer.troubles]
    if rows:
        lines += ["", table([_shown(row) for row in rows])]
    if stored.problem:
        lines += ["", f"the state store {without_secrets(home.state)} says nothing: {stored.problem}"]
    elif server or stored.controller:
        lines += ["", f"controller: {stored.controller or 'none'}"]
    if stored.alerts:
        lines += ["", timeline.as_text(stored.alerts, evidence=False)]
    return "\n".join(lines)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    shares = [
        f"{one['version']} {one['weight']:g}%" + (f" (shadow {one['shadow']:g}%)" if one["shadow"] else "")
        for one in row["split"]
    ]
    rollout = Rolling(**row["rollout"]) if row["rollout"] else None
    return {
        "endpoint": row["name"],
        "versions": ", ".join(row["versions"]),
        "state": row["state"],
        "split": ", ".join(shares),
        "rollout": f"{rollout.phase}: {rollout.champion} -> {rollout.candidate}" if rollout else "",
    }
