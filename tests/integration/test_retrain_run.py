"""Whole retrainings: real estimators, packed and opened for real; state and registry in memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.adapters.checks.pandera import PanderaChecks
from fairlead.contracts.errors import Busy, PipelineFailed, RegistryUnreachable, UsageError
from fairlead.contracts.plans import Answer, RetrainRequest, Verdict
from fairlead.contracts.runtime import RuntimeOptions
from fairlead.contracts.stores import Version
from fairlead.kit import plugins
from fairlead.kit.clock import SystemClock
from fairlead.kit.codec.records import from_body
from fairlead.kit.config import Home
from fairlead.package.bundle import Opener
from fairlead.package.trust import TrustBook
from fairlead.retrain import requests
from fairlead.retrain.answers import Opened
from fairlead.retrain.gate import GatePolicy
from fairlead.retrain.held import HeldOut
from fairlead.retrain.run import Outcome, Parts, Plan, run
from fairlead.testing.state import MemoryState
from fairlead.testing.stores import MemoryRegistry

PIPELINE = '''
import json, os
from pathlib import Path
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from fairlead.retrain.steps import Data

def load_data(ctx):
    """Two features; the newest third is held out. ``how.json`` says how good, and how bad, the data are."""
    how = json.loads((ctx.home / "how.json").read_text())
    rng = np.random.default_rng(how.get("seed", 0))
    rows = how.get("rows", 3000)
    x = rng.normal(size=(rows, 2))
    y = (x[:, 0] + x[:, 1] + 0.5 * rng.normal(size=rows) > 0).astype(int)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1] * how.get("unit", 1), "region": np.where(x[:, 0] > 0, "e", "w"),
                          "when": how.get("start", 0) + np.arange(rows), "churn": y})
    if "flip" in how:
        block = slice(500, 500 + how["flip"])
        frame.loc[frame.index[block], "churn"] = 1 - frame["churn"].to_numpy()[block]
    if "raise" in how:
        raise RuntimeError(how["raise"])
    cut = rows * 2 // 3
    return Data(frame[:cut], frame[cut:], "churn", time="when", ignore=["region"])

def train(ctx, data):
    how = json.loads((ctx.home / "how.json").read_text())
    if how.get("wait"):
        Path(how["wait"]).write_text("training")
        import time
        time.sleep(60)
    columns = ["a", "b"]
    x = data.train[columns].copy()
    if how.get("blind"):
        x["b"] = np.random.default_rng(0).normal(size=len(x))
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, data.train["churn"])

def evaluate(ctx, model, data):
    ctx.log("noticed", 1)
    return {"own_accuracy": model.score(data.holdout[["a", "b"]], data.holdout["churn"])}
'''


OTHER = """
from pathlib import Path
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from fairlead.package.pack import pack
from fairlead.retrain.steps import Data

def load_data(ctx):
    found = dict(np.load(ctx.home / "rows.npz", allow_pickle=True))
    return Data({n: a[:800] for n, a in found.items()}, {n: a[800:] for n, a in found.items()}, "y")

def train(ctx, data):
    table = pd.DataFrame({"x": data.train["x"].astype(float), "plan": data.train["plan"]})
    parts = ColumnTransformer([("x", "passthrough", ["x"]), ("plan", OneHotEncoder(handle_unknown="ignore"), ["plan"])])
    return make_pipeline(parts, LogisticRegression()).fit(table, data.train["y"])

def as_file(ctx, data, estimator=train):
    rows = {"x": data.holdout["x"].astype(float)[:, None], "plan": data.holdout["plan"][:, None]}
    packed = pack(estimator(ctx, data), ctx.home / "own", name="own", rows=rows)
    return packed.folder / packed.manifest.artefact
