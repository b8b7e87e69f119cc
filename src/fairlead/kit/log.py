"""Structured logs: one event a line, key-values, JSON off a terminal. Importing configures nothing.

What a URL keeps secret is in no line, whoever wrote it there.

Usage: ``logging.getLogger("fairlead.serve").info("loaded", extra={"fields": {"endpoint": "churn"}})``.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TextIO

import msgspec

from fairlead.kit.sentences import masked

_encode = msgspec.json.Encoder(enc_hook=str).encode


class JsonLines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, event, then the fields; ``always`` in every line."""

    def __init__(self, always: Mapping[str, str]) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        event = {"time": _utc(record), "level": record.levelname.lower(), "logger": record.name}
        event["event"] = masked(record.getMessage())
        event.update(self._always)
        for key, value in getattr(record, "fields", {}).items():
            event[key] = masked(value) if isinstance(value, str) else value
        if record.exc_info:
            event["exception"] = masked(self.formatException(record.exc_info))
        return _encode(event).decode()


class Terminal(logging.Formatter):
    """For eyes: ``12:03:04 loaded endpoint=churn version=3``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {key}={value}" for key, value in getattr(record, "fields", {}).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno <= logging.INFO else f" {record.levelname.lower()}:"
        line = f"{clock}{level} {record.getMessage()}{fields}"
        return masked(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)


def configure(stream: TextIO | None = None, level: int = logging.INFO, json: bool | None = None, **always: str) -> None:
    """Send our logs and uvicorn's to ``stream`` (stderr). ``json``: None asks whether it is a terminal.

    ``always``: fields of every JSON line.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Terminal() if (not json if json is not None else stream.isatty()) else JsonLines(always))
    for name, at in (("fairlead", level), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(at)
        logger.propagate = False


def _utc(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
