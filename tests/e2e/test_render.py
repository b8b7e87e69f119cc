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
