"""Facts to HTML, by the templates of this folder. Everything that comes from outside is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fairlead import __version__
from fairlead.console import drawing
from fairlead.console.asked import RANGES
from fairlead.console.assets import Assets
from fairlead.console.formats import FILTERS
from fairlead.console.sequences import measured, sequences, unit_of

FOLDER: Final = Path(__file__).parent / "templates"


class Templates:
    """``render`` is for one thread at a time. A name that a template misspells is an error, not an empty text."""

    def __init__(self, assets: Assets, folder: Path = FOLDER) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.do"],
        )
        self._environment.filters.update(FILTERS)
        self._environment.filters["part"] = part
        self._environment.filters["measured"] = measured
        self._environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "allow_nan": False}
        drawn = {name: getattr(drawing, name) for name in ("spark", "split", "histogram", "interval", "bars")}
        self._environment.globals.update(
            drawn, sequences=sequences, unit_of=unit_of, asset=assets.url, version=__version__, ranges=tuple(RANGES)
        )

    def render(self, template: str, context: Mapping[str, Any]) -> bytes:
        return self._environment.get_template(template).render(context).encode()


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")
