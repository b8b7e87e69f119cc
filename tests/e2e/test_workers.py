"""``fairlead serve --workers N``: who gets the connections, what a crash costs, how it stops and restarts."""

from __future__ import annotations

import functools
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parent))
from crowd import WHO, Caller, Crowd, until


@pytest.fixture
def serve(start, tmp_path: Path):
    """Serve the model that says who answers; gives the process and the port."""
    (tmp_path / "mine.py").write_text(WHO)

    def begin(workers: int, *words: str):
        process = start("serve", "mine:Who", "--port", "0", "--workers", str(workers), *words)
        return process, int(process.url().rpartition(":")[2])

    return begin


@pytest.fixture
def connect() -> Iterator[Callable[[int], Caller]]:
    """Make a connection; all are closed at the end."""
    made: list[Caller] = []

    def begin(port: int) -> Caller:
        made.append(Caller(port))
        return made[-1]

    yield begin
    for caller in made:
        caller.close()


def events(process, name: str) -> list[dict]:
    return [event for event in process.events if event["event"] == name]


def started(process) -> list[int]:
    return [int(event["pid"]) for event in events(process, "worker started")]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def counted(port: int, name: str = "fairlead_requests_total", **labels: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).raise_for_status().text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_eight_kept_connections_are_spread_evenly(serve, connect, workers: int) -> None:
    process, port = serve(workers)
    callers = [connect(port) for _ in range(8)]
    answers = Counter(caller.ask() for _ in range(20) for caller in callers)
    assert set(answers) == set(started(process))
    connections = Counter(caller.pid for caller in callers)
    assert max(connections.values()) - min(connections.values()) <= 1
    if 8 % workers == 0:
        assert set(answers.values()) == {160 // workers}
    # Those of one worker go; the next ones take their place.
    gone = callers[0].pid
    for caller in callers:
        if caller.pid == gone:
            caller.close()
    time.sleep(0.3)
    again = [connect(port) for _ in range(connections[gone])]
    assert gone in {caller.ask() for caller in again}
    left = Counter(caller.pid for caller in (*callers, *again) if caller.link.fileno() >= 0)
    assert (sum(left.values()), max(left.values()) - min(left.values()) <= 1) == (8, True)
    for caller in (*callers, *again):
        caller.close()
    assert process.stop() == 0
    assert len(events(process, "ready")) == 1


def test_a_killed_worker_costs_only_its_own_connections(serve, connect) -> None:
    process, port = serve(2)
    first = started(process)
    with Crowd(port) as crowd:
        until(lambda: min(crowd.answers[pid] for pid in first) > 20, "both answer")
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(started(process)) == 3, "it is replaced")
        fresh = started(process)[2]
        # Kept connections stay where they are: the new worker takes the ones that come.
        callers = [connect(port) for _ in range(8)]
        until(lambda: fresh in {caller.ask() for caller in callers} or _renew(callers, port), "it takes connections")
        for caller in callers:
            caller.close()
    assert crowd.refused == []
    assert {pid for pid, _ in crowd.lost} <= {first[0], 0}, crowd.lost
    assert len(crowd.lost) <= 8
    crash = events(process, "worker crashed")[0]
    assert (crash["how"], crash["again_in"], crash["worker"]) == ("SIGKILL", 0.0, "0")
    assert counted(port, "fairlead_worker_restarts_total", reason="crashed") == 1
    assert counted(port, "fairlead_workers") == 2
    assert process.stop() == 0


def _renew(callers: list[Caller], port: int) -> bool:
    for index, caller in enumerate(callers):
        caller.close()
        callers[index] = Caller(port)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_no_accepted_request_goes_without_an_answer(serve, number: int) -> None:
    process, port = serve(2)
    with Crowd(port) as crowd:
        until(lambda: min(crowd.answers[pid] for pid in started(process)) > 20, "both answer")
        for pid in started(process):
            os.kill(pid, signal.SIGINT)  # as Ctrl-C in a terminal would: not theirs to act on
        before = sum(crowd.answers.values())
        until(lambda: sum(crowd.answers.values()) > before + 50, "they answer on")
        assert process.stop(number) == 0
    assert crowd.lost == []
    assert not [pid for pid in started(process) if alive(pid)]


