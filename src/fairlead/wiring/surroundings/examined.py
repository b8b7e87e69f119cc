"""All the checks of a spec, in the order in which they are told; what lies elsewhere is asked at once, and not for
ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from fairlead.contracts.errors import FairleadError
from fairlead.kit.sentences import cause
from fairlead.kit.spec import read as files
from fairlead.kit.spec.read import SpecFile
from fairlead.package.doctor import Finding, Level
from fairlead.wiring import specs
from fairlead.wiring.surroundings import local, models, reached

SECONDS: Final = 20.0
"""For everything that lies elsewhere, together."""


def examine(
    path: Path,
    home: Path | None = None,
    tracking: str | None = None,
    seconds: float = SECONDS,
    loading: float = models.SECONDS,
) -> list[Finding]:
    """Findings, never an error: what cannot be looked at is one. ``seconds``: for what lies elsewhere, together.
    ``loading``: for each model."""
    try:
        file = files.read(path)
    except FairleadError as error:
        return [Finding(Level.FAIL, "spec", str(error))]
    found = [*_spec(file, path), *local.references(file), *local.certificate(file), *local.libraries(file)]
    found += [*local.gpu(file)]
    clocks = reached.Clocks()
    tool = reached.Check("containers", "the container tool", local.containers, Level.WARN)
    elsewhere = [tool, *reached.checks(file, clocks)]
    try:
        where = specs.home(file.spec, home, tracking)
    except FairleadError as error:  # a secret of a URL, which was told, or a setting of the environment
        told = f"neither stores, ports, room nor models were looked at: {error}"
        return [*found, *bounded(elsewhere, seconds), clocks.found(), Finding(Level.FAIL, "stores", told)]
    found += [*local.ports(file, where), *local.room(where)]
    found += bounded([*reached.of_stores(file, where, clocks), *elsewhere], seconds)
    found.append(clocks.found())
    for one in models.checks(file, where):
        found += bounded([one], loading)
    return found


def _spec(file: SpecFile, path: Path) -> Iterator[Finding]:
    try:
        specs.check(specs.read(path))
    except FairleadError as error:
        yield Finding(Level.FAIL, "spec", str(error))
    else:
        yield Finding(Level.OK, "spec", f"{path} can be served: {', '.join(file.spec.endpoints)}")


def bounded(checks: Iterable[reached.Check], seconds: float) -> list[Finding]:
    """All at once; what has not ended in time is a finding. Its thread ends with the process."""
    asked: list[tuple[reached.Check, list[Finding], threading.Thread]] = []
    for one in checks:
        said: list[Finding] = []
        thread = threading.Thread(target=_run, args=(one, said), name=f"doctor-{one.check}", daemon=True)
        thread.start()
        asked.append((one, said, thread))
    ends = time.monotonic() + seconds
    found: list[Finding] = []
    for one, said, thread in asked:
        thread.join(max(0.0, ends - time.monotonic()))
        late = f"{one.what} did not answer in {seconds:g} seconds; is it reached from here?"
        found += [Finding(one.late, one.check, late)] if thread.is_alive() else said
    return found


def _run(check: reached.Check, said: list[Finding]) -> None:
    try:
        said += check.act()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a library may raise anything; that it does is the finding
        told = str(error) if isinstance(error, FairleadError) else cause(error)
        said.append(Finding(Level.FAIL, check.check, f"{check.what}: {told}"))