"""


class Shop:
    """A project in a folder: its stores, and what was proposed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.registry = MemoryState(), MemoryRegistry()
        self.proposed: list[tuple[Version, Verdict]] = []
        self.home = Home(folder / "home", "", "", "ann")
        (folder / "churn.py").write_text(PIPELINE)
        self.how()

    def how(self, **how: Any) -> None:
        (self.folder / "how.json").write_text(json.dumps(how))

    def open(self, uri: str) -> Opened:
        book = TrustBook(self.home, lambda: self.registry, SystemClock())
        bundle = Opener(self.home, lambda: self.registry, book).open(uri)
        runtime = plugins.load("fairlead.runtimes", bundle.artefact.format)()
        return Opened(runtime.load(bundle.artefact, RuntimeOptions(threads=1)), 1000)

    def parts(self, **more: Any) -> Parts:
        made = Parts(
            self.state,
            self.registry,
            self.registry,
            self.open,
            SystemClock(),
            self.folder,
            "ann",
            propose=lambda version, verdict: self.proposed.append((version, verdict)),
            checks=PanderaChecks(),
        )
        return replace(made, **more)

    def plan(self, **more: Any) -> Plan:
        gate = GatePolicy(max_latency_ratio=50, slices=("region",), slice_margin=0.1)
        return replace(Plan("churn", "churn-model", self.folder / "churn.py", gate), **more)

    def run(self, parts: dict[str, Any] | None = None, **plan: Any) -> Outcome:
        return run(self.plan(**plan), self.parts(**(parts or {})))

    def champion(self, **how: Any) -> Version:
        """Train one and let it be the champion."""
        self.how(**how)
        made = self.run().version
        assert made is not None
        self.registry.set_alias("churn-model", "champion", made.version)
        self.proposed.clear()
        return made

    def requests(self) -> list[RetrainRequest]:
        return requests.every(self.state, "churn")

    def timeline(self) -> list[str]:
        return [entry.body["text"] for entry in self.state.entries("timeline", "churn")]

    def free(self) -> bool:
        return self.state.acquire("retrain:churn", "somebody else", 1) is not None


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_the_first_version_beats_a_baseline_and_is_proposed(shop: Shop) -> None:
    outcome = shop.run()
    made = outcome.version
    assert made is not None
    assert outcome.verdict.answer is Answer.PASS
    assert {check.name for check in outcome.verdict.checks} >= {"better than a baseline", "time order"}
    assert shop.proposed == [(made, outcome.verdict)]
    assert outcome.verdict.version == made.version == "1"
    assert outcome.request.status == "done"
    assert (outcome.request.version, outcome.request.verdict) == ("1", outcome.verdict.id)
    stored = shop.registry.version("churn-model", "1")
    assert stored.tags["fairlead.verdict"] == "pass"
    assert stored.tags["fairlead.verdict-id"] == outcome.verdict.id
    tests, gate = (from_body(Verdict, one.body) for one in shop.state.entries("verdict", "churn-model"))
    assert gate == outcome.verdict
    assert (tests.about, tests.answer, tests.id) == ("data", Answer.PASS, outcome.request.tested)
    assert shop.open("models:/churn-model/1").model.predict({"a": np.ones((1, 1)), "b": np.ones((1, 1))}, {})
    assert shop.free()


def test_what_a_version_is_watched_against_says_what_it_leans_on(shop: Shop) -> None:
    kept: list[HeldOut] = []
    shop.run({"remember": lambda version, held: kept.append(held)})
    shop.how(blind=True)
    shop.run({"remember": lambda version, held: kept.append(held)})
    both, blind = (held.importance for held in kept)
    assert both == {"a": pytest.approx(0.5, abs=0.05), "b": pytest.approx(0.5, abs=0.05)}
    assert blind["a"] > 0.95


def test_the_run_keeps_its_lineage(shop: Shop) -> None:
    shop.champion()
    shop.how(seed=1, start=9000)
    made = shop.run().version
    assert made is not None
    kept = shop.registry.runs[made.run_id]
    tags: Any = kept["tags"]
    files: Any = kept["files"]
    metrics: Any = kept["metrics"]
    for name in ("request", "trigger", "data", "holdout", "pipeline", "verdict", "verdict-id"):
        assert tags[f"fairlead.{name}"]
    assert tags["fairlead.parent"] == "1"
    assert tags["fairlead.trigger"] == "human"
    assert float(tags["fairlead.trained-until"]) == 9000 + 1999
    assert set(files) == {"pipeline/churn.py", "verdict.json", "data/profile.json", "data/schema"}
    assert metrics["noticed"] == 1
    assert metrics["own_accuracy"] > 0.8
    assert metrics["gate.challenger"] > 0.8
    assert {name for name in tags if made.tags.get(name) == tags[name]} >= {"fairlead.data", "fairlead.parent"}


