"""Settings: frozen, typed, checked once. The only file that reads the environment.

Every variable and its meaning is in ``docs/configuration.md``.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairlead.contracts.errors import UsageError
from fairlead.kit.secrets import expanded
from fairlead.kit.sentences import without_secrets

_KNOWN = (
    "FAIRLEAD_HOME",
    "FAIRLEAD_TRACKING",
    "FAIRLEAD_STATE",
    "FAIRLEAD_EVENTS",
    "FAIRLEAD_DATA",
    "FAIRLEAD_WEIGHTS",
    "FAIRLEAD_CUDA",
    "FAIRLEAD_API_KEY",
    "FAIRLEAD_REQUIRE_SERVICES",
)


@dataclass(frozen=True, slots=True, repr=False)
class Home:
    """Where embedded state lives, and where the registry and the state store are.

    ``root``: the folder of everything embedded (default ``.fairlead``).
    ``tracking``: MLflow tracking URI.  ``state``: SQLAlchemy URL of the state store.
    ``user``: the name written into histories.  ``events``: folder or URL of the prediction events.
    ``weights``: folder of models by content, which is read and never written; None: there is none.
    URLs may hold passwords: whatever shows one takes it through ``without_secrets``.
    """

    root: Path
    tracking: str
    state: str
    user: str
    events: str = ""
    weights: Path | None = None

    def __repr__(self) -> str:
        told = {"root": self.root, "user": self.user}
        told |= {name: without_secrets(getattr(self, name)) for name in ("tracking", "state", "events")}
        return f"Home({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    @property
    def cache(self) -> Path:
        """Downloaded artefacts, by content."""
        return self.root / "cache"

    @property
    def trust(self) -> Path:
        """Decisions about files that are in no registry."""
        return self.root / "trust.json"


@dataclass(frozen=True, slots=True)
class Located:
    """What a spec says about where things are; empty: nothing."""

    tracking: str = ""
    state: str = ""
    events: str = ""


def home(
    root: Path | None = None,
    tracking: str | None = None,
    environ: Mapping[str, str] | None = None,
    located: Located | None = None,
) -> Home:
    """Settings from flags first, then ``FAIRLEAD_*``, then the spec, then embedded defaults.

    ``${env:NAME}`` in a URL, wherever it comes from, stands for the secret that it refers to.

    Raises UsageError for an unknown ``FAIRLEAD_*`` variable, naming the nearest known one, and for a home that is a
    file.
    """
    environ = variables() if environ is None else environ
    located = located or Located()
    _refuse_unknown(environ)
    base = Path(root or environ.get("FAIRLEAD_HOME") or ".fairlead").expanduser().absolute()
    if base.is_file():
        raise UsageError(f"the home {base} is a file; name a folder with --home or FAIRLEAD_HOME")
    weights = environ.get("FAIRLEAD_WEIGHTS")
    events = expanded(environ.get("FAIRLEAD_EVENTS") or located.events) or str(base / "events")
    return Home(
        root=base,
        tracking=expanded(
            tracking or environ.get("FAIRLEAD_TRACKING") or located.tracking or environ.get("MLFLOW_TRACKING_URI") or ""
        )
        or f"sqlite:///{base / 'mlflow.db'}",
        state=expanded(environ.get("FAIRLEAD_STATE") or located.state) or f"sqlite:///{base / 'state.db'}",
        user=environ.get("USER") or environ.get("LOGNAME") or _login_name(),
        events=events if "://" in events else str(Path(events).expanduser().absolute()),
        weights=Path(weights).expanduser().absolute() if weights else None,
    )


def cuda(environ: Mapping[str, str] | None = None) -> str:
    """The CUDA that the libraries here were built for, ``12.4``: ``FAIRLEAD_CUDA``; empty where there is no GPU."""
    return (variables() if environ is None else environ).get("FAIRLEAD_CUDA", "")


def build_epoch(environ: Mapping[str, str] | None = None) -> int | None:
    """Unix time, seconds, of everything that is built: ``SOURCE_DATE_EPOCH``, as reproducible-builds.org has it.

    None where it is not set. Raises UsageError for what is no such time.
    """
    text = (variables() if environ is None else environ).get("SOURCE_DATE_EPOCH", "")
    if text and not (text.isascii() and text.isdecimal()):
        raise UsageError(f"SOURCE_DATE_EPOCH is {text[:40]!r}; expected whole seconds since 1970")
    return int(text) if text else None


def api_key(environ: Mapping[str, str] | None = None) -> str:
    """The key that clients of this machine show a server: ``FAIRLEAD_API_KEY``; empty for none."""
    return (variables() if environ is None else environ).get("FAIRLEAD_API_KEY", "")


def variables() -> Mapping[str, str]:
    """The environment."""
    return os.environ


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    for name in environ:
        if name.startswith("FAIRLEAD_") and name not in _KNOWN:
            raise UsageError(f"unknown environment variable {name}{nearest(name, _KNOWN)}")


def nearest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """``; did you mean X?`` or nothing: the end of a sentence about an unknown name."""
    import difflib  # noqa: PLC0415 - only on the way to an error

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
