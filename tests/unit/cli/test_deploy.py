"""How ``fairlead deploy`` waits, stops and says what it does."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from fairlead.cli import deploy
from fairlead.contracts.target import Where
from fairlead.orchestrate.deploy.run import Asked


def test_it_waits_also_once_it_is_to_stop() -> None:
    stopped = threading.Event()
    stopped.set()
    began = time.monotonic()
    deploy._waited(stopped, 0.05)
    assert time.monotonic() - began >= 0.05


def test_a_reader_of_its_progress_that_went_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    gone = os.fdopen(writes, "w")
    monkeypatch.setattr(sys, "stderr", gone)
    deploy._tell("created  ConfigMap/a")
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        gone.close()


def test_a_terminal_that_is_closed_is_a_wish_to_stop() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with deploy._stoppable() as stopped:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopped.wait(5.0)
    assert signal.getsignal(signal.SIGHUP) is before


def test_the_command_that_undoes_it_leads_to_the_same_cluster() -> None:
    where = deploy._said(Where("prod", Path("my config"), "east"))
    said = "fairlead deploy --rollback --name churn --namespace prod --kubeconfig 'my config' --context east"
    assert Asked("churn", where=where).undoing == said
    assert Asked("churn", where=deploy._said(Where())).undoing == "fairlead deploy --rollback --name churn"
