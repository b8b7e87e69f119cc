"""``fairlead render prometheus`` and ``fairlead render grafana``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from fairlead.cli.output import AsJson, emit
from fairlead.kit import files
from fairlead.wiring import specs
from fairlead.wiring.grafana import dashboard
from fairlead.wiring.prometheus import rules


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice: rule files are read by people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's own name
        return True


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
    text = yaml.dump(made, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    _told(made, text, output, as_json, "" if scrape else "; promtool check rules {}")


def grafana(spec: Spec = Path("fairlead.yaml"), output: Output = None, as_json: AsJson = False) -> None:
    """A dashboard of Grafana over the metrics of the spec's endpoints: operations and models apart."""
    made = dashboard.dashboard(specs.read(spec))
    _told(made, json.dumps(made, indent=2) + "\n", output, as_json, "; Grafana: Dashboards, New, Import")


def _told(made: dict[str, Any], text: str, output: Path | None, as_json: bool, then: str) -> None:
    if output is None:
        emit(made, text, as_json)
        return
    files.write_whole(output, text.encode())
    emit({"output": str(output)}, f"wrote {output}{then.format(output)}", as_json)
