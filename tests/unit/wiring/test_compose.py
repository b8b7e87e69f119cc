"""What a spec becomes for Compose, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.contracts.errors import UsageError
from fairlead.kit import noted_yaml
from fairlead.kit.spec.read import SpecFile, parse
from fairlead.wiring.compose import asked, stack
from fairlead.wiring.compose.asked import PINNED, Rendering

GOLDEN = Path(__file__).parent / "compose_golden.yaml"
ROOT = Path(__file__).parents[3]
WHOLE = """project: Shop 1
tracking: http://mlflow:5000
state: postgresql://fairlead:${env:DB_PASSWORD}@db/fairlead
events: s3://bucket/events
redis: redis://:${env:REDIS_PASSWORD}@redis:6379/0
server: {host: 0.0.0.0, port: 8443, grpc_port: 8081, grace: 40s, tls: {cert: server.pem, key: server.key}}
access: {required: true}
endpoints:
  churn:
    model: models:/churn-classifier@champion
    retrain: {pipeline: pipelines/churn.py, on: [drift]}
    slo: {availability: 0.999}
  file:
    model: ./models/m.onnx
    providers: [cuda]
  chat:
    llm: {engine: openai, model: gpt, base_url: "https://api.example.com/v1", token: env:OPENAI_KEY}
  other:
    upstream: {urls: ["http://10.0.0.5:8000"], token: file:/run/secrets/upstream}
"""
LEAST = """server: {host: 0.0.0.0}
access: {required: true}
endpoints:
  churn: {model: "models:/churn@champion"}
