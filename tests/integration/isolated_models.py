"""Predictors that the tests of isolated models load, in this process and in others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.contracts.types import DataType

NAMES = [datatype.value for datatype in DataType if datatype is not DataType.BF16]


class Everything:
    """Answers every datatype with itself, backwards; FP32 large enough for shared memory where it is."""

    inputs = tuple((name, name, (-1, -1)) for name in NAMES)
    outputs = tuple((name, name, (-1, -1)) for name in NAMES)

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array[:, ::-1] for name, array in inputs.items()}


class Obedient:
    """Does to its process what a row says: 1.. answers, -1 leaves, -2 segfaults, -3 hangs, -4 raises, -5 exits."""

    inputs = (("x", "FP64", (-1, 1)),)
    outputs = (("y", "FP64", (-1, 1)), ("pid", "INT64", (-1,)))

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = inputs["x"][:, 0]
        if -1 in rows:
            os._exit(3)
        if -2 in rows:
            os.kill(os.getpid(), signal.SIGSEGV)
        if -3 in rows:
            time.sleep(60)
        if -4 in rows:
            raise ValueError("a row says so")
        if -5 in rows:
            raise SystemExit(5)
        return {"y": inputs["x"] * 2, "pid": np.full(len(rows), os.getpid())}


class Holding(Obedient):
    """Holds the GIL for 300 ms a batch, in one call."""

    def load(self, path: str | None) -> None:
        self.number = (1 << 2203) - 1
        began = time.perf_counter()
        pow(3, (1 << 20_000) - 1, self.number)
        self.size = round(20_000 * 0.3 / (time.perf_counter() - began))

    def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        pow(3, (1 << self.size) - 1, self.number)
        return super().predict(inputs)


class Unloadable:
    def load(self, path: str | None) -> None:
        raise RuntimeError("its weights are elsewhere")

    def predict(self, inputs: Any) -> Any:
        return inputs


class Fatal(Unloadable):
    def load(self, path: str | None) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Once(Obedient):
    """Loads the first time; after that its process dies while it loads."""

    def load(self, path: str | None) -> None:
        flag = Path("loaded-once")
        if flag.exists():
            os._exit(4)
        flag.touch()


class Closing(Obedient):
    def close(self) -> None:
        Path("closed").write_text(str(os.getpid()))
