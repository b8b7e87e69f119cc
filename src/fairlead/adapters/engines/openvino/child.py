"""The process that runs one language model: load it, then step while there is anything to write.

usage: python -m fairlead.adapters.engines.openvino.child DESCRIPTOR
The descriptor is a Unix socket to the server. Between two steps it reads what came, and tells in one message what the
last one brought: a step holds the interpreter for as long as it takes, so nothing else could run here.
Standard input is a pipe that the server holds open: when the server is killed, the kernel ends this process.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import sys
from pathlib import Path

import msgspec

from fairlead.adapters.engines.openvino.batch import Batch
from fairlead.adapters.engines.openvino.convert.prepared import prepare
from fairlead.adapters.engines.openvino.described import described
from fairlead.adapters.engines.openvino.frames import Cutter, framed
from fairlead.adapters.engines.openvino.messages import Ask, Drop, Failed, Load, Loaded, ToProcess
from fairlead.adapters.engines.openvino.pipeline import BLOCK, opened
from fairlead.adapters.engines.openvino.prefixes import Prefixes
from fairlead.contracts.errors import BrokenModel, FairleadError
from fairlead.kit import log
from fairlead.kit.companionship import accompany
from fairlead.kit.sentences import cause

_CHUNK = 256 * 1024


def main(descriptor: int) -> None:
    accompany()
    with socket.socket(fileno=descriptor) as link:
        link.set_inheritable(False)
        with contextlib.suppress(ConnectionError):  # the server is gone
            Child(link).run()
    os._exit(0)  # the library's own threads are not waited for


class Child:
    """``link``: the socket to the server, in blocking mode."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._cutter = Cutter(ToProcess)
        self._batch: Batch | None = None

    def run(self) -> None:
        """Until the server closes the socket."""
        while (messages := self._messages()) is not None:
            for message in messages:
                if isinstance(message, Ask | Drop):
                    assert self._batch is not None  # noqa: S101 - Load comes first
                    self._batch.take(message)
                elif not self._load(message):
                    return
            if self._batch is not None and self._batch.busy:
                self._send(self._batch.step())

    def _messages(self) -> list[ToProcess] | None:
        """What came; waits only where there is nothing to do. None at the end."""
        if self._batch is not None and self._batch.busy and not select.select([self._link], [], [], 0)[0]:
            return []
        data = self._link.recv(_CHUNK)
        return self._cutter.feed(data) if data else None

    def _load(self, asked: Load) -> bool:
        log.configure(level=asked.level, endpoint=asked.endpoint)
        with contextlib.suppress(OSError):
            os.nice(asked.settings.niceness)
        try:
            loaded, self._batch = _opened(asked)
        except FairleadError as error:
            self._send(Failed(error.code, str(error)))
            return False
        except Exception as error:
            logging.getLogger("fairlead.engines").exception("not loaded")
            self._send(Failed(BrokenModel.code, f"{asked.model} does not load: {cause(error)}"))
            return False
        self._send(loaded)
        return True

    def _send(self, message: msgspec.Struct) -> None:
        self._link.sendall(framed(message))


def _opened(asked: Load) -> tuple[Loaded, Batch]:
    """Raises FairleadError."""
    settings = asked.settings
    path = prepare(Path(asked.model), Path(asked.folder), asked.precision)
    about = described(path)
    if settings.draft_model:
        draft = prepare(Path(settings.draft_model), Path(asked.folder), asked.precision)
        settings = msgspec.structs.replace(settings, draft_model=str(draft))
    pipeline = opened(path, about, asked.precision, asked.threads, settings)
    cache = pipeline.blocks * BLOCK
    limits = [one for one in (settings.context, about.context, cache) if one]
    caching = settings.prefix_caching and not settings.adapters and pipeline.blocks
    prefixes = Prefixes(BLOCK, pipeline.blocks) if caching else None
    loaded = Loaded(min(limits, default=0), cache, pipeline.trial is not None)
    return loaded, Batch(pipeline, prefixes, about.vocabulary or pipeline.words)


if __name__ == "__main__":
    main(int(sys.argv[1]))
