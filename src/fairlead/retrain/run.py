"""One retraining, from a request to a verdict, as one process: a cron job, a CI job and a pod run the same.

request -> data -> data tests (blocked?) -> train -> package -> both models on the hold-out -> gate -> run record ->
version with its verdict -> a rollout is proposed when it passed. Only one run of an endpoint at a time (a lease).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fairlead.contracts.checks import TableChecks
from fairlead.contracts.errors import FairleadError, SourceNotFound
from fairlead.contracts.events import EventStore
from fairlead.contracts.plans import Answer, RetrainRequest, RunLineage, Verdict
from fairlead.contracts.state import StateStore
from fairlead.contracts.stores import Registry, Tracker, Version
from fairlead.kit import ids
from fairlead.kit.clock import Clock
from fairlead.package.registry import publish
from fairlead.retrain import data_tests, gate, record, requests, scores, steps
from fairlead.retrain.answers import Opened, Task, answer, task, timed
from fairlead.retrain.columns import Columns, joined, numbers, rows_of
from fairlead.retrain.data_tests import DataPolicy
from fairlead.retrain.gate import GateInput, GatePolicy
from fairlead.retrain.held import Held, HeldOut
from fairlead.retrain.journal import Journal
from fairlead.retrain.profile import profile
from fairlead.retrain.record import Lineage, Package
from fairlead.retrain.requests import Hold
from fairlead.retrain.steps import Context, Data, Tables
from fairlead.retrain.stopping import interruptible, why_of

OpenModel = Callable[[str], Opened]
Propose = Callable[[Version, Verdict], None]


Remember = Callable[[Version, HeldOut], None]

_LEASE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to retrain and how. ``model``: the registered model.  ``pipeline``: the Python file.

    ``alias``: which version is the champion.  ``experiment``: where runs are kept (default: the model's name).
    ``dry_run``: everything but registering and proposing; a look at the hold-out counts all the same.
    ``accept``: data tests whose failure a person takes for the truth: the world has changed, and the data are right.
    ``missing_token``, ``trusted_types``: as ``package.pack`` takes them.
    """

    endpoint: str
    model: str
    pipeline: Path
    gate: GatePolicy = field(default_factory=GatePolicy)
    data: DataPolicy = field(default_factory=DataPolicy)
    alias: str = "champion"
    experiment: str = ""
    seed: int = 0
    dry_run: bool = False
    accept: tuple[str, ...] = ()
    missing_token: str | None = None
    trusted_types: tuple[str, ...] = ()
    lease_seconds: float = _LEASE_SECONDS

    def __post_init__(self) -> None:
        data_tests.known(self.accept)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run works with. ``open_model``: loads a model URI, or the folder of a packaged one.

    ``propose``: called with a version that passed.  ``remember``: called with every version that is registered, before
    it is proposed, so that what it is watched against is there.  ``checks``: the schema library, None for none.
    ``who``: for histories.  ``home``: where the run may write.
    """

    state: StateStore
    registry: Registry
    tracker: Tracker
    open_model: OpenModel
    clock: Clock
    home: Path
    who: str
    propose: Propose = lambda version, verdict: None  # noqa: ARG005
    remember: Remember = lambda version, held_out: None  # noqa: ARG005
    events: EventStore | None = None
    checks: TableChecks | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """``verdict``: of the data tests when they blocked, else the gate's.  ``version``: None when none was made."""

    request: RetrainRequest
    verdict: Verdict
    version: Version | None = None


def run(plan: Plan, parts: Parts, request_id: str = "", why: str = "asked for by hand") -> Outcome:
    """Serve the request ``request_id``, or the oldest open one, or a new one of a person (``why``).

    Raises Busy when a run of the endpoint is under way, NotFound or UsageError for a request that cannot be run,
    PipelineFailed, and what the stores raise. However it ends, the request says so and the lease is released.
    """
    owner = f"{parts.who}:{ids.request_id()}"
    with interruptible(), requests.held(parts.state, plan.endpoint, owner, plan.lease_seconds) as hold:
        return Run(plan, parts, hold).serve(request_id, why)


@dataclass(frozen=True, slots=True)
class Stuff:
    """What a run has gathered before it trains. ``rival``: the champion, open; None when there is none."""

    ctx: Context
    data: Data
    tables: Tables
    task: Task
    lineage: Lineage
    champion: Version | None
    rival: Opened | None

    @property
    def held(self) -> Held:
        """The hold-out as a new version is asked it."""
        return Held(self.tables.holdout, self.tables.features, self.data.target, self.data.time, self.task)

    @property
    def against(self) -> str:
        """The champion's version, empty when there is none."""
        return self.champion.version if self.champion else ""


