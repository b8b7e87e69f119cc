"""Alembic's revisions of the state store, oldest first. ``upgrade`` is handed its operations: nothing is global."""
