"""The Python client, sync and async: arrays and tables in, arrays out.

::

    with Client("http://127.0.0.1:8080") as client:
        answer = client.predict("churn", frame)        # a DataFrame, a dict of columns, a list of rows, an array
        answer["probabilities"]                        # numpy array
        answer.version, answer.timing, answer.id

It speaks the Open Inference Protocol with raw tensors. Errors are those of ``fairlead.contracts.errors``, whichever
process they come from; nothing is retried.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import msgspec
import numpy as np

from fairlead.contracts import errors
from fairlead.contracts.errors import (
    DeadlineExceeded,
    FairleadError,
    Forbidden,
    InvalidTensor,
    MalformedBody,
    NotFound,
    Unauthenticated,
    Unavailable,
    UsageError,
)
from fairlead.contracts.types import Parameters, Tensors
from fairlead.kit.codec import json, v2
from fairlead.kit.codec.frames import to_tensors
from fairlead.kit.config import api_key

Array = np.ndarray[Any, Any]
_SECONDS: Final = 30.0
_SHOWS: Final = frozenset({"authorization", "x-api-key", "api-key"})
"""Headers that show who calls."""
_LONGEST: Final = 86_400.0


class Prediction(Mapping[str, Array]):
    """The answer to one call: output name -> array, rows on axis 0, in the order of what was sent.

    Where the model has one output, ``only`` is its array and ``numpy.asarray(prediction)`` works.
    ``timing``: milliseconds by the server's own account.  ``id``: the request id, also in the server's log.
    """

    __slots__ = ("_outputs", "endpoint", "id", "timing", "version")

    def __init__(self, outputs: Tensors, endpoint: str, version: str, id: str, timing: dict[str, float]) -> None:  # noqa: A002 - the protocol's word
        self._outputs = outputs
        self.endpoint = endpoint
        self.version = version
        self.id = id
        self.timing = timing

    @property
    def only(self) -> Array:
        """The array of a model with one output. Raises ValueError where there are several."""
        if len(self._outputs) != 1:
            raise ValueError(f"the prediction has {len(self._outputs)} outputs ({', '.join(self._outputs)}): name one")
        return next(iter(self._outputs.values()))

    def __getitem__(self, name: str) -> Array:
        return self._outputs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.only, dtype, copy=copy)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in self.items())
        return f"<Prediction of {self.endpoint} version {self.version}: {outputs}>"


@dataclass(frozen=True, slots=True)
class _Ask:
    """A request before it meets a socket. ``timeout``: seconds, None for no limit."""

    method: str
    path: str
    timeout: float | None
    headers: dict[str, str]
    content: bytes = b""


class _Core:
    """What both clients share: requests out of data, predictions and errors out of responses. No I/O."""

    def __init__(self, url: str, timeout: float | None, headers: Mapping[str, str] | None, key: str | None) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"the address {url!r} is no URL; give one like http://127.0.0.1:8080")
        if timeout is not None and not 0 < timeout <= _LONGEST:
            raise UsageError(f"the timeout is {timeout:g}; expected seconds, above 0 and up to {_LONGEST:g}")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.headers = dict(headers or {})
        shown = api_key() if key is None and not _SHOWS & {name.lower() for name in self.headers} else key
        if shown:
            self.headers["authorization"] = f"Bearer {shown}"
        self.known: dict[tuple[str, str | None], dict[str, Any]] = {}

    def get(self, path: str) -> _Ask:
        return _Ask("GET", path, self.timeout, self.headers)

    def model(self, endpoint: str, version: str | None, tail: str = "") -> str:
        middle = "" if version is None else f"/versions/{quote(str(version), safe='')}"
        return f"/v2/models/{quote(endpoint, safe='')}{middle}{tail}"

    def infer(
        self,
        endpoint: str,
        data: Any,
        *,
        version: str | None,
        outputs: Sequence[str] | None,
        parameters: Parameters | None,
        timeout: float | None,
    ) -> _Ask:
        """The request of a prediction; the endpoint's metadata is known by now."""
        table = to_tensors(data, self.known[endpoint, version]["inputs"])
        body, length = v2.encode_request(
            table.arrays, datatypes=table.datatypes, as_json=table.as_json, outputs=outputs, parameters=parameters
        )
        seconds = self.timeout if timeout is None else timeout
        headers = {**self.headers, "content-type": v2.BINARY_TYPE, v2.LENGTH_HEADER: str(length)}
        if seconds is not None:
            headers["x-request-timeout-ms"] = f"{seconds * 1000:g}"
        return _Ask("POST", self.model(endpoint, version, "/infer"), seconds, headers, body)

    def learn(self, endpoint: str, version: str | None, response: httpx.Response) -> dict[str, Any]:
        self.known[endpoint, version] = document = self.document(response)
        return document

    def document(self, response: httpx.Response) -> dict[str, Any]:
        """A JSON object. Raises the error that the server sent, as the class that it was there."""
        if response.status_code >= 400:
            raise refusal(response)
        found = json.decode(json.ANY, response.content)
        if not isinstance(found, dict):
            raise MalformedBody(f"{self.url} answered something that is no JSON object; is it a Fairlead server?")
        return found

    def prediction(self, endpoint: str, version: str | None, response: httpx.Response) -> Prediction:
        if response.status_code >= 400:
            error = refusal(response)
            if isinstance(error, InvalidTensor | NotFound):
                self.known.pop((endpoint, version), None)  # the model may have changed since we asked
            raise error
        headers = response.headers
        answer, arrays = v2.decode_response(response.content, headers.get(v2.LENGTH_HEADER))
        served = headers.get("fairlead-version") or answer.model_version
        return Prediction(
            arrays,
            answer.model_name,
            served,
            headers.get("x-request-id", ""),
            _timing(headers.get("server-timing", "")),
        )

    def unreachable(self, error: httpx.HTTPError, ask: _Ask) -> FairleadError:
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(
                f"{self.url} did not answer within {ask.timeout:g} s" if ask.timeout else str(error)
            )
        return Unavailable(f"{self.url} cannot be reached: {str(error) or type(error).__name__}")


