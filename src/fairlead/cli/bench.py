"""``fairlead bench``: what a running server does under load."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import DONE, FAILED, AsJson, emit, table
from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.kit.secrets import secret
from fairlead.plan import arrivals, latency
from fairlead.wiring.llm.driving import Load, drive

app = typer.Typer(
    name="bench", help="What a running server does under load: llm.", no_args_is_help=True, add_completion=False
)


@app.callback()
def root() -> None:
    """What a running server does under load."""


@app.command()
def llm(
    url: Annotated[str, typer.Option("--url", help="Server of OpenAI's API, up to and with /v1.")] = (
        "http://127.0.0.1:8080/v1"
    ),
    model: Annotated[str, typer.Option("--model", help="Name of the model there.")] = "chat",
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="When requests come: Azure's LLM trace (CSV), Mooncake's (JSON Lines), a folder."),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.001, help="Play the trace so many times as fast.")] = 1.0,
    requests: Annotated[int, typer.Option("-n", "--requests", min=1, help="How many.")] = 100,
    rate: Annotated[
        float, typer.Option("--rate", min=0.0, help="Without a trace: requests a second; 0: all at once.")
    ] = 0.0,
    prompt: Annotated[int, typer.Option("--prompt", min=1, help="Without a trace: words of a prompt.")] = 256,
    output: Annotated[int, typer.Option("--output", min=1, help="Without a trace: tokens of an answer.")] = 64,
    concurrency: Annotated[int, typer.Option("--concurrency", min=0, help="Requests at once; 0: any number.")] = 0,
    objective: Annotated[
        list[str] | None,
        typer.Option("--slo", metavar="NAME:MS", help="For goodput: ttft, tpot or e2el in milliseconds; repeatable."),
    ] = None,
    ignore_end: Annotated[
        bool, typer.Option("--ignore-eos", help="Answers as long as the trace says (vLLM, Fairlead).")
    ] = False,
    token: Annotated[str, typer.Option("--token", help="Where the key is: env:NAME or file:PATH.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="The same prompts each time.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Time to first token, time a token, throughput, and goodput under objectives. Exit 1 when a request failed."""
    objectives = dict(map(_objective, objective or []))
    if trace is not None:
        due = arrivals.read(trace, requests, speed)
    else:
        due = arrivals.poisson(rate, requests, prompt, output, seed)
    credential = secret(token).reveal() if token else ""
    load = Load(url.rstrip("/"), model, credential, concurrency, ignore_end=ignore_end)
    sent = asyncio.run(drive(load, due, seed))
    found = latency.report(sent, objectives)
    emit(found, _text(found), as_json)
    raise typer.Exit(DONE if not found["errors"] else FAILED)


def _objective(text: str) -> tuple[str, float]:
    name, _, value = text.partition(":")
    if name not in latency.OBJECTIVES:
        raise UsageError(
            f"--slo {text!r}: {name!r} is no objective{nearest(name, latency.OBJECTIVES)}; "
            f"known are {', '.join(latency.OBJECTIVES)}"
        )
    try:
        milliseconds = float(value)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < float("inf"):
        raise UsageError(f"--slo {text!r}: expected {name}:MILLISECONDS, above 0")
    return name, milliseconds / 1000


def _text(found: dict[str, Any]) -> str:
    rows = [
        {"milliseconds": name.upper(), **{key: f"{value * 1000:,.1f}" for key, value in found[name].items()}}
        for name in ("ttft", "tpot", "itl", "e2el")
        if found[name]
    ]
    made, all_ = found["output_tokens_per_second"], found["total_tokens_per_second"]
    lines = [
        f"{found['completed']:,} of {found['requests']:,} answered in {found['seconds']:.1f} s",
        f"{found['requests_per_second']:.2f} requests/s, {made:,.1f} output tokens/s, {all_:,.1f} tokens/s",
    ]
    if found["objectives"]:
        lines.append(f"goodput {found['goodput']:.2f} requests/s ({found['goodput_share']:.1%} keep every objective)")
    for what, count in sorted(found["errors"].items()):
        said = found["said"][what]
        lines.append(f"{count:,} failed: {what}" + (f" ({said})" if said else ""))
    return "\n".join([*lines, table(rows)] if rows else lines)
