"""Where a model comes from: read what the user typed, and bring the bytes here.

``models:/NAME@ALIAS``, ``models:/NAME/3``, ``models:/m-ID``, ``runs:/ID/PATH``, a file or folder, ``pkg.module:Class``,
``pkg.module:Class@FILE`` (a class with the file or folder that it loads), ``oip+http://HOST:PORT/NAME`` (a model on
another server: there are no bytes to bring). ``#sha256:HEX`` behind any of them names the very bytes.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from fairlead.contracts.errors import DigestMismatch, ModelError, RegistryUnreachable, SourceNotFound, UsageError
from fairlead.contracts.stores import Registry, Version
from fairlead.kit import upstreams
from fairlead.kit.config import Home
from fairlead.kit.files import locked
from fairlead.package.formats import identify
from fairlead.package.manifest import tree_digest

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)=(.*)", re.DOTALL)
_MARKED = re.compile(r"(models|runs|file):/|\.{0,2}/")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_WEIGHED = re.compile(rf"({_CLASS.pattern})@(.+)", re.DOTALL)
_LOGGED = re.compile(r"m-[0-9a-f]{32}")
_PINNED = re.compile(r"(.+)#sha256:([0-9a-f]{64})", re.DOTALL)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


class Kind(StrEnum):
    """What a source names."""

    ALIAS = "alias"
    VERSION = "version"
    LOGGED = "logged"
    RUN = "run"
    PATH = "path"
    CLASS = "class"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed model URI. ``name``: what an endpoint is called when nobody chose a name.

    ``model``: registered model.  ``pointer``: alias or version.  ``path``: file or folder.  ``target``: the class.
    ``digest``: SHA-256 (hex) that the bytes must have, as ``manifest.tree_digest`` counts; empty: any.
    """

    kind: Kind
    uri: str
    name: str
    model: str = ""
    pointer: str = ""
    path: Path | None = None
    target: str = ""
    digest: str = ""

    @property
    def registered(self) -> bool:
        """True for a version in the registry, named by number or by alias."""
        return self.kind in (Kind.ALIAS, Kind.VERSION)

    @property
    def subject(self) -> str:
        """What a decision is about: the same for every way to write one path."""
        return str(self.path) if self.path else self.handle

    @property
    def handle(self) -> str:
        """How commands name it: ``NAME@ALIAS``, ``NAME/VERSION``, or the URI."""
        return f"{self.model}{'@' if self.kind is Kind.ALIAS else '/'}{self.pointer}" if self.registered else self.uri


@dataclass(frozen=True, slots=True)
class Found:
    """A source whose bytes are here. ``path`` is None (and ``digest`` empty) for a class that loads no file."""

    source: Source
    path: Path | None = None
    digest: str = ""
    version: Version | None = None


def split_name(text: str) -> tuple[str, str]:
    """``NAME=URI`` in its two parts; the name is empty when there is none. Raises UsageError for ``NAME=``."""
    match = _NAMED.fullmatch(text)
    if match is None:
        name, equals, uri = text.partition(
            "="
        )  # a name that cannot be used is refused as one, not looked for as a file
        return (name, uri) if equals and name and "/" not in name and _MARKED.match(uri) else ("", text)
    if not match[2]:
        raise UsageError(f"{text!r} names an endpoint and no model; give {match[1]}=URI")
    return match[1], match[2]