class Client:
    """Calls the endpoints of one server.

    ``timeout``: seconds for a call, None for no limit; it is also the deadline that the server gets.
    ``key``: shows the server who calls; None takes ``FAIRLEAD_API_KEY``, and an empty one shows nothing.
    ``headers`` go with every request. One client keeps its connections: make it once, use it in any thread.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = _SECONDS,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._core = _Core(url, timeout, headers, key)
        self._http = httpx.Client(base_url=self._core.url, transport=transport)

    def predict(
        self,
        endpoint: str,
        data: Any,
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Predictions for ``data``: a DataFrame, a dict of columns or tensors, a list of dict rows, or an array.

        Missing values (None, NaN) in columns pass through. ``outputs`` names those wanted, None for all.
        ``timeout``: seconds for this call. Raises the errors of ``fairlead.contracts.errors``: InvalidTensor for data
        that does not fit, NotFound, QueueFull, DeadlineExceeded, ModelFailed, Unavailable where nobody answers.
        """
        if (endpoint, version) not in self._core.known:
            self.metadata(endpoint, version)
        ask = self._core.infer(endpoint, data, version=version, outputs=outputs, parameters=parameters, timeout=timeout)
        return self._core.prediction(endpoint, version, self._send(ask))

    def metadata(self, endpoint: str, version: str | None = None) -> dict[str, Any]:
        """Name, versions, platform, inputs and outputs of an endpoint. Raises NotFound."""
        response = self._send(self._core.get(self._core.model(endpoint, version)))
        return self._core.learn(endpoint, version, response)

    def endpoints(self) -> list[str]:
        """Names of the live endpoints."""
        return list(self._core.document(self._send(self._core.get("/v1/models")))["models"])

    def ready(self) -> bool:
        """Whether the server answers and every endpoint is ready."""
        try:
            return self._send(self._core.get("/v2/health/ready")).status_code == 200
        except (Unavailable, DeadlineExceeded):
            return False

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()

    def _send(self, ask: _Ask) -> httpx.Response:
        try:
            return self._http.request(
                ask.method, ask.path, content=ask.content, headers=ask.headers, timeout=ask.timeout
            )
        except httpx.HTTPError as error:
            raise self._core.unreachable(error, ask) from error


class AsyncClient:
    """``Client`` for asyncio: the same methods, awaited."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float | None = _SECONDS,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._core = _Core(url, timeout, headers, key)
        self._http = httpx.AsyncClient(base_url=self._core.url, transport=transport)

    async def predict(
        self,
        endpoint: str,
        data: Any,
        *,
        version: str | None = None,
        outputs: Sequence[str] | None = None,
        parameters: Parameters | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the server gets it as the call's deadline
    ) -> Prediction:
        """As ``Client.predict``."""
        if (endpoint, version) not in self._core.known:
            await self.metadata(endpoint, version)
        ask = self._core.infer(endpoint, data, version=version, outputs=outputs, parameters=parameters, timeout=timeout)
        return self._core.prediction(endpoint, version, await self._send(ask))

    async def metadata(self, endpoint: str, version: str | None = None) -> dict[str, Any]:
        """As ``Client.metadata``."""
        response = await self._send(self._core.get(self._core.model(endpoint, version)))
        return self._core.learn(endpoint, version, response)

    async def endpoints(self) -> list[str]:
        """As ``Client.endpoints``."""
        return list(self._core.document(await self._send(self._core.get("/v1/models")))["models"])

    async def ready(self) -> bool:
        """As ``Client.ready``."""
        try:
            return (await self._send(self._core.get("/v2/health/ready"))).status_code == 200
        except (Unavailable, DeadlineExceeded):
            return False

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, ask: _Ask) -> httpx.Response:
        try:
            return await self._http.request(
                ask.method, ask.path, content=ask.content, headers=ask.headers, timeout=ask.timeout
            )
        except httpx.HTTPError as error:
            raise self._core.unreachable(error, ask) from error


def refusal(response: httpx.Response) -> FairleadError:
    """The error that a response of status 400 or more carries, as the class of its stable code."""
    try:
        body = json.ANY.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    known = body if isinstance(body, dict) else {}
    message = known.get("error") or known.get("message") or f"the server answered {response.status_code}"
    after = response.headers.get("retry-after", "")
    kind = _CLASSES.get(known.get("code", ""), _BY_STATUS.get(response.status_code, FairleadError))
    return kind(str(message), retry_after=float(after) if after.isdigit() else None)


def _tree(root: type[FairleadError]) -> Iterator[type[FairleadError]]:
    yield root
    for below in root.__subclasses__():
        yield from _tree(below)


_CLASSES: Final = {kind.code: kind for kind in _tree(FairleadError) if kind.__module__ == errors.__name__}
_BY_STATUS: Final[dict[int, type[FairleadError]]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def _timing(header: str) -> dict[str, float]:
    """``queue;dur=0.1, compute;dur=2`` -> milliseconds by name."""
    found: dict[str, float] = {}
    for part in header.split(","):
        name, *attributes = (piece.strip() for piece in part.split(";"))
        for attribute in attributes:
            key, _, value = attribute.partition("=")
            if key == "dur" and value.replace(".", "", 1).isdigit():
                found[name] = float(value)
    return found