def test_a_request_in_the_model_is_answered_before_the_end(serve, connect) -> None:
    process, port = serve(2)
    callers = [connect(port) for _ in range(4)]
    for caller in callers:
        caller.send(1.0)
    time.sleep(0.3)
    process.popen.send_signal(signal.SIGTERM)
    assert {caller.receive() for caller in callers} == set(started(process))
    assert process.popen.wait(20) == 0
    for caller in callers:
        caller.close()


def test_a_second_signal_ends_it_at_once(serve, connect) -> None:
    process, port = serve(2)
    callers = [connect(port) for _ in range(2)]
    for caller in callers:
        caller.send(30.0)
    time.sleep(0.3)
    process.popen.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.popen.poll() is None
    began = time.monotonic()
    assert process.stop(seconds=10) == 0
    assert time.monotonic() - began < 5
    until(lambda: not [pid for pid in started(process) if alive(pid)], "the workers end")
    for caller in callers:
        caller.close()


def test_a_rolling_restart_loses_nobody(serve) -> None:
    process, port = serve(2)
    old = started(process)
    with Crowd(port) as crowd:
        until(lambda: min(crowd.answers[pid] for pid in old) > 20, "both answer")
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: events(process, "rolling restart done"), "all are replaced")
        new = set(started(process)) - set(old)
        until(lambda: all(crowd.answers[pid] > 20 for pid in new), "the new ones answer")
    assert len(new) == 2
    assert (crowd.lost, crowd.refused) == ([], [])
    assert not [pid for pid in old if alive(pid)]
    assert counted(port, code="ok") == sum(crowd.answers.values())
    assert counted(port, "fairlead_worker_restarts_total", reason="rolled") == 2
    assert counted(port, "fairlead_worker_restarts_total", reason="crashed") == 0
    assert process.stop() == 0


def test_a_rolling_restart_that_cannot_load_keeps_what_works(serve, connect, tmp_path: Path) -> None:
    process, port = serve(2)
    (tmp_path / "fail").touch()
    process.popen.send_signal(signal.SIGHUP)
    until(lambda: events(process, "rolling restart stopped"), "it is given up")
    assert "told to fail" in events(process, "worker not replaced")[0]["error"]
    callers = [connect(port) for _ in range(4)]
    assert {caller.ask() for caller in callers} == set(started(process)[:2])
    (tmp_path / "fail").unlink()
    process.popen.send_signal(signal.SIGHUP)
    until(lambda: events(process, "rolling restart done"), "the next one works")
    assert process.stop() == 0


def test_one_worker_that_is_told_to_end_is_replaced_first(serve) -> None:
    process, port = serve(2)
    old = started(process)
    with Crowd(port) as crowd:
        until(lambda: min(crowd.answers[pid] for pid in old) > 20, "both answer")
        os.kill(old[0], signal.SIGTERM)
        until(lambda: not alive(old[0]), "it ends")
    assert (crowd.lost, crowd.refused) == ([], [])
    assert len(started(process)) == 3
    assert process.stop() == 0


def test_crash_after_crash_waits_longer(serve, connect) -> None:
    process, port = serve(2)
    for crashes in range(1, 4):
        until(functools.partial(_of_the_first, process, "loaded", crashes), "it is back")
        os.kill(int(_of_the_first(process, "worker started", crashes)[-1]["pid"]), signal.SIGKILL)
        until(functools.partial(_of_the_first, process, "worker crashed", crashes), "the crash is told")
    assert connect(port).ask() in started(process)
    assert process.stop() == 0


def _of_the_first(process, name: str, count: int) -> list[dict]:
    """What the log says of the first place, once it says it so often."""
    found = [event for event in events(process, name) if event["worker"] == "0"]
    return found if len(found) >= count else []


def test_without_a_live_worker_connections_wait(serve, connect) -> None:
    process, port = serve(2)
    first = started(process)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(events(process, "worker crashed")) == 2, "both are gone")
    callers = [connect(port) for _ in range(4)]
    for caller in callers:
        caller.send()
    assert not {caller.receive() for caller in callers} & set(first)
    assert process.stop() == 0


def test_a_connection_that_a_worker_never_took_goes_to_another(serve, connect) -> None:
    process, port = serve(2)
    hung = started(process)[0]
    os.kill(hung, signal.SIGSTOP)
    callers = [connect(port) for _ in range(6)]
    for caller in callers:
        caller.send()
    time.sleep(0.3)
    os.kill(hung, signal.SIGKILL)
    assert hung not in {caller.receive() for caller in callers}
    assert process.stop() == 0


