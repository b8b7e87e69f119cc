"""The console's server: uvicorn on a socket that is bound already, until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from fairlead.serve.web import Web


async def serve(app: Starlette, listener: socket.socket, ready: Callable[[int], None]) -> None:
    """Until SIGTERM or SIGINT; streams that watch end with it. ``ready``: gets the port, where there is one."""
    own = listener.family == socket.AF_UNIX
    config = uvicorn.Config(
        app,
        loop="none",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=own,  # what our server says of who asked it
        forwarded_allow_ips="*" if own else None,
        timeout_graceful_shutdown=1,
    )
    web = Web(config)

    def stop() -> None:
        web.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if not own:
        listener.listen()
        ready(listener.getsockname()[1])
    await web.serve(sockets=[listener])