def parse(uri: str) -> Source:
    """Read a model URI. Touches nothing. Raises UsageError that says how to write it."""
    if not uri.strip() or "\0" in uri:
        raise UsageError("the model is empty; give a file, a folder, models:/NAME@ALIAS or package.module:Class")
    if match := _PINNED.fullmatch(uri):
        return _pinned(parse(match[1]), match[2])
    if uri.startswith("models:/"):
        return _registered(uri)
    if uri.startswith("runs:/"):
        return _run(uri)
    if uri.startswith("file:/"):
        return _path(uri, uri.removeprefix("file:").removeprefix("//"))
    if uri.startswith(upstreams.MARK):
        return Source(Kind.UPSTREAM, uri, upstreams.parse(uri).model)
    if match := _SCHEME.match(uri):
        raise UsageError(f"{uri}: {match[1]}:/ is not read here; fetch the model to a file and give its path")
    if _CLASS.fullmatch(uri):
        return Source(Kind.CLASS, uri, _kebab(uri.rpartition(":")[2]), target=uri)
    if match := _WEIGHED.fullmatch(uri):
        target = match[1]
        path = _path(uri, match[3]).path
        return Source(Kind.CLASS, uri, _kebab(target.rpartition(":")[2]), target=target, path=path)
    return _path(uri, uri)


def handle(text: str) -> Source:
    """What commands take: ``NAME@ALIAS`` and ``NAME/VERSION`` without the scheme too, where no such file exists."""
    bare = re.fullmatch(r"(?![.~/])([^/:]+)(@[^/@:]+|/\d+)", text)
    if bare and not Path(text).exists():
        return parse(f"models:/{text}")
    return parse(text)


def fetch(source: Source, registry: Callable[[], Registry], home: Home) -> Found:
    """Resolve ``source`` and bring its bytes here. ``registry`` is asked for only when it is needed.

    Raises SourceNotFound, RegistryUnreachable, DigestMismatch for other bytes than the source names, and ModelError
    when there is no room for the download.
    """
    found = _fetch(source, registry, home)
    if source.digest and found.digest != source.digest:
        forget(found, home)
        raise DigestMismatch(
            f"{source.uri} has the SHA-256 {found.digest[:12]}, and {source.digest[:12]} was asked for; somebody "
            "changed it: name the digest that it should have, or restore the bytes"
        )
    return found


def _fetch(source: Source, registry: Callable[[], Registry], home: Home) -> Found:
    if source.kind is Kind.UPSTREAM:
        raise UsageError(f"{source.uri} is a model on another server; only `fairlead serve` and `fairlead up` ask it")
    if source.kind is Kind.CLASS and source.path is None:
        return Found(source)
    if source.path is not None:
        path = _existing(source)
        if source.kind is Kind.CLASS:
            return Found(source, path, tree_digest(path))
        identify(path)  # a folder that is no model is not worth hashing: it may be somebody's home
        return Found(source, path, tree_digest(path))
    if not source.registered:
        path, digest = _cached(source.uri, source.kind is not Kind.RUN, registry(), home)
        return Found(source, path, digest)
    store = registry()
    version = (store.resolve if source.kind is Kind.ALIAS else store.version)(source.model, source.pointer)
    path, digest = download(version, store, home)
    return Found(source, path, digest, version)


def download(version: Version, registry: Registry, home: Home) -> tuple[Path, str]:
    """The artefact of a registered version, from the cache where it lies there unchanged, and its digest."""
    uri = f"models:/{version.model}/{version.version}"
    return _cached(uri, True, registry, home, f"{version.source}\n{version.created_ms}")


def forget(found: Found, home: Home) -> None:
    """Drop what the download of ``found`` left in the cache, so that the next one fetches: its bytes are wrong."""
    if found.path is not None and found.source.path is None and found.path.is_relative_to(home.cache):
        key = found.path.relative_to(home.cache).parts[0]
        with locked(home.cache / f"{key}.lock"):
            shutil.rmtree(home.cache / key, ignore_errors=True)


def _cached(uri: str, fixed: bool, registry: Registry, home: Home, identity: str = "") -> tuple[Path, str]:
    """``fixed``: what the URI names never changes, so bytes that are whole need not be fetched again."""
    key = hashlib.sha256("\n".join((home.tracking, uri, identity)).encode()).hexdigest()[:32]
    slot = home.cache / key
    try:
        with locked(home.cache / f"{key}.lock"):
            if fixed and (kept := _kept(slot)):
                return kept
            return _download(uri, slot, registry, fixed=fixed)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space, or name another folder with --home" if full else "check the folder of --home"
        raise ModelError(f"{uri} cannot be stored under {home.cache}: {error.strerror or error}; {remedy}") from error