def test_metrics_are_those_of_all(serve, connect) -> None:
    process, port = serve(3)
    callers = [connect(port) for _ in range(6)]
    for caller in callers:
        for _ in range(50):
            caller.ask()
    # Whichever worker is asked says the same.
    for _ in range(6):
        assert counted(port, code="ok") == 300
    assert counted(port, "fairlead_request_seconds_count") == 300
    assert counted(port, "fairlead_endpoint_ready") == 1
    assert counted(port, "fairlead_workers") == 3
    for worker in ("supervisor", "0", "1", "2"):
        assert counted(port, "process_resident_memory_bytes", worker=worker) > 0
    # What a worker said stays counted when it is killed; the last second may be lost, and all of it was said by now.
    os.kill(callers[0].pid, signal.SIGKILL)
    until(lambda: events(process, "worker crashed"), "it is gone")
    assert counted(port, code="ok") == 300
    until(lambda: counted(port, "fairlead_workers") == 3, "it is replaced")
    assert counted(port, code="ok") == 300
    for caller in callers:
        caller.close()
    fresh = connect(port)
    fresh.ask()
    assert counted(port, code="ok") == 301
    fresh.close()
    assert process.stop() == 0


def test_a_count_outlives_a_kill_by_what_was_pushed(serve, connect) -> None:
    """Nobody scrapes before the kill: what is left is what the worker said by itself."""
    process, port = serve(2)
    caller = connect(port)
    for _ in range(40):
        caller.ask()
    time.sleep(1.5)
    os.kill(caller.pid, signal.SIGKILL)
    until(lambda: events(process, "worker crashed"), "it is gone")
    assert counted(port, code="ok") == 40
    caller.close()
    assert process.stop() == 0


def test_a_worker_that_does_not_answer_is_counted_as_it_last_said(serve, connect) -> None:
    process, port = serve(2)
    callers = [connect(port) for _ in range(2)]
    for caller in callers:
        for _ in range(10):
            caller.ask()
    assert counted(port, code="ok") == 20
    stopped, other = callers
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        other.link.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = b""
        while chunk := other.link.recv(65536):
            text += chunk
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    assert b'fairlead_requests_total{code="ok",endpoint="who",version="1"} 20.0' in text
    assert counted(port, "fairlead_worker_silent_total") == 1
    assert process.stop() == 0


def test_workers_do_not_outlive_their_supervisor(serve, connect) -> None:
    process, port = serve(2)
    caller = connect(port)
    caller.ask()
    caller.send(0.5)
    time.sleep(0.2)
    process.popen.kill()
    assert caller.receive() == caller.pid  # what was accepted is answered
    caller.close()
    until(lambda: not [pid for pid in started(process) if alive(pid)], "they end")


def test_what_cannot_be_served_is_told_as_by_one_process(run, doubler: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WHO)
    (tmp_path / "fail").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words in (
            ["./absent.onnx", "--port", "0"],
            ["mine:Who", "--port", "0"],
            ["nopkg:Thing", "--port", "0"],
            [str(doubler), str(doubler), "--port", "0"],
            [str(doubler), "--port", port],
            [str(doubler), "--port", "99999"],
            [str(doubler), "--runtime", "nope", "--port", "0"],
        ):
            alone = run("serve", *words)
            several = run("serve", *words, "--workers", "3")
            assert alone.returncode > 0
            assert several.returncode == alone.returncode, words
            assert _told(several.stderr) == _told(alone.stderr), words


def _told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if not line.startswith("{")]


def test_stopping_while_it_loads_ends_it(start, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        WHO.replace("def load(self, path):", "def load(self, path):\n        time.sleep(60)")
    )
    process = start("serve", "mine:Who", "--port", "0", "--workers", "2")
    until(lambda: len(started(process)) == 2, "the workers start")
    time.sleep(0.5)
    assert process.stop() == 0
    assert not [pid for pid in started(process) if alive(pid)]


def test_many_short_connections_are_all_answered(serve) -> None:
    process, port = serve(2)
    failures: list[str] = []

    def visit() -> None:
        for _ in range(50):
            try:
                caller = Caller(port)
                caller.ask()
                caller.close()
            except (OSError, AssertionError) as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert counted(port, code="ok") == 400
    assert process.stop() == 0
