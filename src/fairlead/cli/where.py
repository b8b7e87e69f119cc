"""Where things are kept, for commands that look at what `fairlead up` serves: as its spec says."""

from __future__ import annotations

from pathlib import Path

from fairlead.kit.config import Home
from fairlead.kit.config import home as read_home
from fairlead.kit.spec import read as files
from fairlead.wiring import specs

USUAL = Path("fairlead.yaml")


def spec_path(spec: Path | None = None) -> Path | None:
    """The file that was named, or the usual one where it lies here."""
    return spec or (USUAL if USUAL.is_file() else None)


def home_of(home: Path | None, tracking: str | None = None) -> Home:
    """Flags first, then the environment, then the spec that lies here, then what is embedded. Raises UsageError."""
    path = spec_path()
    return specs.home(files.read(path).spec, home, tracking) if path else read_home(home, tracking)
