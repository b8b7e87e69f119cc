"""The story that `fairlead demo` tells: data -> train -> package -> register -> serve -> traffic."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.stores import Version
from fairlead.contracts.types import Tensors
from fairlead.demo import data as datasets
from fairlead.demo import traffic, training
from fairlead.demo.data import MISSING, Data
from fairlead.kit.codec.json import encode
from fairlead.kit.config import Home
from fairlead.kit.sentences import without_secrets
from fairlead.package.pack import Packed, pack
from fairlead.package.registry import publish
from fairlead.serve import examples
from fairlead.serve.catalog import Catalog
from fairlead.serve.door import bind
from fairlead.serve.endpoint import Live
from fairlead.serve.server import Server
from fairlead.serve.settings import EndpointSettings, ServerSettings
from fairlead.wiring import serving, stores

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for. ``seconds``: of live traffic."""

    data: Path | None = None
    target: str = ""
    identifier: str | None = None
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 8080
    seconds: float = 3.0
    leave: bool = False


@dataclass(slots=True)
class Told:
    """The result, as ``--json`` prints it."""

    data: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    parity: Mapping[str, Any] | None = None
    endpoint: dict[str, Any] = field(default_factory=dict)
    traffic: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


class Story:
    """Tells each step as it happens. ``say`` prints a line."""

    def __init__(self, home: Home, asked: Asked, say: Say) -> None:
        self._home = home
        self._asked = asked
        self._say = say
        self._began = time.perf_counter()
        self._failure: Exception | None = None
        self.told = Told()

    def prepare(self, on_done: Callable[[], None]) -> Server:
        """Everything up to the server, which the caller runs. ``on_done`` is called once the traffic has been told."""
        asked = self._asked
        bind(asked.host, asked.port).close()  # a port that is taken is better told before the work than after
        self._home.root.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=self._home.root).close()  # so is a folder in which nothing can be written
        with self._step("data") as done:
            data = datasets.from_csv(asked.data, asked.target, asked.identifier) if asked.data else datasets.bundled()
            done(self._describe(data))
        with self._step("train") as done:
            trained = training.train(data)
            self.told.metrics = trained.metrics
            done(f"{trained.parameters['model']}: " + _figures(trained.metrics) + " (held out)")
        with tempfile.TemporaryDirectory() as scratch:
            with self._step("package") as done:
                rows = tensors(data.held_out)
                packed = pack(
                    trained.pipeline, Path(scratch) / "model", name=self._name(data), rows=rows, missing_token=MISSING
                )
                self.told.parity = packed.manifest.parity
                done(packed.manifest.why)
            if packed.report is not None:
                self._say(_indented(packed.report.as_table()))
            with self._step("register") as done:
                version = self._register(data, trained, packed, Path(scratch))
                done(f"{version.model} version {version.version}, alias champion, in {_where(self._home)}")
        return self._server(version, rows, answers(trained, data), on_done)

    @property
    def well(self) -> bool:
        return self._failure is None

    def finish(self) -> None:
        """Raise what went wrong while the server ran."""
        if self._failure:
            raise self._failure

    def _name(self, data: Data) -> str:
        return self._asked.name or data.name

    def _describe(self, data: Data) -> str:
        rows = len(data.train) + len(data.held_out)
        kind = f"{len(data.classes)} classes" if data.classification else "a quantity"
        self.told.data = {
            "name": data.name,
            "rows": rows,
            "numeric_columns": len(data.numeric),
            "text_columns": len(data.text),
            "target": str(data.y_train.name),
            "dropped": data.dropped,
        }
        columns = f"{len(data.numeric)} numeric and {len(data.text)} text columns"
        left = f"; left out: {', '.join(data.dropped)}" if data.dropped else ""
        return f"{rows:,} rows, {columns}, target {data.y_train.name} ({kind}){left}"

    def _register(self, data: Data, trained: training.Trained, packed: Packed, scratch: Path) -> Version:
        registry, tracker = stores.registry(self._home), stores.tracker(self._home)
        name = self._name(data)
        run_id = tracker.run(
            "fairlead-demo",
            name,
            params=trained.parameters,
            metrics=trained.metrics,
            tags={"fairlead.demo": "true"},
            files=training.plots(trained, data, scratch),
        )
        version = publish(registry, packed.folder, name, run_id=run_id, description=packed.manifest.why)
        stores.moves(self._home).move(name, "champion", version.version, why="trained by fairlead demo")
        self.told.model = {
            "name": name,
            "version": version.version,
            "alias": "champion",
            "run_id": run_id,
            "runtime": packed.manifest.runtime,
            "why": packed.manifest.why,
            "tracking": without_secrets(self._home.tracking),
        }
        return version

    def _server(self, version: Version, rows: Tensors, expected: list[Any], on_done: Callable[[], None]) -> Server:
        settings = ServerSettings(host=self._asked.host, port=self._asked.port)

        def on_ready(port: int, catalog: Catalog) -> None:
            url = settings.url(port)
            thread = threading.Thread(
                target=self._traffic, args=(url, catalog.endpoints()[0], rows, expected, on_done), daemon=True
            )
            thread.start()

        uri = f"models:/{version.model}@champion"
        self.told.endpoint = {"uri": uri}
        return serving.server(serving.Plan(self._home, [serving.Target(uri)], settings, EndpointSettings()), on_ready)

    def _plan(self, url: str, live: Live, rows: Tensors, expected: list[Any]) -> traffic.Plan:
        bodies = []
        for at in range(len(expected)):
            row = {name: _as_sent(array[at : at + 1]) for name, array in rows.items()}
            bodies.append(encode(examples.v1(_described(live, row))).decode())
        return traffic.Plan(url, f"/v1/models/{live.endpoint}:predict", bodies, expected, self._asked.seconds)

    def _traffic(self, url: str, live: Live, rows: Tensors, expected: list[Any], on_done: Callable[[], None]) -> None:
        try:
            how = "inline" if live.executor.kind == "inline" else "in a thread"
            batches = (
                f"batches of up to {live.batcher.policy.max_rows} rows"
                if live.batcher.policy.coalesce
                else "no batching"
            )
            platform = live.model.traits.platform
            self.told.endpoint |= {"url": url, "version": live.version, "platform": platform}
            self._line("serve", f"{self.told.endpoint['uri']} on {url} ({platform}, {batches}, {how})")
            with self._step("traffic") as done:
                with tempfile.TemporaryDirectory() as scratch:
                    seen = traffic.send(self._plan(url, live, rows, expected), Path(scratch))
                self.told.traffic = {**asdict(seen), "per_second": seen.per_second}
                checked = f"{seen.wrong} wrong, {seen.errors} errors" + (
                    f" ({seen.first_error})" if seen.first_error else ""
                )
                done(
                    f"{seen.calls:,} calls from {traffic.CALLERS} callers, {seen.per_second:,.0f}/s, "
                    f"p50 {seen.p50_ms:.2f} ms, p95 {seen.p95_ms:.2f} ms, p99 {seen.p99_ms:.2f} ms; {checked}"
                )
            self._failure = FairleadError(seen.problem) if seen.problem else None
            self.told.seconds = time.perf_counter() - self._began
            self._try_it(url, live)
        except Exception as error:  # noqa: BLE001 - handed to the main thread, which tells it
            self._failure = error
        on_done()

    def _try_it(self, url: str, live: Live) -> None:
        body = encode(examples.v1(_described(live, live.example))).decode().replace("'", "\\u0027")
        curl = f"curl -s {url}/v1/models/{live.endpoint}:predict -H 'content-type: application/json' -d '{body}'"
        self.told.endpoint |= {"curl": curl, "docs": f"{url}/docs", "console": f"{url}/console"}
        self._say(f"\n  Try it:   {curl}\n\n  Docs:     {url}/docs\n  Console:  {url}/console")

    @contextmanager
    def _step(self, title: str) -> Iterator[Callable[[str], None]]:
        """One line a step: its title, what came of it, and how long it took."""
        began = time.perf_counter()
        results: list[str] = []
        yield results.append
        self._line(title, results[0], time.perf_counter() - began)

    def _line(self, title: str, text: str, seconds: float | None = None) -> None:
        self._say(f"  {title:<9} {text}" + ("" if seconds is None else f"  [{seconds:.1f} s]"))


def tensors(frame: pd.DataFrame) -> Tensors:
    """Columns as [n, 1] arrays: float64, or objects for text."""
    return {
        str(name): frame[name].to_numpy(dtype=object if frame[name].dtype == object else np.float64).reshape(-1, 1)
        for name in frame
    }


def answers(trained: training.Trained, data: Data) -> list[Any]:
    """What the original, in this process, says of the held-out rows: what every live answer is compared with."""
    predicted: list[Any] = np.asarray(trained.pipeline.predict(data.held_out)).tolist()
    return predicted


def _as_sent(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What a client has instead of a missing string: nothing. The edge puts the token there."""
    return np.where(array == MISSING, None, array) if array.dtype == object else array  # type: ignore[call-overload]


def _described(live: Live, example: Tensors | None) -> examples.Described:
    platform = live.model.traits.platform
    return examples.Described(live.endpoint, live.version, (live.version,), platform, live.signature, example)


def _where(home: Home) -> str:
    return without_secrets(home.tracking).replace(f"{Path.cwd()}/", "")


def _figures(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def _indented(text: str) -> str:
    return "\n".join(f"            {line}" for line in text.splitlines())
