"""The ``fairlead`` command: a group is imported when it is used, so that ``--help`` stays quick."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ.setdefault("TYPER_USE_RICH", "0")  # plain help: rich would cost more than the rest of the start

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from fairlead import __version__
from fairlead.cli.output import DONE, FAILED, INTERRUPTED, WRONG_USE, as_ours
from fairlead.contracts.errors import FairleadError, UsageError
from fairlead.kit import plugins
from fairlead.kit.sentences import masked

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (
        "fairlead.cli.demo:demo",
        "Train, register, convert, check, serve and call a model: the main job, on real data.",
    ),
    "serve": ("fairlead.cli.serve:serve", "Serve models: from a registry, a file, a folder or a Python class."),
    "stream": ("fairlead.cli.stream:stream", "Answer the messages of NATS, Redis, RabbitMQ or Kafka with a model."),
    "init": (
        "fairlead.cli.init:app",
        "Print a spec file for what is registered here, with comments; or a workflow: ci.",
    ),
    "up": ("fairlead.cli.up:up", "Serve every endpoint of a spec file, and what belongs to it."),
    "keys": ("fairlead.cli.keys:app", "Keys of callers: create, list, revoke, rotate."),
    "status": ("fairlead.cli.status:status", "Say what runs here: endpoints, versions, rollouts, alerts."),
    "predict": ("fairlead.cli.predict:predict", "Send rows of a CSV or JSON file to a running endpoint."),
    "batch": ("fairlead.cli.batch:batch", "Score a table, of any size: CSV, JSON Lines or Parquet in and out."),
    "models": ("fairlead.cli.models:app", "The model registry: log, list, show, alias, rollback, history, trust."),
    "package": (
        "fairlead.cli.package:app",
        "A model as an image, or in another format, compared with it: image, export.",
    ),
    "monitor": (
        "fairlead.cli.monitor:app",
        "What a recorded endpoint does, and whether it drifts, who copies it: report, drift, abuse.",
    ),
    "cascade": ("fairlead.cli.cascade:app", "When the answer of a cheap language model is kept: fit, show."),
    "feedback": ("fairlead.cli.feedback:feedback", "Keep what turned out to be true: labels from a CSV file."),
    "timeline": ("fairlead.cli.timeline:timeline", "What happened to an endpoint, with the numbers it stood on."),
    "verdict": ("fairlead.cli.verdict:app", "What gates, rollouts and data tests decided: show, list."),
    "rollout": (
        "fairlead.cli.rollout:app",
        "Move traffic to another version: start, watch, pause, resume, promote, abort, list.",
    ),
    "retrain": ("fairlead.cli.retrain:retrain", "Test the data, train a challenger, gate it, propose its rollout."),
    "runs": ("fairlead.cli.runs:app", "Retrainings, and what became of them: list, show."),
    "console": (
        "fairlead.cli.console:console",
        "Show the stores in a browser: endpoints, drift, rollouts, timeline, language models, access.",
    ),
    "controller": ("fairlead.cli.controller:controller", "Carry rollouts on, watch endpoints, retrain when asked."),
    "render": (
        "fairlead.cli.render:app",
        "A spec as the configuration of something else: envoy, compose, kubernetes, kserve, prometheus, grafana.",
    ),
    "deploy": (
        "fairlead.cli.deploy:deploy",
        "Apply objects to a cluster, wait until ready, else put back what was there.",
    ),
    "plan": ("fairlead.cli.plan:app", "What a load needs, by Little's law: replicas."),
    "chaos": ("fairlead.cli.chaos:chaos", "Inject faults into an endpoint of a test server, and see what callers see."),
    "guard": ("fairlead.cli.guard:app", "Guardrails of language models: check a text, train the classifier."),
    "audit": ("fairlead.cli.audit:app", "Who did what to which endpoint, and the proof of it: tail, verify, export."),
    "ledger": (
        "fairlead.cli.ledger:app",
        "What language models cost, and what is left of budgets: show, statement, reset, rebuild.",
    ),
    "bench": ("fairlead.cli.bench:app", "What a running server does under load: llm."),
    "doctor": ("fairlead.cli.doctor:doctor", "Check a model, a running endpoint or an image before users do."),
}
"""Command name to where it lives and what the list of commands says about it."""


class _Lazy(TyperGroup):
    """Knows every command by name and help line; imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, name: str) -> Any:  # noqa: ARG002 - typer's signature
        if name not in COMMANDS:
            return None
        target, _ = COMMANDS[name]
        found = plugins.attribute(target)
        if isinstance(found, typer.Typer):
            return get_command(found)
        single = typer.Typer(add_completion=False)
        single.command(name)(found)
        return get_command(single)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(
    cls=_Lazy,
    name="fairlead",
    help="From a trained model to a live, watched endpoint that stays good.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"fairlead {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """From a trained model to a live, watched endpoint that stays good."""


def main() -> None:
    """Run the command line. Errors are one sentence and an exit code, never a traceback without --debug."""
    sys.path.append(str(Path.cwd()))  # pkg.module:Predictor beside the user; last, so that it shadows no library
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = get_command(app).main(arguments, prog_name="fairlead", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else DONE)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except TyperException as error:
        show = getattr(error, "show", None)  # the message with its usage line
        if show:
            show()
        if _wants_json(arguments):
            _document(UsageError(getattr(error, "message", "") or str(error)))
        sys.exit(WRONG_USE)
    except BrokenPipeError:
        _abandon_output()
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the exit code says it, and the user is told
        if debug:
            sys.stderr.write(masked(traceback.format_exc()))
        sys.exit(_tell(error, as_json=_wants_json(arguments)))


def _wants_json(arguments: list[str]) -> bool:
    """Whether the answer is for a machine. `predict --json FILE` is its input; there it is `--format json`."""
    if arguments[:1] == ["predict"]:
        return "--format=json" in arguments or ("json" in arguments and "--format" in arguments)
    return "--json" in arguments


def _tell(error: Exception, *, as_json: bool) -> int:
    """One sentence on standard error (one JSON document on standard output with --json) and the exit code."""
    known = as_ours(error)
    sys.stderr.write(f"fairlead: {known}\n")
    if as_json:
        _document(known)
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_output()
    return WRONG_USE if isinstance(known, UsageError) else FAILED


def _document(error: FairleadError) -> None:
    """The error on standard output, where that still takes anything."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps({"error": str(error), "code": error.code}) + "\n")


def _abandon_output() -> None:
    """Standard output takes no more (a closed pipe, a full disk): what is left in its buffer goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
