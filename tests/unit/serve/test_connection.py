"""What we rely on in uvicorn, by name: an upgrade that changes it fails here and not in production."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import requires, version

import httptools
import pytest
from packaging.requirements import Requirement
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fairlead.serve.connection import RELIES_ON, Connection
from fairlead.serve.protocol import Fast, InferenceProtocol
from fairlead.serve.reading import Flow, Reading

SIGNATURES = {
    "connection_lost": "exc",
    "connection_made": "transport",
    "data_received": "data",
    "eof_received": "",
    "on_body": "body",
    "on_header": "name, value",
    "on_headers_complete": "",
    "on_message_begin": "",
    "on_message_complete": "",
    "on_response_complete": "",
    "on_url": "url",
    "pause_writing": "",
    "resume_writing": "",
    "shutdown": "",
    "_start_asgi_task": "cycle, app",
    "_unset_keepalive_if_required": "",
}

ATTRIBUTES = "connections cycle expect_100_continue flow headers loop parser pipeline scope server_state transport url"
CYCLE = (
    "body disconnected keep_alive message_event more_body response_complete response_started waiting_for_100_continue"
)


@pytest.mark.parametrize("name", RELIES_ON)
def test_a_method_that_we_rely_on(name: str) -> None:
    assert ", ".join(list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters)[1:]) == SIGNATURES[name]


def test_every_method_that_we_override_is_named() -> None:
    ours = {
        name for kind in (Reading, Connection, InferenceProtocol) for name in vars(kind) if not name.startswith("__")
    }
    assert ours & set(dir(HttpToolsProtocol)) <= set(RELIES_ON)
    assert set(SIGNATURES) == set(RELIES_ON)


def test_the_attributes_that_we_rely_on() -> None:
    assert set(ATTRIBUTES.split()) <= set(re.findall(r"self\.(\w+)", inspect.getsource(HttpToolsProtocol)))
    assert set(CYCLE.split()) <= set(re.findall(r"self\.(\w+)", inspect.getsource(RequestResponseCycle.__init__)))


def test_the_flow_control_that_we_rely_on() -> None:
    assert {"read_paused", "write_paused", "pause_reading", "resume_reading"} <= set(dir(Flow(None))) | set(  # type: ignore[arg-type]
        vars(FlowControl(None))  # type: ignore[arg-type]
    )


def test_our_exchange_has_what_uvicorn_reads_of_a_cycle() -> None:
    text = inspect.getsource(HttpToolsProtocol)
    read = set(re.findall(r"self\.cycle\.(\w+)", text)) | set(re.findall(r"existing_cycle\.(\w+)", text))
    # Only of a cycle that uvicorn made: ours has its own way for the body.
    assert {name for name in read if not hasattr(Fast, name)} <= {"more_body"}


def test_the_parser_and_the_status_lines() -> None:
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 ")
    parser = httptools.HttpRequestParser(object())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    assert not parser.should_upgrade()


def test_the_installed_uvicorn_is_in_the_range_that_we_pin() -> None:
    pinned = next(one for one in map(Requirement, requires("fairlead") or ()) if one.name == "uvicorn")
    assert pinned.specifier.contains(version("uvicorn"))
    assert {one.operator for one in pinned.specifier} == {">=", "<"}, "an upper bound, as private names are relied on"
