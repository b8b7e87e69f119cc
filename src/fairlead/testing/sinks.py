"""A sink in memory, for tests; ``fairlead.testing.sink_suite`` holds for it too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from fairlead.contracts.answered import Answered
from fairlead.contracts.figures import Look
from fairlead.contracts.sink import Part, Streamed


class MemoryMeter:
    """What one version of one endpoint was told. ``outcomes``: calls by ``ok`` or error code.

    ``own``: processes of the model and their bytes.  ``lost``: those that ended unasked, by reason.
    ``asked``: requests to other servers by address and outcome.  ``upstreams``: those under way, and who is left out.
    ``ejections``: by address and reason.  ``retries`` and ``hedges``: by outcome.
    ``replicas``: wanted, each time that this changed.  ``wakes``: seconds that each one took.
    ``steps``: of a graph, by name and code.  ``refused``: calls that were shed, by reason and lane.
    ``pressed``: seconds that a call would wait, and the limit of batches.
    ``fallbacks``: by rung and code.  ``breakers``: each state in turn.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rows = 0
        self.seconds: list[float] = []
        self.batches: list[tuple[int, int]] = []
        self.waiting = (0, 0)
        self.pressed = (0.0, 0)
        self.refused: Counter[tuple[str, str]] = Counter()
        self.own = (0, 0)
        self.lost: Counter[str] = Counter()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.upstreams: dict[str, tuple[int, bool]] = {}
        self.ejections: Counter[tuple[str, str]] = Counter()
        self.retries: Counter[str] = Counter()
        self.hedges: Counter[str] = Counter()
        self.replicas: list[int] = []
        self.wakes: list[float] = []
        self.steps: Counter[tuple[str, str]] = Counter()
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        self.breakers: list[str] = []

    def answered(self, seconds: float, rows: int, queue: float, compute: float) -> None:  # noqa: ARG002 - the contract
        self.outcomes["ok"] += 1
        self.rows += rows
        self.seconds.append(seconds)

    def failed(self, code: str, seconds: float) -> None:
        self.outcomes[code] += 1
        self.seconds.append(seconds)

    def batch(self, rows: int, calls: int, seconds: float) -> None:  # noqa: ARG002 - the contract
        self.batches.append((rows, calls))

    def queue(self, rows: int, calls: int) -> None:
        self.waiting = (rows, calls)

    def pressure(self, wait: float, limit: int) -> None:
        self.pressed = (wait, limit)

    def shed(self, reason: str, lane: str) -> None:
        self.refused[reason, lane] += 1

    def processes(self, live: int, resident: int) -> None:
        self.own = (live, resident)

    def replaced(self, reason: str) -> None:
        self.lost[reason] += 1

    def upstream(self, address: str, in_flight: int, out: bool) -> None:
        self.upstreams[address] = (in_flight, out)

    def upstream_asked(self, address: str, outcome: str) -> None:
        self.asked[address, outcome] += 1

    def ejected(self, address: str, reason: str) -> None:
        self.ejections[address, reason] += 1

    def retry(self, outcome: str) -> None:
        self.retries[outcome] += 1

    def hedge(self, outcome: str) -> None:
        self.hedges[outcome] += 1

    def wanted(self, replicas: int) -> None:
        self.replicas.append(replicas)

    def woke(self, seconds: float) -> None:
        self.wakes.append(seconds)

    def step(self, step: str, code: str, seconds: float) -> None:  # noqa: ARG002 - the contract
        self.steps[step, code] += 1

    def fell_back(self, rung: str, code: str) -> None:
        self.fallbacks[rung, code] += 1

    def breaker(self, state: str) -> None:
        self.breakers.append(state)


class MemoryWorkersMeter:
    """``now``: how many answer.  ``restarts``: by reason.  ``unheard``: who did not answer in time."""

    def __init__(self) -> None:
        self.now = 0
        self.restarts: Counter[str] = Counter()
        self.unheard: list[str] = []

    def live(self, workers: int) -> None:
        self.now = workers

    def restarted(self, reason: str) -> None:
        self.restarts[reason] += 1

    def silent(self, worker: str) -> None:
        self.unheard.append(worker)


