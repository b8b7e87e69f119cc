"""The process that runs one model: load, say what it is, then answer one batch after another.

usage: python -m fairlead.serve.isolated.child DESCRIPTOR
The descriptor is a Unix socket to the server. Standard input is a pipe that the server holds open: when it ends, which
it does when the server is killed, the kernel ends this process, in the middle of a batch too.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from fairlead.contracts.errors import BrokenModel, FairleadError
from fairlead.contracts.runtime import Artefact, LoadedModel, RuntimeOptions
from fairlead.contracts.types import Tensors
from fairlead.kit import log, plugins
from fairlead.kit.companionship import accompany
from fairlead.kit.sentences import cause
from fairlead.serve import tune
from fairlead.serve.executor import failure
from fairlead.serve.isolated.frames import Reader, Region, pack
from fairlead.serve.isolated.messages import Answer, Batch, Failed, Load, Loaded, Message, Raised, ToProcess

_UNLIMITED = 1_000_000


def main(descriptor: int) -> None:
    accompany()
    with socket.socket(fileno=descriptor) as link:
        link.set_inheritable(False)
        with contextlib.suppress(ConnectionError):  # the server is gone
            Child(link).run()


class Child:
    """``link``: the socket to the server, in blocking mode."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._reader = Reader(ToProcess, copy=False)
        self._region = Region()
        self._model: LoadedModel | None = None

    def run(self) -> None:
        """Until the server closes the socket."""
        try:
            while (messages := self._reader.read(self._link)) is not None:
                for message, tensors in messages:
                    if isinstance(message, Batch):
                        self._predict(message, tensors)
                    elif not self._load(message, tensors):
                        return
        finally:
            if self._model is not None:
                self._model.close()

    def _load(self, asked: Load, example: Tensors) -> bool:
        log.configure(level=asked.level, endpoint=asked.endpoint, process=asked.name)
        sys.path += [entry for entry in asked.modules if entry not in sys.path]
        try:
            model = self._model = loaded(asked)
            row = tune.example(model.signature, example or None)
            if asked.rows:
                curve = tune.measure(model, row, min(asked.rows, model.traits.max_rows or _UNLIMITED), time.monotonic)
            else:  # it was measured before
                curve = tune.Curve()
                tune.warm_up(model, row)
            self._send(Loaded(model.signature, model.traits, curve), {})
        except FairleadError as error:
            logging.getLogger("fairlead.serve").debug("not loaded", exc_info=error)
            self._send(Failed(error.code, str(error)), {})
            return False
        return True

    def _predict(self, asked: Batch, inputs: Tensors) -> None:
        assert self._model is not None  # noqa: S101 - Load comes first
        try:
            outputs = self._model.predict(inputs, asked.parameters)
            data, passed = pack(Answer(), outputs, self._region)
        except BaseException as error:  # noqa: BLE001 - a model may raise anything, SystemExit too
            told = failure(error)
            trace = "".join(traceback.format_exception(told.__cause__ or told))
            data, passed = pack(Raised(told.code, str(told), trace), {}, self._region)
        self._write(data, passed)

    def _send(self, message: Message, tensors: Tensors) -> None:
        self._write(*pack(message, tensors, self._region))

    def _write(self, data: bytes, passed: int) -> None:
        if passed >= 0:
            data = data[socket.send_fds(self._link, [data], [passed]) :]
        self._link.sendall(data)


def loaded(asked: Load) -> LoadedModel:
    """By the runtime, as in the server. Raises FairleadError."""
    artefact = Artefact(
        asked.format,
        path=None if asked.path is None else Path(asked.path),
        target=asked.target,
        signature=asked.signature,
        details=asked.details,
        trusted=asked.trusted,
        trusted_types=asked.trusted_types,
    )
    try:
        runtime: Any = plugins.load("fairlead.runtimes", asked.format)()
        model: LoadedModel = runtime.load(artefact, RuntimeOptions(asked.threads, asked.providers))
    except FairleadError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenModel(f"{asked.path or asked.target} failed to load: {cause(error)}") from error
    return model


if __name__ == "__main__":
    main(int(sys.argv[1]))