def test_a_better_challenger_passes_and_a_blind_one_fails(shop: Shop) -> None:
    shop.champion(blind=True)
    shop.how(seed=1, start=9000)
    better = shop.run()
    assert better.verdict.answer is Answer.PASS
    assert better.verdict.against == "1"
    shop.registry.set_alias("churn-model", "champion", "2")
    shop.proposed.clear()
    shop.how(seed=2, start=20_000, blind=True)
    worse = shop.run()
    assert worse.verdict.answer is Answer.FAIL
    assert worse.version is not None
    assert shop.registry.version("churn-model", "3").tags["fairlead.verdict"] == "fail"
    assert worse.request.outcome == "fail"
    assert not shop.proposed
    assert "version 3 failed at the gate: superiority" in shop.timeline()[-1]


def test_a_refresh_is_not_inferior(shop: Shop) -> None:
    shop.champion()
    policy = GatePolicy(policy="non-inferiority", margin=0.02, max_latency_ratio=50)
    shop.how(seed=1, start=9000)
    assert shop.run(gate=policy).verdict.answer is Answer.PASS
    shop.how(seed=1, start=0)
    stale = shop.run(gate=policy)
    assert stale.verdict.answer is Answer.FAIL
    assert "not trained on newer data" in next(check.why for check in stale.verdict.checks if check.name == "freshness")


@pytest.mark.parametrize(
    ("how", "check"),
    [({"flip": 900}, "label"), ({"unit": 1000}, "ranges"), ({"unit": 1000}, "schema: b"), ({"rows": 0}, "rows")],
)
def test_poison_is_blocked_before_training(shop: Shop, how: dict[str, Any], check: str) -> None:
    shop.champion()
    shop.how(seed=1, start=9000, **how)
    outcome = shop.run()
    assert outcome.version is None
    assert (outcome.verdict.about, outcome.verdict.answer) == ("data", Answer.FAIL)
    assert [one for one in outcome.verdict.checks if one.answer is Answer.FAIL and one.name.startswith(check)]
    assert (outcome.request.status, outcome.request.verdict) == ("blocked", outcome.verdict.id)
    assert len(shop.registry.versions("churn-model")) == 1
    assert "training blocked by the data tests" in shop.timeline()[-1]
    assert shop.state.entries("verdict", "churn-model")[-1].body["about"] == "data"
    assert shop.free()


def test_a_person_accepts_what_a_data_test_found(shop: Shop) -> None:
    shop.champion()
    shop.how(seed=1, start=9000, unit=1000)
    blocked = shop.run()
    failed = [check.name for check in blocked.verdict.checks if check.answer is Answer.FAIL]
    assert failed
    with pytest.raises(UsageError, match="no data test is called 'range'; did you mean ranges"):
        shop.run(accept=("range",))
    outcome = shop.run(accept=tuple(failed))
    assert outcome.verdict.about == "gate"
    told = [line for line in shop.timeline() if "accepted by" in line]
    assert len(told) == len(failed)
    assert shop.free()


def test_text_objects_matrices_and_model_files(shop: Shop) -> None:
    """Other shapes of the same thing: an ONNX file that ``train`` wrote, and columns of objects."""
    rng = np.random.default_rng(0)
    x, plan = rng.normal(size=1200), np.array(["a", "b"], object)[rng.integers(0, 2, 1200)]
    y = np.where(x + (plan == "a") + 0.3 * rng.normal(size=1200) > 0.5, "yes", "no").astype(object)
    np.savez(shop.folder / "rows.npz", x=x.astype(object), plan=plan, y=y)
    (shop.folder / "churn.py").write_text(OTHER)
    first = shop.run()
    assert first.verdict.answer is Answer.PASS
    assert first.version is not None
    shop.registry.set_alias("churn-model", "champion", "1")
    (shop.folder / "churn.py").write_text(OTHER + "\ntrain = as_file\n")
    again = shop.run()
    assert again.verdict.against == "1"
    assert again.version is not None
    found = next(check for check in again.verdict.checks if check.name == "superiority")
    assert found.evidence["first"] == pytest.approx(found.evidence["second"], abs=1e-4)


