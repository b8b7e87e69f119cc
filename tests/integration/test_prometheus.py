"""Real Prometheus and Alertmanager over a real server: every expression is answered, and an alert reaches a webhook."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from fairlead.kit.spec.read import parse
from fairlead.wiring.grafana.dashboard import dashboard
from fairlead.wiring.prometheus import rules
from services import Service

NEEDED = ("prometheus", "promtool", "prometheus-alertmanager")
ABSENT = [name for name in NEEDED if shutil.which(name) is None]
if ABSENT and os.environ.get("FAIRLEAD_REQUIRE_SERVICES") == "1":
    raise RuntimeError(f"not installed: {', '.join(ABSENT)}; apt-get install prometheus prometheus-alertmanager")
pytestmark = pytest.mark.skipif(bool(ABSENT), reason=f"not installed: {', '.join(ABSENT)}")

SPEC = """
endpoints:
  double:
    model: %s
    slo: {availability: 0.999, latency_ms: 100}
  chat:
    llm: {engine: echo}
    slo: {availability: 0.99, latency_ms: 500}
    cache: {exact: 1h}
    guardrails: {input: [pii]}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def until(look: Callable[[], Any], seconds: float = 60.0) -> Any:
    ends = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.2)
    return found


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Its address, and the bodies that came."""
    bodies: list[dict[str, Any]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def running(tmp_path: Path, webhook: Any) -> Iterator[tuple[int, int, Any, Service]]:
    """Ports of the server and of Prometheus, the spec, and the server itself."""
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])], "double",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])], [two],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(made, str(tmp_path / "double.onnx"))
    served, prometheus, manager = free_port(), free_port(), free_port()
    text = SPEC % "./double.onnx" + f"server: {{port: {served}}}\n"
    (tmp_path / "fairlead.yaml").write_text(text)
    file = parse(text, "fairlead.yaml")
    made = rules.document(file)
    for group in made["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule.pop("for", None)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(made))
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(tmp_path / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]},
        **rules.scrape(file),
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    receiver = {"name": "hook", "webhook_configs": [{"url": webhook[0]}]}
    route = {"receiver": "hook", "group_by": ["alertname", "endpoint"], "group_wait": "1s", "group_interval": "1s"}
    (tmp_path / "manager.yml").write_text(yaml.safe_dump({"route": route, "receivers": [receiver]}))
    home = {"FAIRLEAD_HOME": str(tmp_path / "home")}
    words = [sys.executable, "-m", "fairlead", "up", "fairlead.yaml"]
    server = Service(words, served, tmp_path, home)
    others = [
        Service(
            ["prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
             f"--web.listen-address=127.0.0.1:{prometheus}"], prometheus, tmp_path,
        ),
        Service(
            ["prometheus-alertmanager", "--config.file=manager.yml", f"--storage.path={tmp_path / 'am'}",
             f"--web.listen-address=127.0.0.1:{manager}", "--cluster.listen-address="], manager, tmp_path,
        ),
    ]  # fmt: skip
    for one in (server, *others):
        one.start()
    yield served, prometheus, file, server
    for one in (*others, server):
        one.stop()


def asked(port: int, expr: str) -> list[Any]:
    answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expr}, timeout=10)
    body = answer.json()
    assert body["status"] == "success", (expr, body)
    found: list[Any] = body["data"]["result"]
    return found


def load(port: int, times: int = 20) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
        for number in range(times):
            assert client.post("/v2/models/double/infer", json=body).status_code == 200
            client.post("/v2/models/double/infer", json={"inputs": []})
            said = {"model": "chat", "messages": [{"role": "user", "content": f"mail a{number}@example.org to me"}]}
            assert client.post("/v1/chat/completions", json=said).status_code == 200


def told(text: str) -> str:
    """An expression as Grafana sends it, all endpoints chosen."""
    return text.replace("$__rate_interval", "1m").replace("$endpoint", ".*").replace("$version", ".*")


def test_every_expression_is_answered_and_an_alert_reaches_the_webhook(
    running: Any, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    served, prometheus, file, server = running
    load(served)
    until(lambda: asked(prometheus, 'fairlead_requests_total{endpoint="double",code="ok"} > 0'))
    time.sleep(2)
    load(served)
    time.sleep(2)
    empty = [
        target["expr"]
        for panel in dashboard(file)["panels"]
        for target in panel.get("targets", ())
        if not asked(prometheus, told(target["expr"]))
    ]
    # What has not happened has no series: nothing was shed, nothing failed, no event was dropped, nothing is degraded.
    quiet = ("fairlead_shed_total", "model_failed", "fairlead_events_dropped", "fairlead_degraded", "_events_kept_")
    assert [expr for expr in empty if not any(name in expr for name in quiet)] == []
    burned = asked(prometheus, "endpoint:fairlead_availability_bad:ratio_rate5m")
    assert {one["metric"]["endpoint"] for one in burned} == {"double", "chat"}
    assert all(float(one["value"][1]) == 0.0 for one in burned)  # the callers' errors are no failures
    assert not asked(prometheus, 'ALERTS{alertstate="firing"}')

    server.stop()  # nothing is ready any more, and Prometheus sees nothing
    bodies = webhook[1]
    until(lambda: [one for one in bodies if one["status"] == "firing"], 120)
    first = next(one for one in bodies if one["status"] == "firing")
    assert first["commonLabels"]["alertname"] == "FairleadEndpointDown"
    assert "answers no calls" in first["commonAnnotations"]["summary"]
    server.start()
    until(lambda: [one for one in bodies if one["status"] == "resolved"], 120)


SERIES = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - series: 'fairlead_requests_total{{endpoint="double",version="1",code="ok"}}'
        values: '0+{ok}x400'
      - series: 'fairlead_requests_total{{endpoint="double",version="1",code="model_failed"}}'
        values: '{bad}'
      - series: 'fairlead_endpoint_ready{{endpoint="double",version="1"}}'
        values: '1x400'
    alert_rule_test:
      - eval_time: {at}
        alertname: FairleadAvailabilityBudgetBurn
        exp_alerts: {alerts}
"""


