"""``fairlead render envoy``: what is printed, written and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SPEC = """server: {port: 8080}
endpoints:
  fraud:
    upstream: {urls: ["http://10.0.0.5:8000", "http://10.0.0.6:8000"]}
    resilience: {retries: 2%s}
"""


def test_a_spec_becomes_a_file_for_envoy(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC % "")
    told = run("render", "envoy")
    assert told.returncode == 0, told.stderr
    assert "num_retries: 2  # fairlead.yaml:5: endpoints.fraud.resilience.retries" in told.stdout
    assert (
        json.loads(run("render", "envoy", "--json").stdout)["static_resources"]["clusters"][1]["name"]
        == "upstream_fraud"
    )
    written = run("render", "envoy", "fairlead.yaml", "-o", "envoy.yaml")
    assert "envoy --mode validate -c envoy.yaml" in written.stdout
    assert (tmp_path / "envoy.yaml").read_text() == told.stdout


def test_what_cannot_be_said_or_read_is_one_sentence(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC % ", hedge: {}")
    told = run("render", "envoy")
    assert told.returncode == 2
    assert "fairlead.yaml:5: endpoints.fraud.resilience.hedge needs a measured quantile" in told.stderr
    assert run("render", "envoy", "other.yaml").returncode == 2
    told = run("render", "envoy", "--listen", "10000")
    assert told.returncode == 2
    assert "--listen is '10000'; expected HOST:PORT" in told.stderr
    assert "Traceback" not in told.stderr


CLUSTER = """project: shop
tracking: http://mlflow:5000
state: postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead
record: false
access: {required: true}
deploy: {image: "registry.example.com/churn:%s"}
endpoints:
  churn:
    model: models:/churn@champion
    replicas: {min: 1, max: 4}
    deploy: {concurrency: 12}
"""


def test_a_spec_becomes_a_folder_for_a_cluster(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(CLUSTER % 4)
    told = run("render", "kubernetes", "-o", "k8s", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["files"] == ["churn.yaml", "common.yaml"]
    (tmp_path / "k8s" / "mine.yaml").write_text("a: 1\n")
    (tmp_path / "fairlead.yaml").write_text((CLUSTER % 5).replace("  churn:", "  lapse:"))
    assert run("render", "kubernetes", "-o", "k8s").returncode == 0
    assert sorted(one.name for one in (tmp_path / "k8s").iterdir()) == ["common.yaml", "lapse.yaml", "mine.yaml"]
    kinds = {one["kind"] for one in json.loads(run("render", "kubernetes", "--json").stdout)["items"]}
    assert {"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} <= kinds
    (tmp_path / "k8s" / "common.yaml").write_text("a: 1\n")
    told = run("render", "kubernetes", "-o", "k8s")
    assert told.returncode == 2
    assert "common.yaml is there and was not rendered" in told.stderr


def test_what_a_cluster_cannot_do_is_one_sentence(run: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(CLUSTER % "latest")
    for kind in ("kubernetes", "kserve"):
        told = run("render", kind)
        assert told.returncode == 2
        assert "fairlead.yaml:6: deploy.image is 'registry.example.com/churn:latest'" in told.stderr
        assert run("render", kind, "--image", "registry.example.com/churn:4").returncode == 0
    told = run("render", "kubernetes", "--scaler", "kedda", "--image", "a:4")
    assert "--scaler is 'kedda'; did you mean keda?; expected hpa or keda" in told.stderr
    assert run("render", "kserve", "--image", "a:4", "-o", "out.yaml").returncode == 0
    assert "kind: InferenceService" in (tmp_path / "out.yaml").read_text()


def test_replicas_are_planned(run: Any, tmp_path: Path) -> None:
    words = ("plan", "replicas", "--rate", "50", "--seconds", "0.4", "--concurrency", "4")
    told = run(*words)
    assert "7 replicas, with 30% beside the load" in told.stdout
    found = json.loads(run(*words, "--headroom", "0", "--max-wait", "0.02", "--json").stdout)
    assert found["floor"] == 5.0
    assert found["wait"]["p99"] <= 0.02
    assert found["replicas"] > 5
    told = run("plan", "replicas", "--rate", "50", "--seconds", "0.4")
    assert told.returncode == 2
    assert "--concurrency is missing" in told.stderr
    load = {"goodput_share": 1.0, "objectives": {"e2el": 1.0}, "e2el": {"mean": 0.5}, "requests_per_second": 8.0}
    for name, more in (
        ("light", {}),
        ("heavy", {"requests_per_second": 40.0}),
        ("late", {"requests_per_second": 80.0, "goodput_share": 0.4}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(load | more))
    files = [word for name in ("light", "heavy", "late") for word in ("--measured", f"{name}.json")]
    found = json.loads(run("plan", "replicas", "--rate", "100", *files, "--json").stdout)
    assert (found["concurrency"], found["seconds"]) == (20.0, 0.5)  # the heaviest that kept its objectives
    told = run("plan", "replicas", "--rate", "1", "--measured", "late.json")
    assert told.returncode == 2
    assert "in none of 1 files 99% of the requests keep the objectives" in told.stderr
    told = run("plan", "replicas", "--rate", "1", "--measured", "gone.json")
    assert "cannot read gone.json: No such file" in told.stderr
    (tmp_path / "fairlead.yaml").write_text("endpoints: {}\n")
    told = run("plan", "replicas", "--rate", "1", "--measured", "fairlead.yaml")
    assert "fairlead.yaml is not what `fairlead bench llm --json` prints" in told.stderr
