"""``fairlead models``: the registry and the history of its aliases."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fairlead.cli.output import AsJson, HomeOption, TrackingOption, emit, table
from fairlead.cli.times import utc
from fairlead.cli.where import home_of
from fairlead.contracts.errors import UsageError
from fairlead.contracts.stores import AliasMove, Version
from fairlead.contracts.types import Signature, TensorSpec
from fairlead.kit.config import Home
from fairlead.package import manifest, registry, risks, signature, sources
from fairlead.package.formats import identify
from fairlead.package.pack import Packed, pack_file
from fairlead.package.trust import TAG as TRUST_TAG
from fairlead.wiring import auditing, stores

app = typer.Typer(
    name="models",
    help="The model registry: log, list, show, alias, rollback, history, trust.",
    no_args_is_help=True,
    add_completion=False,
)

Why = Annotated[str, typer.Option("--why", help="The reason; it is kept with your name and the time.")]


@app.command("list")
def list_models(home: HomeOption = None, tracking: TrackingOption = None, as_json: AsJson = False) -> None:
    """Every registered model with its newest version and its aliases."""
    store = stores.registry(home_of(home, tracking))
    rows: list[dict[str, Any]] = []
    for name in store.models():
        found = store.versions(name)
        aliases = {alias: version.version for version in found for alias in version.aliases}
        newest = found[0] if found else None
        rows.append(
            {
                "model": name,
                "latest": newest.version if newest else "",
                "aliases": aliases,
                "versions": len(found),
                "created": utc(newest.created_ms) if newest else "",
            }
        )
    shown = [{**row, "aliases": _aliases(row["aliases"])} for row in rows]
    emit(rows, table(shown, empty="no models are registered; log one with `fairlead models log`"), as_json)


@app.command()
def show(
    model: Annotated[str, typer.Argument(metavar="NAME[@ALIAS|/VERSION]", help="A model, or one version of it.")],
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """The versions of a model; or one version: who vouched for it, its runtime and why, its signature."""
    settings = home_of(home, tracking)
    store = stores.registry(settings)
    bare = model.removeprefix("models:/")
    if "@" not in bare and "/" not in bare:
        found = store.versions(bare)
        rows = [_version_row(version) for version in found]
        emit([asdict(version) for version in found], table(rows, empty=f"{bare} has no versions"), as_json)
        return
    version = registry.find(store, bare)
    path, digest = sources.download(version, store, settings)
    packaged = manifest.read(path)
    described = packaged.signature if packaged else signature.from_mlmodel(identify(path).details.get("mlmodel", {}))
    facts: dict[str, Any] = {
        **asdict(version),
        "digest": digest,
        "runtime": packaged.runtime if packaged else "",
        "why": packaged.why if packaged else "",
        "signature": signature.to_dict(described) if described else None,
    }
    emit(facts, _version_text(version, facts, described), as_json)


@app.command()
def alias(
    model: Annotated[str, typer.Argument(metavar="NAME")],
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="For example champion.")],
    version: Annotated[str, typer.Argument(metavar="VERSION")],
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="VERSION", help="Move only from this version ('': from none).")
    ] = None,
    why: Why = "set on the command line",
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Point an alias at a version, by compare-and-set."""
    settings = home_of(home, tracking)
    _moved(settings, "alias", stores.moves(settings).move(model, name, version, expected=expect, why=why), as_json)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(metavar="NAME")],
    name: Annotated[str, typer.Option("--alias", help="The alias to move back.")] = "champion",
    why: Why = "rolled back on the command line",
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Undo the newest move of an alias that was not undone yet; again: the one before it."""
    settings = home_of(home, tracking)
    _moved(settings, "rollback", stores.moves(settings).rollback(model, name, why), as_json)


@app.command()
def history(
    model: Annotated[str, typer.Argument(metavar="NAME")],
    name: Annotated[str | None, typer.Option("--alias", help="Only this alias.")] = None,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Every move of the model's aliases, oldest first, those made outside Fairlead too."""
    lines = stores.moves(home_of(home, tracking)).history(model, name)
    rows = [
        {
            "when": utc(line.at_ms),
            "alias": line.alias,
            "from": line.before or "-",
            "to": line.after or "-",
            "who": line.who or "?",
            "why": line.why,
        }
        for line in lines
    ]
    emit([asdict(line) for line in lines], table(rows, empty=f"no alias of {model} was ever moved"), as_json)


