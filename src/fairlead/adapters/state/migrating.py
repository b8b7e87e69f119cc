"""Bring a database to the newest revision in ``migrations/``, in process.

Alembic's own runner keeps the connection in a module (``alembic.op``), where MLflow's migrations, in another thread,
would find it: so the revisions are walked here, each with its own operations.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError

from fairlead.contracts.errors import StateError

_FOLDER = Path(__file__).parent
_VERSION_TABLE = "state_version"


def current(connection: sa.Connection) -> bool:
    """True when nothing is to be done."""
    return _context(connection).get_current_revision() == _script().get_current_head()


def migrate(connection: sa.Connection) -> None:
    """Inside the caller's transaction and lock. Raises StateError for a database of a newer release."""
    context, script = _context(connection), _script()
    found = context.get_current_revision()
    try:
        missing = list(script.iterate_revisions("head", found or "base"))
    except RevisionError as error:
        raise StateError(
            f"the state store is at revision {found}, which this release does not know (its newest is "
            f"{script.get_current_head()}): a newer release has opened it; install that one"
        ) from error
    for step in reversed(missing):
        step.module.upgrade(Operations(context))
        context.stamp(script, step.revision)


def _context(connection: sa.Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": _VERSION_TABLE})


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(_FOLDER), version_locations=[str(_FOLDER / "migrations")])