class Run:
    """One run that holds the endpoint's lease. ``serve`` is called once."""

    def __init__(self, plan: Plan, parts: Parts, hold: Hold) -> None:
        self._plan, self._parts, self._hold = plan, parts, hold
        self._journal = Journal(parts.state, plan.endpoint, parts.clock, hold)
        self._work = Path()
        self._origin: RunLineage

    def serve(self, request_id: str, why: str) -> Outcome:
        self._journal.bury()
        request = self._journal.take(request_id, why, dry=self._plan.dry_run)
        try:
            return self._trained(request)
        except BaseException as error:
            self._journal.failed(*why_of(error))
            raise

    def _trained(self, request: RetrainRequest) -> Outcome:
        plan, parts = self._plan, self._parts
        pipeline = steps.pipeline(plan.pipeline)
        with tempfile.TemporaryDirectory(prefix="fairlead-retrain-") as place, contextlib.ExitStack() as opened:
            self._work, champion = Path(place), self._champion()
            data = pipeline.loaded(ctx := self._context(request, champion))
            tables = steps.tables(data, plan.pipeline)
            stuff = Stuff(
                ctx,
                data,
                tables,
                task(*_targets(tables, data), quantity=plan.gate.metric in scores.REGRESSION),
                record.lineage(pipeline, data, tables, request, champion),
                champion,
                parts.open_model(f"models:/{champion.model}/{champion.version}") if champion else None,
            )
            if stuff.rival:
                opened.callback(stuff.rival.model.close)
            self._origin = record.told(plan.model, stuff.lineage, data, tables)
            self._journal.note(lineage=self._origin)
            tested = self._tests(stuff)
            self._hold.check()
            if tested.answer is Answer.FAIL:
                return self._blocked(stuff, tested)
            model = pipeline.trained(ctx, data)
            packaged = self._packaged(model, stuff)
            ctx.metrics.update(pipeline.evaluated(ctx, model, data))
            self._hold.check()
            challenger = replace(parts.open_model(str(packaged.folder)), size=packaged.size)
            opened.callback(challenger.model.close)
            verdict = gate.decide(plan.gate, self._evidence(stuff, challenger, packaged))
            self._hold.check()
            return self._kept(stuff, verdict, packaged, challenger)

    def _champion(self) -> Version | None:
        try:
            return self._parts.registry.resolve(self._plan.model, self._plan.alias)
        except SourceNotFound:
            return None

    def _context(self, request: RetrainRequest, champion: Version | None) -> Context:
        plan, parts = self._plan, self._parts
        before = champion.version if champion else ""
        return Context(plan.endpoint, plan.model, request, parts.home, plan.seed, before, parts.events, parts.state)

    def _tests(self, stuff: Stuff) -> Verdict:
        """The data tests, on the rows of training and hold-out together."""
        parts, data = self._parts, stuff.data
        before = record.previous(parts.registry, stuff.champion, self._work / "previous")
        whole = joined(stuff.tables.train, stuff.tables.holdout)
        score = answer(stuff.rival, whole, stuff.tables.features, stuff.task).score if stuff.rival and whole else None
        checks = data_tests.examine(
            whole,
            data.target,
            reference=before.profile,
            policy=self._plan.data,
            time=data.time,
            score=score if len(stuff.task.classes) == 2 else None,
        )
        if parts.checks is not None and before.schema is not None and rows_of(whole):
            checks += parts.checks.test(before.schema, _without(whole, data.time))
        checks = data_tests.accepted(checks, self._plan.accept, parts.who)
        self._journal.accepted(checks, self._plan.accept)
        said = data_tests.verdict(ids.request_id(), self._plan.model, stuff.against, parts.clock.wall_ms(), checks)
        if said.answer is Answer.FAIL or not self._plan.dry_run:
            self._journal.verdict(said)
            self._journal.note(tested=said.id)
        return said

    def _packaged(self, model: Any, stuff: Stuff) -> Package:
        plan = self._plan
        return record.package(
            model,
            stuff.tables,
            self._work / "model",
            name=plan.model,
            token=plan.missing_token,
            trusted=plan.trusted_types,
            clock=self._parts.clock,
        )

    def _evidence(self, stuff: Stuff, challenger: Opened, packaged: Package) -> GateInput:
        """Both models on the same held-out rows, in order; counts that the hold-out was looked at."""
        parts, data, held = self._parts, stuff.data, stuff.tables.holdout
        features, what = stuff.tables.features, stuff.task
        mine = answer(challenger, held, features, what)
        if stuff.rival:
            rival = answer(stuff.rival, held, features, what)
            if not mine.problem and not rival.problem and rows_of(held):
                seconds = timed((challenger.model, stuff.rival.model), held, features, parts.clock.now)
                mine, rival = replace(mine, seconds=seconds[:, 0]), replace(rival, seconds=seconds[:, 1])
        else:
            rival = what.baseline(stuff.tables.train[data.target], rows_of(held))
        fresh = record.fresher(stuff.lineage, stuff.champion) if stuff.champion else (None, "")
        return GateInput(
            id=ids.request_id(),
            model=self._plan.model,
            version="",
            against=stuff.against,
            at_ms=parts.clock.wall_ms(),
            truth=what.truth(held[data.target]),
            challenger=mine,
            rival=rival,
            slices={name: held[name] for name in self._plan.gate.slices if name in held},
            time=numbers(held[data.time]) if data.time else None,
            trained_until=stuff.lineage.trained_until,
            fresh=fresh[0],
            fresh_why=fresh[1],
            agrees=packaged.agrees,
            uses=self._journal.looked(stuff.lineage.holdout),
            seed=self._plan.seed,
        )

    def _blocked(self, stuff: Stuff, verdict: Verdict) -> Outcome:
        self._record(stuff, verdict)
        bad = [f"{check.name}: {check.why}" for check in verdict.checks if check.answer is Answer.FAIL]
        self._journal.tell("data", f"training blocked by the data tests: {'; '.join(bad)}", verdict=verdict.id)
        request = self._journal.end("blocked", bad[0], verdict=verdict.id)
        return Outcome(request, verdict)

    def _kept(self, stuff: Stuff, verdict: Verdict, packaged: Package, challenger: Opened) -> Outcome:
        """Keep the run; register the version with its verdict, whatever it says; propose it when it passed."""
        plan, registry = self._plan, self._parts.registry
        run_id = self._record(stuff, verdict)
        said = verdict.answer.value
        if plan.dry_run:
            return Outcome(self._journal.end("done", f"dry run: {said}", verdict=verdict.id), verdict)
        made = publish(registry, packaged.folder, plan.model, run_id=run_id, description=_sentence(verdict))
        verdict = replace(verdict, version=made.version)
        tags = {**stuff.lineage.tags(), f"{record.TAG}verdict": said, f"{record.TAG}verdict-id": verdict.id}
        for name, value in tags.items():
            registry.set_tag(made.model, made.version, name, value)
        made = replace(made, tags={**made.tags, **tags})
        self._remember(made, stuff, challenger)
        self._journal.verdict(verdict)
        text = f"version {made.version} {_WORDS[verdict.answer]}: {_sentence(verdict)}"
        self._journal.tell("verdict", text, verdict=verdict.id, version=made.version)
        refused = self._proposed(made, verdict) if verdict.answer is Answer.PASS else ""
        outcome = f"{said}; no rollout: {refused}" if refused else said
        request = self._journal.end("done", outcome, version=made.version, verdict=verdict.id)
        return Outcome(request, verdict, made)

    def _remember(self, made: Version, stuff: Stuff, challenger: Opened) -> None:
        """A version that cannot answer the hold-out has failed at the gate: there is nothing to watch it against."""
        plan, clock = self._plan, self._parts.clock
        try:
            answers = stuff.held.asked_of(challenger.model, plan.gate.metric, clock.now, plan.seed)
        except Exception:  # noqa: BLE001 - a model may raise anything; the gate has told it
            return
        self._parts.remember(made, answers)

    def _proposed(self, made: Version, verdict: Verdict) -> str:
        """Propose a rollout; what refused it, in a sentence. The version and its verdict stay."""
        try:
            self._parts.propose(made, verdict)
        except FairleadError as error:
            self._journal.tell("rollout", f"no rollout of version {made.version}: {error}", version=made.version)
            return str(error)
        return ""

    def _record(self, stuff: Stuff, verdict: Verdict) -> str:
        """The run in tracking. A blocked one keeps no profile that could become a reference: no version has it."""
        plan, parts, data = self._plan, self._parts, stuff.data
        table = joined(stuff.tables.train, stuff.tables.holdout)
        blocked = verdict.about == "data"
        schema = None if blocked or parts.checks is None else parts.checks.infer(_without(table, data.time))
        run_id = record.keep(
            parts.tracker,
            plan.experiment or plan.model,
            stuff.lineage,
            verdict,
            params=_params(plan, stuff.tables),
            metrics={**stuff.ctx.metrics, **record.numbers_of(verdict)},
            profile=None if blocked else profile(table, data.target, data.time),
            schema=schema,
            pipeline=plan.pipeline,
            work=self._work / "kept",
        )
        self._journal.note(lineage=replace(self._origin, run=run_id))
        return run_id


_WORDS = {
    Answer.PASS: "passed the gate",
    Answer.FAIL: "failed at the gate",
    Answer.INCONCLUSIVE: "could not be judged by the gate",
}


def _sentence(verdict: Verdict) -> str:
    """The check that decided: the first that did not pass, else the lift."""
    decisive = [check for check in verdict.checks if check.answer is verdict.answer]
    lifts = [check for check in decisive if check.evidence.get("method")]
    check = lifts[0] if verdict.answer is Answer.PASS else decisive[0]
    return f"{check.name}: {check.why}"


def _params(plan: Plan, tables: Tables) -> dict[str, str | int | float | bool]:
    return {
        "endpoint": plan.endpoint,
        "pipeline": plan.pipeline.name,
        "seed": plan.seed,
        "train_rows": rows_of(tables.train),
        "holdout_rows": rows_of(tables.holdout),
        "gate.metric": plan.gate.metric,
        "gate.policy": plan.gate.policy,
        "dry_run": plan.dry_run,
    }


def _targets(tables: Tables, data: Data) -> tuple[Any, Any]:
    return tables.train[data.target], tables.holdout[data.target]


def _without(table: Columns, name: str) -> Columns:
    return {column: array for column, array in table.items() if column != name}