def fires(tmp_path: Path, bad: str, at: str, windows: list[str], ok: int = 600) -> None:
    """``bad``: failures a minute as promtool writes series.  ``windows``: of the alerts that fire then."""
    file = parse("endpoints: {double: {model: ./a.onnx, slo: {availability: 0.999}}}", "fairlead.yaml")
    made = rules.document(file)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(made))
    alerts = [rule for group in made["groups"] for rule in group["rules"] if "BudgetBurn" in rule.get("alert", "")]
    expected = [
        {"exp_labels": one["labels"]} for one in alerts if one["labels"]["window"] in windows
    ]  # annotations hold the value: it is left to Prometheus
    for group in made["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(made))
    (tmp_path / "test.yml").write_text(SERIES.format(bad=bad, at=at, ok=ok, alerts=json.dumps(expected)))
    ran = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_fast_burn_wakes_somebody_and_ends_soon_after(tmp_path: Path) -> None:
    # An hour of 2 % failures: 20 times the budget. The short window ends the alert 5 minutes after the last of them.
    fires(tmp_path, "0+0x60 0+12x60 720+0x200", "119m", ["1h", "6h", "1d", "3d"])
    fires(tmp_path, "0+0x60 0+12x60 720+0x200", "130m", ["6h", "1d", "3d"])


def test_a_budget_that_is_spent_as_planned_wakes_nobody(tmp_path: Path) -> None:
    fires(tmp_path, "0+0.3x400", "390m", [])  # half as fast as allowed


def test_a_blip_and_a_quiet_endpoint_wake_nobody(tmp_path: Path) -> None:
    fires(tmp_path, "0+0x60 0+30x1 30+0x300", "70m", [])  # 30 failures in a minute, of 36,000 calls an hour
    fires(tmp_path, "0+0x60 1+0x300", "63m", [], ok=1)  # one failure, of 60 calls: under 10 bad ones


def test_promtool_takes_the_rules_of_every_kind_of_endpoint(tmp_path: Path) -> None:
    file = parse(SPEC % "./a.onnx", "fairlead.yaml")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules.document(file)))
    ran = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", "rules.yml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