class MemoryChatMeter:
    """What one language model was told. ``began``: questions.  ``told``: their ends, all of them."""

    def __init__(self) -> None:
        self.questions = 0
        self.told: list[Answered] = []
        self.engine = (0, 0, 0.0)
        self.looks: Counter[str] = Counter()

    def cached(self, outcome: str) -> None:
        self.looks[outcome] += 1

    def began(self) -> None:
        self.questions += 1

    def answered(self, one: Answered) -> None:
        self.told.append(one)

    def waiting(self, waiting: int, running: int, memory: float) -> None:
        self.engine = (waiting, running, memory)


class MemoryGuardMeter:
    """What the guardrails of one language model were found to do."""

    def __init__(self) -> None:
        self.findings: Counter[tuple[str, str, str, str]] = Counter()
        self.looks: Counter[str] = Counter()
        self.silent: Counter[tuple[str, str, str]] = Counter()

    def found(self, side: str, detector: str, kind: str, action: str, findings: int) -> None:
        self.findings[side, detector, kind, action] += findings

    def looked(self, side: str, seconds: float) -> None:  # noqa: ARG002 - the contract names it
        self.looks[side] += 1

    def missed(self, side: str, detector: str, why: str) -> None:
        self.silent[side, detector, why] += 1


class MemorySink:
    """Keeps what it is told. ``over``: calls over a limit.  ``shared``: what became of shared limits.
    ``spends``, ``over_budgets``, ``budgets``: what the ledger told.

    Its exposition is ``name value`` for each count and ``!name value`` for the rest."""

    def __init__(self) -> None:
        self.meters: dict[tuple[str, str], MemoryMeter] = {}
        self.edge_errors: Counter[tuple[str, str]] = Counter()
        self.versions: dict[tuple[str, str], bool] = {}
        self.kept: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.faults: Counter[tuple[str, str]] = Counter()
        self.down: dict[str, bool] = {}
        self.over: Counter[tuple[str, str, str]] = Counter()
        self.shared: Counter[str] = Counter()
        self.stalls: list[float] = []
        self.spends: Counter[tuple[str, str]] = Counter()
        self.over_budgets: Counter[tuple[str, str]] = Counter()
        self.budgets: dict[str, tuple[int, int, int]] = {}
        self.streams: dict[tuple[str, str], Callable[[], Streamed]] = {}
        self.looks: dict[str, Look] = {}
        self.certificate_until = 0.0
        self.chats: dict[str, MemoryChatMeter] = {}
        self.guarded: dict[str, MemoryGuardMeter] = {}
        self._workers = MemoryWorkersMeter()

    def endpoint(self, endpoint: str, version: str) -> MemoryMeter:
        return self.meters.setdefault((endpoint, version), MemoryMeter())

    def chat(self, endpoint: str) -> MemoryChatMeter:
        return self.chats.setdefault(endpoint, MemoryChatMeter())

    def guards(self, endpoint: str) -> MemoryGuardMeter:
        return self.guarded.setdefault(endpoint, MemoryGuardMeter())

    def workers(self) -> MemoryWorkersMeter:
        return self._workers

    def edge_error(self, route: str, code: str) -> None:
        self.edge_errors[route, code] += 1

    def ready(self, endpoint: str, version: str, ready: bool) -> None:
        self.versions[endpoint, version] = ready

    def stalled(self, seconds: float) -> None:
        self.stalls.append(seconds)

    def events(self, recorder: str, kept: int, dropped: int) -> None:
        self.kept[recorder] += kept
        self.dropped[recorder] += dropped

    def injected(self, endpoint: str, kind: str, calls: int) -> None:
        self.faults[endpoint, kind] += calls

    def degraded(self, part: str, down: bool) -> None:
        self.down[part] = down

    def limited(self, endpoint: str, scope: str, limit: str) -> None:
        self.over[endpoint, scope, limit] += 1

    def shared_limits(self, counted: str, calls: int) -> None:
        self.shared[counted] += calls

    def spent(self, endpoint: str, tokens: int, cost: int, currency: str) -> None:
        self.spends[endpoint, "tokens"] += tokens
        self.spends[endpoint, currency] += cost

    def over_budget(self, endpoint: str, reason: str) -> None:
        self.over_budgets[endpoint, reason] += 1

    def budget(self, budget: str, currency: str, amount: int, settled: int, reserved: int) -> None:  # noqa: ARG002
        self.budgets[budget] = amount, settled, reserved

    def stream(self, endpoint: str, group: str, look: Callable[[], Streamed]) -> None:
        self.streams[endpoint, group] = look

    def figures(self, owner: str, look: Look) -> None:
        self.looks[owner] = look

    def certificate(self, until: float) -> None:
        self.certificate_until = until

    def render(self) -> tuple[bytes, str]:
        counts = {f"edge:{route}:{code}": count for (route, code), count in self.edge_errors.items()}
        counts |= {f"events:{recorder}": count for recorder, count in self.kept.items()}
        counts |= {f"injected:{':'.join(key)}": count for key, count in self.faults.items()}
        counts |= {f"!degraded:{part}": int(down) for part, down in self.down.items()}
        counts |= {f"limited:{':'.join(key)}": count for key, count in self.over.items()}
        counts |= {f"shared:{counted}": count for counted, count in self.shared.items()}
        counts |= {f"spent:{':'.join(key)}": count for key, count in self.spends.items()}
        counts |= {f"over_budget:{':'.join(key)}": count for key, count in self.over_budgets.items()}
        for key, meter in self.meters.items():
            counts |= {f"calls:{':'.join(key)}:{code}": count for code, count in meter.outcomes.items()}
            counts |= {f"lost:{':'.join(key)}:{reason}": count for reason, count in meter.lost.items()}
            counts |= {f"asked:{':'.join(key)}:{' '.join(one)}": count for one, count in meter.asked.items()}
            counts |= {f"ejected:{':'.join(key)}:{' '.join(one)}": count for one, count in meter.ejections.items()}
            counts |= {f"retry:{':'.join(key)}:{one}": count for one, count in meter.retries.items()}
            counts |= {f"hedge:{':'.join(key)}:{one}": count for one, count in meter.hedges.items()}
            counts |= {f"step:{':'.join((*key, *step))}": count for step, count in meter.steps.items()}
            counts |= {f"shed:{':'.join((*key, *one))}": count for one, count in meter.refused.items()}
            counts |= {f"fallback:{':'.join((*key, *one))}": count for one, count in meter.fallbacks.items()}
            counts |= {f"breaker:{':'.join(key)}:{state}": n for state, n in Counter(meter.breakers).items()}
            counts[f"!waiting:{':'.join(key)}"] = meter.waiting[0]
        for name, chat in self.chats.items():
            outcomes = Counter(one.outcome for one in chat.told)
            counts |= {f"chat:{name}:{outcome}": count for outcome, count in outcomes.items()}
        for name, guard in self.guarded.items():
            counts |= {f"guard:{name}:{':'.join(key)}": count for key, count in guard.findings.items()}
        for shows in self.looks.values():
            for one in shows():
                mark = "" if one.kind == "counter" else "!"
                counts[f"{mark}figure:{one.name}:{':'.join(value for _, value in one.labels)}"] = int(one.value)
        for key, look in self.streams.items():
            counts[f"streamed:{':'.join(key)}"] = look().answered
        return "".join(f"{name} {count}\n" for name, count in counts.items()).encode(), "text/plain"

    def merge(self, parts: Sequence[Part]) -> bytes:
        total: Counter[str] = Counter()
        for part in parts:
            for line in part.text.decode().splitlines():
                name, _, count = line.rpartition(" ")
                if not (part.gone and name.startswith("!")):
                    total[name] += int(count)
        return "".join(f"{name} {count}\n" for name, count in total.items()).encode()