"""


def spec(text: str) -> SpecFile:
    return parse(text, "fairlead.yaml")


def rendered(text: str, **how: Any) -> dict[str, Any]:
    found: dict[str, Any] = noted_yaml.plain(stack.stack(spec(text), Rendering(**how)))
    return found


def test_paths_lead_from_the_folder_of_the_file_to_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "s.yaml").write_text(WHOLE)
    for name in ("server.pem", "server.key", "models/m.onnx", "pipelines/churn.py", "secrets/upstream"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    for output in ("compose.yaml", "deploy/compose/compose.yaml", str(tmp_path / "else" / "compose.yaml")):
        words = ["render", "compose", "specs/s.yaml", "--image", "m:1", "-o", output]
        subprocess.run([sys.executable, "-m", "fairlead", *words], check=True, capture_output=True)
        made = yaml.safe_load(Path(output).read_text())
        sources = [one.split(":")[0] for one in made["services"]["server"]["volumes"]]
        named = [one for one in sources if one.startswith((".", "/"))]
        named += [one["file"] for many in ("configs", "secrets") for one in made[many].values() if "file" in one]
        assert len(named) == 6
        assert all((Path(output).parent / one).exists() for one in named), named
        assert made["services"]["server"]["volumes"][1].endswith(":ro")


def test_the_whole_of_it_is_what_was_reviewed() -> None:
    assert stack.render(spec(WHOLE), Rendering("registry.example.com/churn:4")) == GOLDEN.read_text()


def test_the_text_says_the_same_as_the_tree() -> None:
    for text in (WHOLE, LEAST):
        assert yaml.safe_load(stack.render(spec(text), Rendering())) == rendered(text)


@pytest.mark.parametrize("text", [WHOLE, LEAST], ids=["whole", "least"])
def test_it_keeps_the_schema_of_compose(text: str, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    path.write_text(stack.render(spec(text), Rendering()))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    path.write_text(path.read_text().replace("healthcheck:", "healthchek:", 1))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_file_with_an_odd_name_is_mounted_or_refused() -> None:
    text = LEAST.replace("models:/churn@champion", "./a$HOME.onnx")
    assert rendered(text)["services"]["server"]["volumes"][-1] == "./a$$HOME.onnx:/srv/a$$HOME.onnx:ro"
    with pytest.raises(UsageError, match=r"endpoints\.churn\.model.* no colon"):
        rendered(LEAST.replace("models:/churn@champion", "./a:b.onnx"))


def test_only_what_the_spec_needs_is_there() -> None:
    found = rendered(LEAST, prometheus=False)
    assert list(found["services"]) == ["server"]
    assert list(found["volumes"]) == ["home"]
    assert "secrets" not in found
    assert list(rendered(LEAST)["services"]) == ["server", "prometheus"]
    elsewhere = LEAST + "state: postgresql://u:${env:P}@db.example.com/f\nredis: redis://10.0.0.5:6379/0\n"
    assert list(rendered(elsewhere)["services"]) == ["server", "prometheus"]


def test_no_secret_stands_in_it_and_every_one_is_asked_for() -> None:
    server = rendered(WHOLE)["services"]["server"]
    for name in ("DB_PASSWORD", "REDIS_PASSWORD", "OPENAI_KEY"):
        assert server["environment"][name] == f"${{{name}:?}}"
    assert rendered(WHOLE)["services"]["db"]["environment"]["POSTGRES_PASSWORD"] == "${DB_PASSWORD:?}"
    assert server["secrets"] == ["upstream"]
    assert rendered(WHOLE)["secrets"]["metrics_key"] == {"environment": "FAIRLEAD_METRICS_KEY"}


def test_a_secret_of_a_file_inside_a_url_is_mounted() -> None:
    text = LEAST + 'state: "postgresql://u:${file:/run/secrets/db}@db.example.com/f"\n'
    found = rendered(text, prometheus=False)
    assert found["services"]["server"]["secrets"] == ["db"]
    assert list(found["services"]) == ["server"]
    with pytest.raises(UsageError, match=r"state is a secret in a file, which compose puts under /run/secrets/"):
        rendered(text.replace("/run/secrets/db", "/etc/db"))


def test_the_server_is_hardened_and_gets_time_to_end() -> None:
    server = rendered(WHOLE)["services"]["server"]
    assert (server["read_only"], server["user"], server["cap_drop"]) == (True, "10001:10001", ["ALL"])
    assert server["stop_grace_period"] == "45s"
    assert server["depends_on"] == {name: {"condition": "service_healthy"} for name in ("db", "redis", "mlflow")}
    assert "HTTPSConnection('127.0.0.1', 8443" in server["healthcheck"]["test"][-1]
    assert server["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_without_keys_only_this_machine_reaches_it() -> None:
    found = rendered(LEAST.replace("required: true", "required: false"), insecure=True)
    assert found["services"]["server"]["ports"] == ["127.0.0.1:8080:8080"]
    assert found["services"]["server"]["command"][-1] == "--insecure"


def test_prometheus_asks_as_the_server_is() -> None:
    job = yaml.safe_load(rendered(WHOLE)["configs"]["prometheus"]["content"])["scrape_configs"][0]
    assert job["static_configs"] == [{"targets": ["server:8443"]}]
    assert job["scheme"] == "https"
    assert job["authorization"] == {"credentials_file": "/run/secrets/metrics_key"}


MODEL = 'model: "models:/churn@champion"'


def test_objectives_are_watched_by_prometheus_or_refused() -> None:
    found = rendered(WHOLE)
    assert yaml.safe_load(found["configs"]["prometheus"]["content"])["rule_files"] == ["/etc/prometheus/fairlead.yml"]
    rules = found["configs"]["rules"]["content"]
    assert "fairlead-availability-churn" in rules
    assert "$labels" not in rules.replace("$$", "")  # compose replaces nothing in it
    with pytest.raises(UsageError, match=r"fairlead\.yaml:12: endpoints\.churn\.slo is watched by Prometheus"):
        rendered(WHOLE, prometheus=False)


REFUSED = {
    "server.host": (LEAST.replace("0.0.0.0", "127.0.0.1"), "nothing outside of the container"),
    "server.port": (LEAST.replace("host: 0.0.0.0", "host: 0.0.0.0, port: 0"), "is 0"),
    "access.required": (LEAST.replace("required: true", "required: false"), "--insecure"),
    "console.port": (LEAST + "console: {port: 8082}\n", "does not open"),
    "state": (LEAST + "state: sqlite:///state.db\n", "gone with the container"),
    "tracking": (LEAST + "tracking: http://127.0.0.1:5000\n", "the container is|is the container"),
    "events": (LEAST + "events: ./events\n", "gone with the container"),
    "redis": (LEAST + "redis: rediss://redis:6379/0\n", "speaks rediss"),
    "endpoints.churn.model": (LEAST.replace('"models:/churn@champion"', "shop.models:Churn"), "a class of yours"),
    "endpoints.churn.explain.background": (
        LEAST.replace('@champion"', '@champion", explain: {background: ../rows.csv}'),
        "outside of the folder",
    ),
    "endpoints.churn.llm.engine": (LEAST.replace(MODEL, "llm: {engine: vllm, model: x}"), "not in the image"),
    "endpoints.churn.providers": (
        LEAST.replace('@champion"', '@champion", runtime: sklearn, providers: [cuda]'),
        "runs on the CPU",
    ),
    "endpoints.churn.upstream.token": (
        LEAST.replace(MODEL, 'upstream: {urls: ["http://10.0.0.5:8000"], token: file:/etc/token}'),
        "/run/secrets/",
    ),
}  # fmt: skip


@pytest.mark.parametrize("where", REFUSED)
def test_what_cannot_be_is_refused_with_its_field_and_line(where: str) -> None:
    text, why = REFUSED[where]
    with pytest.raises(UsageError, match=rf"fairlead\.yaml:\d+: {re.escape(where)}\b.*(?:{why})"):
        stack.stack(spec(text), Rendering())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            "state: postgresql://fairlead:hunter2@db/fairlead",
            r"has a password in it that is no variable; write \$\{env:NAME\}",
        ),
        (
            "state: postgresql://fairlead:${file:/run/secrets/db}@db/fairlead",
            r"has a password in it that is no variable",
        ),
        ("state: postgresql://db/fairlead", "names no user"),
        ("state: postgresql://u:${env:P}@db:5433/f", "has the port 5433"),
        ("redis: redis://someone:${env:P}@redis:6379/0", "names the user"),
        ("tracking: http://mlflow", "has the port 80"),
        ("tracking: https://mlflow:5000", "speaks https"),
        ("tracking: http://server:5000", "another service"),
        ("state: postgresql://fairlead:${env:P}@home/fairlead", "another service or volume"),
        ("tracking: http://mlflow:x", "a port that is no number"),
    ],
)
def test_a_service_that_cannot_be_is_refused_and_no_password_is_shown(line: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as told:
        stack.stack(spec(f"{LEAST}{line}\n"), Rendering())
    assert "hunter2" not in str(told.value)


def test_certificates_of_callers_keep_prometheus_out() -> None:
    text = LEAST.replace("host: 0.0.0.0", "host: 0.0.0.0, tls: {cert: a.pem, client_ca: ca.pem}")
    with pytest.raises(UsageError, match="--no-prometheus"):
        stack.stack(spec(text), Rendering())
    stack.stack(spec(text), Rendering(prometheus=False))


def test_images_are_pinned() -> None:
    assert rendered(WHOLE, pins=asked.pins(("redis=r.example.com/redis:7.2.5",)))["services"]["redis"][
        "image"
    ].endswith("7.2.5")
    for wrong in ("redis", "nginx=nginx:1", "redis=redis", "redis=redis:latest", "redis=r.example.com:5000/redis"):
        with pytest.raises(UsageError, match="--pin"):
            asked.pins((wrong,))
    assert asked.exact("redis@sha256:" + "a" * 64, "--image")
    for image in PINNED.values():
        asked.exact(image, "ours")


def test_the_server_of_mlflow_is_as_new_as_its_client() -> None:
    pinned = re.search(r"^mlflow-skinny==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert PINNED["mlflow"].endswith(f":v{pinned[1]}")
