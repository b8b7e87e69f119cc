"""The page of an endpoint out of the stores: its windows over time, its versions with their lineage, its marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fairlead.console.facts.endpoint import (
    Burn,
    EndpointFacts,
    Inside,
    Lineage,
    Mark,
    Objective,
    Placed,
    Series,
    VersionLine,
)
from fairlead.console.facts.trouble import Trouble
from fairlead.contracts.errors import FairleadError, SourceNotFound, StateError
from fairlead.contracts.plans import Happening
from fairlead.contracts.state import StateStore
from fairlead.monitor import timeline
from fairlead.monitor.degraded import CODE
from fairlead.wiring import burning, reading
from fairlead.wiring.console import measured
from fairlead.wiring.console.folding import Folds, Slots, Totals
from fairlead.wiring.console.home import model
from fairlead.wiring.console.kept import Kept
from fairlead.wiring.console.timeline import LATE_MS

PARTS: Final = 240
_MARKS: Final = 40
_LINES: Final = 1_000
_VERDICTS: Final = 400
"""Newest of a model that are looked through: a retraining leaves one of its data and one of its gate."""
_KINDS: Final = {"deploy": "deploy", "alias": "deploy", "rollout": "deploy", "alert": "alert", "drift": "alert"}
_KINDS_MORE: Final = {"performance": "alert", "slo": "alert", "config": "other", "retrain": "other"}
_SHOWN: Final = 40
_DATA: Final = "fairlead.data"
_CODE: Final = ("fairlead.commit", "mlflow.source.git.commit", "fairlead.pipeline")


@dataclass(frozen=True, slots=True)
class EndpointPage:
    """``Endpoints`` over the stores. What it read of hours that are long over it keeps, some of them."""

    kept: Kept
    folds: Folds = field(default_factory=Folds)

    def endpoint(self, name: str, since_ms: int, until_ms: int, now_ms: int) -> EndpointFacts:
        store = self.kept.state
        if name not in self.kept.names:
            reading.check(store, None, name)
        slots = Slots(since_ms, until_ms, PARTS)
        found = self.folds.read(store, name, slots, now_ms)
        total = found.total
        lines = timeline.read(store, name, since_ms=since_ms, until_ms=until_ms + LATE_MS, limit=_LINES)
        of = reading.model_of(store, name)
        versions, trouble = self._versions(store, name, of, found.versions)
        inside, why = self._inside(name)
        memory = store.get("monitor", name)
        covered = slots.covered(total.first_ms)
        objectives_told, objectives_ms, untold = objectives(store, name)
        return EndpointFacts(
            name,
            of,
            since_ms,
            until_ms,
            total.calls,
            total.rows,
            total.codes.get(CODE, 0),
            total.calls / covered if covered else None,
            total.errors,
            total.quantile(0.5),
            total.quantile(0.95),
            total.quantile(0.99),
            tuple(sorted(((code, count) for code, count in total.codes.items() if code not in ("", CODE)), key=_most)),
            _series(slots),
            marks(one for one in lines if one.at_ms <= until_ms),
            versions,
            placed(store, name),
            model(memory.body if memory else None),
            objectives_told,
            objectives_ms,
            inside,
            why,
            self._url(),
            trouble,
            untold,
        )

    def _versions(
        self, store: StateStore, name: str, of: str, seen: Mapping[tuple[str, str], Totals]
    ) -> tuple[tuple[VersionLine, ...], Trouble | None]:
        split = reading.split_of(store, name)
        shares = {(one.version, one.arm): one for one in split.shares} if split else {}
        trouble = None
        lineages: dict[str, Lineage] = {}
        keys = sorted({*seen, *shares}, key=lambda key: (-(seen[key].calls if key in seen else 0), key))
        for version in dict.fromkeys(version for version, _ in keys[:_SHOWN]):
            try:
                lineages[version] = lineage(self.kept, store, of, version)
            except SourceNotFound:  # served from a file, or gone from the registry
                lineages[version] = Lineage()
            except FairleadError as error:
                lineages[version] = Lineage()
                trouble = trouble or Trouble(error.code, str(error))
        lines = []
        for key in keys[:_SHOWN]:
            total, share = seen.get(key), shares.get(key)
            lines.append(
                VersionLine(
                    key[0],
                    key[1],
                    total.calls if total else 0,
                    total.errors if total else None,
                    total.quantile(0.5) if total else None,
                    total.quantile(0.99) if total else None,
                    share.weight / 100 if share else None,
                    share.shadow / 100 if share else None,
                    lineages[key[0]],
                )
            )
        return tuple(lines), trouble

    def _inside(self, name: str) -> tuple[Inside | None, str]:
        try:
            return measured.inside(self.kept, name), ""
        except FairleadError as error:
            return None, str(error)

    def _url(self) -> str:
        try:
            return measured.server_of(self.kept)
        except FairleadError:
            return "http://127.0.0.1:8080"


def lineage(kept: Kept, store: StateStore, of: str, version: str) -> Lineage:
    """Raises what the registry raises."""
    told = (one.body for one in store.entries("verdict", of, limit=_VERDICTS))
    judged = [one for one in told if one.get("version") == version and one.get("about") != "data"]
    last = judged[-1] if judged else {}
    known = kept.registry.version(of, version)
    tags = known.tags
    return Lineage(
        known.run_id,
        known.source,
        tags.get(_DATA, ""),
        next((tags[name] for name in _CODE if tags.get(name)), ""),
        known.created_ms or None,
        known.aliases,
        str(last.get("id", "")),
        str(last.get("answer", "")),
    )


def marks(lines: Iterable[Happening]) -> tuple[Mark, ...]:
    """The newest lines that change what the charts show; of several of a kind at the same time the first."""
    kinds, found = _KINDS | _KINDS_MORE, dict[tuple[int, str], Mark]()
    for one in lines:
        if one.what in kinds:
            found.setdefault((one.at_ms, one.what), Mark(one.at_ms, one.what, kinds[one.what], one.text))
    return tuple(found.values())[-_MARKS:]


def objectives(store: StateStore, name: str) -> tuple[tuple[Objective, ...], int | None, Trouble | None]:
    """Of each objective, what is left of its error budget and how fast that burns; when that was looked at."""
    try:
        found = burning.known(store, name)
    except StateError as error:
        return (), None, Trouble(error.code, str(error))
    told = tuple(
        Objective(
            one.objective.text,
            one.objective.seconds / 86_400,
            one.left,
            tuple(Burn(burn.window, burn.rate, burn.threshold, burn.since_ms or None) for burn in one.burns),
            one.bad,
            one.calls,
        )
        for one in (found.told if found else ())
    )
    return told, found.at_ms if found else None, None


def placed(store: StateStore, name: str) -> tuple[Placed, ...]:
    """What each worker said that it applied, newest first."""
    found = [one for one in store.all("applied") if one.key.rpartition("/")[0] == name]
    told = [
        Placed(
            one.key.rpartition("/")[2],
            tuple(map(str, one.body.get("versions") or ())),
            str(one.body.get("error") or ""),
            int(one.body.get("at_ms") or one.at_ms),
        )
        for one in found
    ]
    return tuple(sorted(told, key=lambda one: -one.at_ms)[:_SHOWN])


def _series(slots: Slots) -> Series:
    parts = list(slots.all())
    return Series(
        tuple(one.start_ms for one in parts),
        tuple(one.rate for one in parts),
        tuple(one.totals.errors for one in parts),
        *(tuple(one.totals.quantile(q) for one in parts) for q in (0.5, 0.95, 0.99)),
    )


def _most(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