def _kept(slot: Path) -> tuple[Path, str] | None:
    """What an earlier download left, if every byte is still there."""
    try:
        name, digest = (slot / "digest").read_text().split("\n")
    except (OSError, ValueError):
        return None
    path = slot / "artefact" / name
    return (path, digest) if path.exists() and tree_digest(path) == digest else None


def _download(uri: str, slot: Path, registry: Registry, *, fixed: bool) -> tuple[Path, str]:
    """Into a folder beside the slot, which takes the slot's place when it is whole.

    Bytes that lie there already stay where they are: another process may be loading them. Of what never changes
    (``fixed``) a download that broke, or was killed, goes on where the registry can.
    """
    fresh = slot.with_name(f".fetching-{slot.name}")
    if not fixed:
        shutil.rmtree(fresh, ignore_errors=True)
    into = fresh / "artefact"
    try:
        into.mkdir(parents=True, exist_ok=True)
        path = registry.download(uri, into)
        for compiled in [*into.rglob("__pycache__")]:  # Python would run these without looking at their source
            shutil.rmtree(compiled)
        digest = tree_digest(path)
        relative = path.relative_to(into)
        kept = _kept(slot)
        if kept and kept == (slot / "artefact" / relative, digest):
            shutil.rmtree(fresh)
            return kept
        (fresh / "digest").write_text(f"{relative}\n{digest}")
        shutil.rmtree(slot, ignore_errors=True)
        fresh.rename(slot)
    except RegistryUnreachable:
        if not fixed or not any(one.is_file() for one in fresh.rglob("*")):
            shutil.rmtree(fresh, ignore_errors=True)
        raise
    except Exception:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return slot / "artefact" / relative, digest


def _pinned(source: Source, digest: str) -> Source:
    if source.kind is Kind.UPSTREAM or (source.kind is Kind.CLASS and source.path is None):
        raise UsageError(f"{source.uri} has no bytes here, so no digest can be asked of them; leave #sha256: out")
    return replace(source, digest=digest)


def _registered(uri: str) -> Source:
    rest = uri.removeprefix("models:/").strip("/")
    if _LOGGED.fullmatch(rest):
        return Source(Kind.LOGGED, uri, rest)
    model, at, alias = rest.rpartition("@")
    if at and model and alias and "/" not in rest:
        return Source(Kind.ALIAS, uri, model, model=model, pointer=alias)
    model, slash, version = rest.partition("/")
    if slash and version.isascii() and version.isdigit():
        return Source(Kind.VERSION, uri, model, model=model, pointer=version)
    name = (model or "NAME").partition("@")[0] or "NAME"
    raise UsageError(
        f"{uri} does not say which version: name a version or an alias, models:/{name}/1 or models:/{name}@champion"
    )


def _run(uri: str) -> Source:
    run, _, path = uri.removeprefix("runs:/").strip("/").partition("/")
    if not run or not path or ".." in PurePosixPath(path).parts:
        raise UsageError(
            f"{uri} does not name a model of a run; write runs:/RUN_ID/PATH, for example runs:/{run or 'ID'}/model"
        )
    return Source(Kind.RUN, uri, PurePosixPath(path).stem)


def _path(uri: str, text: str) -> Source:
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{uri}: {error}; write the path without ~") from error
    return Source(Kind.PATH, uri, path.stem or path.absolute().stem, path=path.absolute())


def _existing(source: Source) -> Path:
    path = source.path
    if path is None or not path.exists():
        bare = "/" not in source.uri and "." not in source.uri
        hint = f"; a registered model is models:/{source.uri}@champion" if bare else ""
        raise SourceNotFound(f"{source.uri}: no such file or folder{hint}")
    return path


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
