"""Which files an input is, in which order, and of which form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fairlead.contracts.errors import SourceNotFound, UsageError
from fairlead.contracts.tables import Found, Tables
from fairlead.serve.jobs.checkpoint import FORMS


def find(location: str, tables: Callable[[str], Tables]) -> tuple[str, list[Found]]:
    """The form and the files of a file, a folder or a URL; a folder's in the order of their paths, and those below it
    too, but for names that begin with ``_`` or ``.``.

    ``tables``: the plugin of a form. Raises SourceNotFound, UsageError.
    """
    if "://" in location and not location.startswith("file://"):
        listed = {form: there for form in sorted(set(FORMS.values())) if (there := tables(form).find(location))}
        if not listed:
            raise SourceNotFound(f"there is no file at {location} that ends in one of {', '.join(FORMS)}")
        if len(listed) > 1:
            raise UsageError(f"{location} has files of several forms ({', '.join(sorted(listed))}); give one")
        return listed.popitem()
    path = Path(location.removeprefix("file://")).absolute()
    if not path.is_dir():
        if not path.is_file():
            raise SourceNotFound(f"there is no file {location}")
        return form_of(path.name, location), [_found(path)]
    files = sorted(
        one
        for one in path.rglob("*")
        if one.is_file() and not any(part.startswith(("_", ".")) for part in one.relative_to(path).parts)
    )
    if not files:
        raise SourceNotFound(f"the folder {location} has no files")
    forms = {form_of(one.name, str(one)) for one in files}
    if len(forms) > 1:
        raise UsageError(f"the folder {location} has files of several forms ({', '.join(sorted(forms))}); give one")
    return forms.pop(), [_found(one) for one in files]


def form_of(name: str, where: str) -> str:
    """By the ending. Raises UsageError."""
    plain = name.lower()
    form = FORMS.get(Path(plain.removesuffix(".gz")).suffix, "")
    if not form or (form == "parquet" and plain.endswith(".gz")):
        raise UsageError(f"{where}: its ending is none of {', '.join(FORMS)}, .csv.gz, .jsonl.gz")
    return form


def _found(path: Path) -> Found:
    status = path.stat()
    return Found(str(path), status.st_size, status.st_mtime_ns)
