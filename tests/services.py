"""Real services that tests use; where one is absent they skip with a reason, and fail where it is required."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

POSTGRES = os.environ.get("FAIRLEAD_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/test")


@contextlib.contextmanager
def fresh_schema() -> Iterator[str]:
    """The URL of an empty schema, gone afterwards; skips where there is no server."""
    schema = f"fairlead_{secrets.token_hex(4)}"
    try:
        with psycopg.connect(POSTGRES, autocommit=True, connect_timeout=3) as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
    except psycopg.OperationalError as error:
        if os.environ.get("FAIRLEAD_REQUIRE_SERVICES") == "1":
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES}: {error}")
    yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


class Service:
    """A private server on a free port, which the test may kill and start again on what it kept in ``folder``."""

    def __init__(
        self, command: list[str], port: int, folder: Path, env: Mapping[str, str] | None = None, user: str | None = None
    ) -> None:
        self.port = port
        self.folder = folder
        self._command = command
        self._env = {**os.environ, **(env or {})}
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 90.0) -> None:
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._env,
                stdout=out,
                stderr=out,
                process_group=0,
                user=self._user,
                group=self._user,
            )
        ends = time.monotonic() + seconds
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"{self._command[0]} did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        ends = time.monotonic() + 20
        while _answers(self.port) and time.monotonic() < ends:
            time.sleep(0.02)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@contextlib.contextmanager
def nats() -> Iterator[Service]:
    """NATS with JetStream, which keeps its streams in files."""
    with _serving("nats-server") as (program, port, folder):
        command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "js")]
        with _running(Service(command, port, folder)) as service:
            yield service


@contextlib.contextmanager
def redis() -> Iterator[Service]:
    """Redis, which keeps every command in its append-only file."""
    with _serving("redis-server") as (program, port, folder):
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", ""]
        with _running(Service([*command, "--appendonly", "yes"], port, folder)) as service:
            yield service


@contextlib.contextmanager
def rabbitmq() -> Iterator[Service]:
    """RabbitMQ on a node of its own name; it needs a working ``epmd``, which it starts and leaves behind."""
    with _serving("rabbitmq-server") as (found, port, folder):
        debian = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # what is on the path there is a script around it
        program = str(debian) if debian.exists() else found
        (folder / "rabbit.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\nlog.console = true\nlog.file = false\n"
        )
        (folder / "plugins").write_text("[].\n")
        env = {
            "RABBITMQ_NODENAME": f"fairlead{port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "logs"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbit.conf"),
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "HOME": str(folder),
        }
        user = "rabbitmq" if os.getuid() == 0 else None
        if user:
            shutil.chown(folder, user, user)
        with _running(Service([program], port, folder, env, user)) as service:
            yield service


@contextlib.contextmanager
def _serving(program: str) -> Iterator[tuple[str, int, Path]]:
    """Where the program is, a free port, and an empty folder; skips where there is none."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/usr/lib/rabbitmq/bin")
    if found is None:
        if os.environ.get("FAIRLEAD_REQUIRE_SERVICES") == "1":
            raise RuntimeError(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="fairlead-", ignore_cleanup_errors=True) as folder:
        yield found, _free_port(), Path(folder)


@contextlib.contextmanager
def _running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
