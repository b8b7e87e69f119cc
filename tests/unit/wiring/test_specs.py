from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest

from fairlead.contracts.access import Scope
from fairlead.contracts.errors import MissingExtra, UsageError
from fairlead.contracts.scaling import Scaling
from fairlead.kit.config import Home
from fairlead.kit.spec import loop
from fairlead.kit.spec.loop import AlertRule, Alerts, Labels, Monitor, Retrain, RetrainGate, Rollout, RolloutGate
from fairlead.kit.spec.read import parse
from fairlead.kit.spec.serving import Replicas
from fairlead.kit.spec.spec import Endpoint, Spec
from fairlead.monitor import metrics
from fairlead.monitor.alerts import Rule
from fairlead.monitor.findings import Contract
from fairlead.orchestrate import plan as plans
from fairlead.orchestrate.verdict import gate
from fairlead.retrain.gate import GatePolicy
from fairlead.retrain.triggers import Triggers
from fairlead.serve.access.rules import Rules
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.testing.stores import MemoryRegistry
from fairlead.wiring import residing, specs, specs_course, specs_retrain, specs_rollout, stores, watching
from fairlead.wiring.baselines import Performance
from fairlead.wiring.monitors import Monitored
from fairlead.wiring.watching import Kept


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return path


def home(tmp_path: Path) -> Home:
    return Home(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/state.db", "ada", str(tmp_path))


def test_what_the_spec_does_not_say_is_what_the_rooms_mean() -> None:
    """One truth: the defaults of the spec are those of the rooms."""
    spec, endpoint = Spec(endpoints={"c": Endpoint(model="m")}), Endpoint(model="m")
    assert specs.server(spec) == ServerSettings()
    assert specs.settings(endpoint) == EndpointSettings()
    assert specs.kept(endpoint) == Kept()
    assert specs.contract(endpoint.monitor) == Contract()
    assert specs_retrain.policy(RetrainGate()) == GatePolicy()
    assert specs_retrain.triggers_of(Retrain(pipeline="p.py")) == Triggers()
    made = specs_rollout.plan(endpoint.rollout, "c", "models:/m@champion", "1", "2")
    assert made == plans.Plan("c", "m", "1", "2")


def test_the_gate_of_the_spec_has_every_field_of_the_policy() -> None:
    assert list(RetrainGate.model_fields) == [one.name for one in dataclasses.fields(GatePolicy)]
    assert set(get_args(loop.Metric)) == {*metrics.HIGHER, *metrics.LOWER} - {"f1", "r2"}, "those are no means of rows"


def test_the_defaults_of_replicas_are_those_of_scaling() -> None:
    assert specs.scaling(Replicas()) == Scaling()
    assert specs.scaling(None) is None


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_workers_share_replicas_out_and_none_is_lost(workers: int) -> None:
    parts = [residing.shared(Scaling(2, 7), place, workers) for place in range(workers)]
    assert (sum(part.least for part in parts), sum(part.most for part in parts)) == (2, 7)
    assert all(part.least <= part.most for part in parts)
    assert max(part.most for part in parts) - min(part.most for part in parts) <= 1


def test_more_workers_than_replicas_are_refused() -> None:
    text = "server: {workers: 3}\nendpoints: {c: {model: ./m.onnx, replicas: {max: 2}}}"
    with pytest.raises(UsageError, match="c has 2 replicas at most, and each of the 3 workers has some of its own"):
        specs.plan(parse(text, "f.yaml").spec, home(Path("/tmp/h")))


def test_what_the_spec_says_reaches_the_rooms() -> None:
    text = """
server:
  {host: 0.0.0.0, port: 1, grpc_port: 2, workers: 3, tls: {cert: a, key: b, client_ca: d}, max_body_mb: 0.5, grace: 1m}
record: true
access: {required: true, unseen: 403}
endpoints:
  c:
    model: models:/m@live
    access: {scopes: ["scoring:predict", "c:*"]}
    runtime: onnx
    trust_pickle: true
    batching: {max_rows: 1, max_wait_ms: 2, queue_rows: 3}
    deadline_ms: 4
    threads: 5
    record: {sample: 0.5, exclude: [a], hash: [b], salt: s, days: 6, window_seconds: 7}
"""
    spec = parse(text, "f.yaml").spec
    made = specs.plan(spec, home(Path("/nowhere")))
    assert made.settings == ServerSettings(
        "0.0.0.0", 1, 2**19, 60.0, workers=3, tls_cert="a", tls_key="b", tls_client_ca="d", grpc_port=2
    )  # fmt: skip
    (target,) = made.targets
    assert (target.name, target.uri, target.runtime, target.trust_pickle) == ("c", "models:/m@live", "onnx", True)
    assert target.settings == EndpointSettings(max_rows=1, max_wait_ms=2, queue_rows=3, deadline_ms=4, threads=5)
    kept = made.kept["c"]
    assert (kept.days, kept.window_seconds) == (6, 7)
    assert (kept.keeping.sample, kept.keeping.exclude, kept.keeping.hashed, kept.keeping.salt) == (
        0.5, {"a"}, {"b"}, "s",
    )  # fmt: skip
    assert made.record
    assert made.access == Rules({"c": (Scope("scoring", "predict"), Scope("c", "*"))}, hides=False)


ASKED = "access: {required: true}\n"
PUBLIC = "server: {host: 192.0.2.1}\n"
ENDPOINT = "endpoints: {c: {model: ./m.onnx}}"
SCOPED = "endpoints: {c: {model: ./m.onnx, access: {scopes: ['t:predict']}}}"


@pytest.mark.parametrize(
    ("text", "access", "insecure", "on"),
    [
        (ENDPOINT, None, False, False),
        (ENDPOINT, True, False, True),
        (ASKED + ENDPOINT, None, False, True),
        (ASKED + ENDPOINT, False, False, False),
        (PUBLIC + ASKED + ENDPOINT, None, False, True),
        (PUBLIC + ENDPOINT, True, False, True),
        (PUBLIC + ENDPOINT, None, True, False),
        (SCOPED, True, False, True),
        (SCOPED, False, False, False),
    ],
)
def test_whether_callers_are_asked(text: str, access: bool | None, insecure: bool, on: bool) -> None:
    found = specs.rules(parse(text, "f.yaml").spec, access, insecure)
    assert (found is not None) is on


@pytest.mark.parametrize(
    ("text", "access", "insecure", "says"),
    [
        (PUBLIC + ENDPOINT, None, False, "nobody is asked who they are: give access: {required: true}"),
        (PUBLIC + ENDPOINT, False, False, "or --insecure where something in front"),
        (PUBLIC + ASKED + ENDPOINT, False, False, "nobody is asked who they are"),
        (ASKED + ENDPOINT, None, True, "leave one of them out"),
        (SCOPED, None, False, "endpoints.c.access.scopes says who may call"),
    ],
)
def test_what_contradicts_itself_is_refused(text: str, access: bool | None, insecure: bool, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        specs.rules(parse(text, "f.yaml").spec, access, insecure)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("scopes", "says"),
    [("[churn]", "expected ENDPOINT:ACTION"), ("['c:predict:3']", "names a version; versions stand in the keys")],
)
def test_scopes_that_are_none_name_their_line(scopes: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f"endpoints:\n  c:\n    model: m\n    access: {{scopes: {scopes}}}", "f.yaml")
    assert str(caught.value).startswith("f.yaml:4: endpoints.c.access.scopes")
    assert says in str(caught.value)


def test_the_loop_gets_what_the_spec_says() -> None:
    rollout = Rollout(
        strategy="blue-green",
        gates=(RolloutGate(name="error_rate", margin=0.1), RolloutGate(name="latency_p50")),
        keep_seconds=9,
        sticky="header:user",
    )
    made = specs_rollout.plan(rollout, "c", "models:/m@live", "1", "2")
    assert made.gates == (gate("error_rate", 0.1), gate("latency_p50"))
    assert (made.strategy, made.keep_seconds, made.sticky, made.alias) == ("blue-green", 9, "header:user", "live")
    assert specs.contract(Monitor(false_alarms=2, window=60, days=3)) == Contract(2, 3, window_ms=60_000)
    asked = specs_retrain.triggers_of(Retrain(pipeline="p", on=("drift", "data: 7d", "cron: 0 3 * * 1"), cooldown=60))
    assert asked == Triggers(drift=True, cron="0 3 * * 1", age_ms=7 * 86_400_000, cooldown_ms=60_000)


def test_the_course_of_an_endpoint() -> None:
    usual = specs_course.course("c", Endpoint(model="models:/m@live"))
    assert (usual.endpoint, usual.model, usual.alias, usual.pipeline) == ("c", "m", "live", None)
    assert (usual.monitored, usual.triggers) == (Monitored(), Triggers())
    assert plans.Plan("c", "m", "1", "2", **usual.rollout) == plans.Plan("c", "m", "1", "2")
    labels = Labels(delay=2, metric="roc_auc", margin=0.1, alpha=0.2)
    rule = AlertRule(name="Age", watch="drift.psi.in.age", above=0.3, asks="drift")
    alerts = Alerts(webhook="http://x", rules=(rule,))
    monitor = Monitor(window=60, least_rows=7, score="p", labels=labels, alerts=alerts)
    retrain = Retrain(pipeline="p.py", on=("performance",))
    made = specs_course.course("c", Endpoint(model="models:/m@live", monitor=monitor, retrain=retrain))
    wanted = Monitored(
        Contract(window_ms=60_000, least_rows=7),
        2000,
        Performance("roc_auc", 0.1, 0.2, score="p"),
        (Rule("Age", "drift.psi.in.age", above=0.3, asks="drift"),),
        "http://x",
    )
    assert (made.monitored, made.pipeline, made.triggers) == (wanted, Path("p.py"), Triggers(performance=True))
    weekly = specs_course.monitored(Monitor(season="week")).season
    assert (weekly.window_ms, weekly.season_ms) == (3_600_000, 604_800_000)
    with pytest.raises(UsageError, match="the loop needs models:/NAME@ALIAS"):
        specs_course.course("c", Endpoint(model="./m.onnx"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{model: ''}", 'f.yaml:1: endpoints.c.model is ""; give models:/'),
        ("{model: 's3://b/m'}", "f.yaml:1: endpoints.c.model: s3://b/m: s3:/ is not read here"),
        ("{model: ./m.onnx, runtime: tensors}", "f.yaml:1: endpoints.c.runtime is 'tensors'; installed are "),
        ("{model: ./m.onnx, rollout: {steps: [5]}}", "f.yaml:1: endpoints.c.rollout needs a model that has other"),
        ("{model: 'models:/m/3', retrain: {pipeline: p.py}}", "f.yaml:1: endpoints.c.retrain needs a model that has"),
        ("{model: ./m.onnx, monitor: {false_alarms: 9999}}", "f.yaml:1: endpoints.c.monitor: 9999 false alarms in 90"),
        ("{model: ./m.onnx, monitor: {season: day, window: 18000}}", "endpoints.c.monitor: windows of "),
        ("{model: ./m.onnx, monitor: {season: day, window: 86400}}", "endpoints.c.monitor: windows of "),
        ("{model: ./m.onnx, monitor: {season: week}, record: {days: 6}}", "endpoints.c.record.days is 6, and a season"),
        ("{model: 'models:/m@a', rollout: {steps: [9, 5]}}", "f.yaml:1: endpoints.c.rollout: rollout of 'c': steps"),
        ("{model: 'models:/m@a', rollout: {gates: [speed]}}", "f.yaml:1: endpoints.c.rollout: gate 'speed' is not"),
        ("{model: 'models:/m@a', retrain: {pipeline: p.py, on: [rain]}}", "endpoints.c.retrain: retrain.on has 'rain'"),
        ("{model: 'models:/m@a', retrain: {pipeline: p.py, gate: {metric: luck}}}", "f.yaml:1: endpoints.c.retrain: "),
        ("{model: 'models:/m@a', retrain: {pipeline: p.py}}", "endpoints.c.retrain.pipeline is p.py, which is no file"),
        ("{model: ./none.onnx}", "f.yaml:1: endpoints.c.model is ./none.onnx, and there is no such file or folder"),
        ("{model: a.b:C, explain: {background: ./no.csv}}", "endpoints.c.explain.background is ./no.csv, which is no"),
        ("{upstream: {urls: ['http://x']}, env: isolated}", "endpoints.c.env is decided by the servers that run"),
    ],
)  # fmt: skip
def test_what_the_rooms_refuse_names_the_line_too(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        specs.check(specs.read(write(tmp_path, f"endpoints: {{c: {text}}}")))
    assert said in str(caught.value)


def test_who_serves_nothing_needs_no_files_of_models(tmp_path: Path) -> None:
    specs.check_loop(specs.read(write(tmp_path, "endpoints: {c: {model: ./none.onnx}}")))
    file = specs.read(write(tmp_path, "endpoints: {c: {model: 'models:/m@a', retrain: {pipeline: p.py}}}"))
    with pytest.raises(UsageError, match=r"endpoints\.c\.retrain\.pipeline is p\.py, which is no file"):
        specs.check_loop(file)


def test_only_what_was_written_down_is_checked(tmp_path: Path) -> None:
    file = specs.read(write(tmp_path, "endpoints: {c: {model: 'models:/m@a', retrain: null}}"))
    assert specs.loops(file) == []
    specs.check(file)


def test_recording_follows_the_libraries_unless_the_spec_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none, yes, no = (
        parse(f"record: {word}\nendpoints: {{c: {{model: m}}}}", "f.yaml").spec for word in ("null", "true", "false")
    )
    assert (specs.records(none), specs.records(yes), specs.records(no)) == (True, True, False)
    monkeypatch.setattr(watching, "has_state", lambda: False)
    monkeypatch.setattr(watching, "has_events", lambda: False)
    assert (specs.records(none), specs.records(no)) == (False, False)
    with pytest.raises(MissingExtra, match=r"pip install 'fairlead\[events,registry\]'"):
        specs.records(yes)
    with pytest.raises(MissingExtra, match=r"endpoints.c.record needs a library: pip install 'fairlead\[events\]'"):
        specs.read(write(tmp_path, "endpoints: {c: {model: m, record: {days: 1}}}"))


def test_a_part_that_needs_records_and_a_spec_that_keeps_none(tmp_path: Path) -> None:
    path = write(tmp_path, "record: false\nendpoints: {c: {model: m, monitor: {days: 30}}}")
    with pytest.raises(UsageError, match=r"f.yaml:2: endpoints.c.monitor needs what is recorded, and the spec says"):
        specs.read(path)


def test_flags_and_environment_win_over_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse("tracking: http://a\nstate: sqlite:///b\nevents: s3://c\nendpoints: {c: {model: m}}", "f").spec
    for name in ("FAIRLEAD_TRACKING", "FAIRLEAD_STATE", "FAIRLEAD_EVENTS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    found = specs.home(spec, tmp_path)
    assert (found.tracking, found.state, found.events) == ("http://a", "sqlite:///b", "s3://c")
    monkeypatch.setenv("FAIRLEAD_STATE", "sqlite:///d")
    assert (specs.home(spec, tmp_path, "http://e").tracking, specs.home(spec, tmp_path).state) == (
        "http://e", "sqlite:///d",
    )  # fmt: skip


def test_a_first_spec_has_every_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert specs.champions(home(tmp_path)) == specs.EXAMPLE, "nothing is registered, and nothing is made"
    registry = MemoryRegistry()
    monkeypatch.setattr(stores, "registry", lambda _home: registry)
    (tmp_path / "mlflow.db").touch()
    assert specs.champions(home(tmp_path)) == specs.EXAMPLE
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    for name in ("churn", "my model!", "draft"):
        registry.log(tmp_path / "model", name)
    for name in ("churn", "my model!"):
        registry.set_alias(name, "champion", "1")
    assert specs.champions(home(tmp_path)) == {
        "endpoints": {
            "churn": {"model": "models:/churn@champion"},
            "my-model": {"model": "models:/my model!@champion"},
        }
    }