@app.command()
def trust(
    model: Annotated[str, typer.Argument(metavar="NAME@ALIAS|NAME/VERSION|FILE", help="What you vouch for.")],
    why: Annotated[str, typer.Option("--why", help="The reason (needed, but for --revoke).")] = "",
    revoke: Annotated[bool, typer.Option("--revoke", help="Take the decision back.")] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Vouch for a model's bytes, so that its pickle or its code may run. Other bytes are refused again."""
    settings = home_of(home, tracking)
    if not revoke and not why.strip():
        raise UsageError('trusting a model needs a reason; add --why "..."')
    found = sources.fetch(sources.handle(model), lambda: stores.registry(settings), settings)
    book = stores.trust_book(settings)
    made = book.revoke(found) if revoke else book.record(found, why)
    what = "models.distrust" if revoke else "models.trust"
    auditing.act(settings, what, model=found.source.handle, sha256=made.digest, why=why)
    act = "no longer trusted" if revoke else "trusted"
    emit(
        {"revoked": revoke, **asdict(made)},
        f"{found.source.handle} is {act}: SHA-256 {made.digest[:12]}, {made.who}, {made.why}",
        as_json,
    )


@app.command()
def log(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="An .onnx, skops, XGBoost, LightGBM, .tflite or PyTorch file, a pickle, an MLflow folder.",
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="The registered model; it is made when it does not exist.")],
    example: Annotated[
        Path | None, typer.Option("--example", metavar="CSV", help="Held-out rows: input example and parity.")
    ] = None,
    alias_name: Annotated[str, typer.Option("--alias", help="Point this alias at the new version.")] = "",
    why: Why = "",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Unpickle PATH: it can run any code. Kept as your decision.")
    ] = False,
    home: HomeOption = None,
    tracking: TrackingOption = None,
    as_json: AsJson = False,
) -> None:
    """Package a model, convert and compare it where that is possible, and register it as a new version."""
    if alias_name:
        registry.check_alias(alias_name)
    settings = home_of(home, tracking)
    store = stores.registry(settings)
    reason = why or f"logged from {path.name}"
    with tempfile.TemporaryDirectory() as scratch:
        packed = (
            None if path.is_dir() else _packed(settings, path, Path(scratch) / "model", name, example, trust_pickle)
        )
        if packed is None and example is not None:
            raise UsageError(f"{path} is packaged already; --example goes with a model file")
        made = registry.publish(store, packed.folder if packed else path, name, description=why)
    if trust_pickle and (packed is None or packed.manifest.runtime in ("sklearn", "torch")):
        version = sources.parse(f"models:/{made.model}/{made.version}")
        stores.trust_book(settings).record(sources.fetch(version, lambda: store, settings), reason)
    if alias_name:
        stores.moves(settings).move(name, alias_name, made.version, why=reason)
        made = replace(made, aliases=(alias_name,))
    report = packed.report if packed else None
    chosen = packed.manifest.why if packed else ""
    pointer = f"@{alias_name}" if alias_name else f"/{made.version}"
    auditing.act(settings, "models.log", version=made.version, model=name, alias=alias_name, why=reason)
    lines = [f"{name} version {made.version}" + (f" is {alias_name}" if alias_name else ""), chosen]
    lines += [report.as_table() if report else "", f"fairlead serve models:/{name}{pointer}"]
    data = {**asdict(made), "alias": alias_name, "why": chosen, "parity": report.as_dict() if report else None}
    emit(data, "\n".join(line for line in lines if line), as_json)


def _packed(settings: Home, path: Path, into: Path, name: str, example: Path | None, trust_pickle: bool) -> Packed:
    """Package one file; a pickle only when somebody vouched for it, now or earlier."""
    found = sources.fetch(sources.parse(str(path)), lambda: stores.registry(settings), settings)
    trusted = trust_pickle or stores.trust_book(settings).admit(found, risks.of_file(path)) is not None
    types = risks.skops_types(path) if trusted and identify(path).name == "skops" else ()
    return pack_file(path, into, name=name, example=example, trusted=trusted, trusted_types=types)


def _moved(settings: Home, what: str, line: AliasMove, as_json: bool) -> None:
    about = {"model": line.model, "alias": line.alias, "before": line.before or "", "why": line.why}
    auditing.act(settings, f"models.{what}", version=line.after or "", **about)
    came = f"from version {line.before} " if line.before else ""
    emit(asdict(line), f"{line.model}@{line.alias} moved {came}to version {line.after} ({line.why})", as_json)


def _aliases(pointing: dict[str, str]) -> str:
    return ", ".join(f"{alias} -> {version}" for alias, version in sorted(pointing.items()))


def _version_row(version: Version) -> dict[str, str]:
    return {
        "version": version.version,
        "aliases": ", ".join(version.aliases),
        "created": utc(version.created_ms),
        "run": version.run_id,
        "trusted": "yes" if TRUST_TAG in version.tags else "",
        "description": version.description,
    }


def _version_text(version: Version, facts: dict[str, Any], described: Signature | None) -> str:
    rows = {**_version_row(version), "runtime": facts["runtime"], "why": facts["why"], "source": version.source}
    lines = [f"{version.model}", *(f"  {key:<12}{value}" for key, value in rows.items() if value)]
    lines.append(f"  {'sha-256':<12}{facts['digest']}")
    for title, specs in (("inputs", described.inputs), ("outputs", described.outputs)) if described else ():
        lines += [f"  {title}", *(f"    {_spec(spec)}" for spec in specs)]
    return "\n".join(lines)


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name}  {spec.datatype}  {list(spec.shape)}" + ("" if spec.required else "  optional")
