"""``fairlead render prometheus`` and ``fairlead render grafana``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fairlead.cli.output import AsJson, deliver
from fairlead.kit import noted_yaml
from fairlead.wiring import specs
from fairlead.wiring.grafana import dashboard
from fairlead.wiring.prometheus import rules

Spec = Annotated[Path, typer.Argument(help="The spec file.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="File to write.", show_default="print")]


def prometheus(
    spec: Spec = Path("fairlead.yaml"),
    output: Output = None,
    scrape: Annotated[bool, typer.Option("--scrape", help="The jobs for scrape_configs instead of the rules.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rules of Prometheus: objectives with alerts on their error budgets, and what a server says of itself."""
    file = specs.read(spec)
    made = rules.scrape(file) if scrape else rules.document(file)
    deliver(made, noted_yaml.text(made), output, as_json, "" if scrape else f"promtool check rules {output}")


def grafana(spec: Spec = Path("fairlead.yaml"), output: Output = None, as_json: AsJson = False) -> None:
    """A dashboard of Grafana over the metrics of the spec's endpoints: operations and models apart."""
    made = dashboard.dashboard(specs.read(spec))
    deliver(made, json.dumps(made, indent=2) + "\n", output, as_json, "Grafana: Dashboards, New, Import")
