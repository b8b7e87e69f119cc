"""The floor: bare uvicorn, constant bytes. No Python server on uvicorn and ASGI is faster than this."""

from typing import Any

BODY = b'{"outputs":[{"name":"probabilities"}],"k":0}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