def test_looks_at_one_hold_out_are_counted(shop: Shop) -> None:
    looks = []
    for _ in range(3):
        outcome = shop.run(dry_run=True)
        looks.append(next(check for check in outcome.verdict.checks if check.name == "hold-out use").evidence["look"])
    assert looks == [1, 2, 3]


def test_a_dry_run_registers_nothing(shop: Shop) -> None:
    requests.ask(shop.state, RetrainRequest("r1", "churn", "drift", "age drifted", 5))
    outcome = shop.run(dry_run=True)
    assert outcome.verdict.answer is Answer.PASS
    assert outcome.version is None
    assert outcome.request.outcome == "dry run: pass"
    assert shop.registry.models() == []
    assert not shop.proposed
    assert not shop.state.entries("verdict")
    assert requests.find(shop.state, "r1", "churn").status == "open"


def test_the_oldest_open_request_is_served(shop: Shop) -> None:
    requests.ask(shop.state, RetrainRequest("r1", "churn", "drift", "age drifted", 5))
    outcome = shop.run()
    assert (outcome.request.id, outcome.request.status) == ("r1", "done")
    assert shop.registry.version("churn-model", "1").tags["fairlead.trigger"] == "drift"
    with pytest.raises(UsageError, match="only an open one"):
        run(shop.plan(), shop.parts(), "r1")


def test_a_pipeline_that_raises_leaves_the_state_as_it_was(shop: Shop) -> None:
    shop.champion()
    shop.how(**{"raise": "the warehouse is closed"})
    with pytest.raises(PipelineFailed, match=r"load_data of .*churn.py, line \d+ raised RuntimeError: the warehouse"):
        shop.run()
    last = shop.requests()[-1]
    assert last.status == "failed"
    assert "the warehouse is closed" in last.outcome
    assert len(shop.registry.versions("churn-model")) == 1
    assert shop.free()


def test_a_registry_that_is_down_fails_the_request(shop: Shop) -> None:
    shop.registry.down = True
    with pytest.raises(RegistryUnreachable):
        shop.run()
    assert [one.status for one in shop.requests()] == ["failed"]


def test_a_rollout_that_is_refused_keeps_the_version(shop: Shop) -> None:
    def refuse(version: Version, verdict: Verdict) -> None:
        raise Busy("a rollout of churn runs")

    outcome = shop.run({"propose": refuse})
    assert outcome.version is not None
    assert (outcome.request.status, outcome.request.outcome) == ("done", "pass; no rollout: a rollout of churn runs")


def test_one_run_at_a_time(shop: Shop) -> None:
    assert shop.state.acquire("retrain:churn", "another run", 60)
    with pytest.raises(Busy):
        shop.run()
    assert not shop.requests()


def test_a_killed_run_is_buried_by_the_next(shop: Shop) -> None:
    requests.ask(shop.state, RetrainRequest("r1", "churn", "drift", "", 5, status="running"))
    shop.run()
    assert {one.id: one.status for one in shop.requests()}["r1"] == "failed"


def test_outside_the_main_thread(shop: Shop) -> None:
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(shop.run()))
    thread.start()
    thread.join()
    assert found[0].verdict.answer is Answer.PASS


def test_sigterm_while_training(shop: Shop) -> None:
    """In this process: the handler is put back afterwards."""
    waiting = shop.folder / "waiting"
    shop.how(wait=str(waiting))

    def stop() -> None:
        while not waiting.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        shop.run()
    assert signal.getsignal(signal.SIGTERM) is before
    assert [(one.status, one.outcome) for one in shop.requests()] == [("failed", "the run was told to stop (SIGTERM)")]
    assert shop.free()


def test_importing_it_needs_no_heavy_library() -> None:
    code = "import sys, fairlead.retrain.run as r; print(*sorted({n.partition('.')[0] for n in sys.modules}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "pandera", "sklearn", "mlflow", "onnxruntime"} & set(out)
