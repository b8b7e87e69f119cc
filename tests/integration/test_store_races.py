"""Several real processes at one store: a fresh database opens for all of them, and one of them wins an alias."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from racing import race

from fairlead.adapters.stores.alias_history import SqlAliasHistory
from services import fresh_schema

OPEN = """
import json, sys
from fairlead.adapters.stores.mlflow.registry import MlflowRegistry
registry = MlflowRegistry(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(registry.models()))
"""

MOVE = """
import json, sys
from pathlib import Path
from fairlead.adapters.stores.alias_history import SqlAliasHistory
from fairlead.contracts.errors import AliasMoved
from fairlead.contracts.stores import AliasMove
url, pointer, mine = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
history = SqlAliasHistory(url)
move = AliasMove("churn", "champion", "1", mine, who="process " + mine, why="race", at_ms=1)
print("ready", flush=True)
sys.stdin.readline()
try:
    history.append(move, lambda: pointer.write_text(mine) and None, pointer.read_text)
    print(json.dumps(True))
except AliasMoved:
    print(json.dumps(False))
"""


@pytest.mark.slow
def test_four_processes_open_a_fresh_registry(tmp_path: Path) -> None:
    answers = race(OPEN, [[f"sqlite:///{tmp_path}/home/mlflow.db"]] * 4)
    assert answers == [[]] * 4


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
        return
    with fresh_schema() as url:
        yield url


@pytest.mark.slow
def test_one_of_eight_processes_moves_the_alias(fresh_url: str, tmp_path: Path) -> None:
    pointer = tmp_path / "alias"
    pointer.write_text("1")
    answers = race(MOVE, [[fresh_url, str(pointer), str(number)] for number in range(2, 10)])
    assert answers.count(True) == 1
    winner = str(answers.index(True) + 2)
    moves = SqlAliasHistory(fresh_url).moves("churn", "champion")
    assert [(move.before, move.after, move.who) for move in moves] == [("1", winner, f"process {winner}")]
    assert pointer.read_text() == winner
