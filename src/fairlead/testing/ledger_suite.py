"""What every ledger keeps: the check-suite of ``fairlead.ledgers``."""

from __future__ import annotations

from collections.abc import Callable

from fairlead.contracts.errors import NotFound
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, LedgerStore, Line, Refusal, Reservation

ACCOUNT = Account("project", "acme", "shop", "chat", "model")
HOUR = 3_600_000

Make = Callable[[], LedgerStore]


def line(
    key: str = "b", most: int = 100, worst: int = 40, *, hard: bool = True, money: bool = False, hour: int = 0
) -> Line:
    return Line(key, hour * HOUR, (hour + 1) * HOUR, most, worst, money, hard)


def asked(*lines: Line, name: str = "r", at_ms: int = 1) -> Reservation:
    return Reservation(name, ACCOUNT, at_ms, "USD", lines)


def held(found: Hold | Refusal) -> Hold:
    if isinstance(found, Hold):
        return found
    raise AssertionError(f"this was refused: {found}")


def same(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"found {found!r}; expected {wanted!r}")


def stands(ledger: LedgerStore, key: str = "b") -> tuple[int, int]:
    """Settled and reserved."""
    return next((one.settled, one.reserved) for one in ledger.balances() if one.key == key)


def check_reserves_the_worst_and_settles_what_it_was(make: Make) -> None:
    ledger = make()
    hold = held(ledger.reserve(asked(line())))
    same(stands(ledger), (0, 40))
    ledger.settle(hold, Usage(5, 1, 2, 1), 0, "settled", 9)
    same(stands(ledger), (9, 0))
    (spend,) = ledger.spends()
    same((spend.id, spend.account, spend.at_ms, spend.ended_ms), ("r", ACCOUNT, 1, 9))
    same((spend.usage, spend.how, spend.of), (Usage(5, 1, 2, 1), "settled", (("b", 0, HOUR, 9),)))
    ledger.close()


def check_what_does_not_fit_is_refused_and_costs_nothing(make: Make) -> None:
    ledger = make()
    held(ledger.reserve(asked(line(), line("other"))))
    held(ledger.reserve(asked(line(), line("other"))))
    found = ledger.reserve(asked(line("other", worst=1), line()))
    same(found, Refusal(1, 0, 80, HOUR))
    same(stands(ledger, "other"), (0, 80))
    same(list(ledger.spends()), [])
    ledger.close()


def check_what_is_released_may_be_had_again(make: Make) -> None:
    ledger = make()
    hold = held(ledger.reserve(asked(line(worst=100))))
    same(isinstance(ledger.reserve(asked(line(worst=1))), Refusal), True)
    ledger.release(hold)
    same(stands(ledger), (0, 0))
    held(ledger.reserve(asked(line(worst=100))))
    ledger.close()


def check_soft_ones_are_told_and_go_on(make: Make) -> None:
    ledger = make()
    hold = held(ledger.reserve(asked(line(), line("soft", most=1, hard=False))))
    same(list(hold.over), [1])
    ledger.settle(hold, Usage(30), 0, "settled", 2)
    same(stands(ledger, "soft"), (30, 0))
    ledger.close()


def check_money_and_tokens_apart(make: Make) -> None:
    ledger = make()
    hold = held(ledger.reserve(asked(line(), line("usd", most=10**12, worst=10**9, money=True))))
    ledger.settle(hold, Usage(10, 0, 5, 0), 123_456_789, "cancelled", 2)
    same(stands(ledger), (15, 0))
    same(stands(ledger, "usd"), (123_456_789, 0))
    ledger.close()


def check_a_window_begins_afresh_and_late_answers_belong_to_the_one_before(make: Make) -> None:
    ledger = make()
    late = held(ledger.reserve(asked(line(worst=100))))
    hold = held(ledger.reserve(asked(line(worst=100, hour=1), at_ms=HOUR)))
    same(stands(ledger), (0, 100))
    ledger.settle(late, Usage(70), 0, "settled", HOUR + 5)
    same(stands(ledger), (0, 100))
    ledger.settle(hold, Usage(20), 0, "settled", HOUR + 6)
    same(stands(ledger), (20, 0))
    same(isinstance(ledger.reserve(asked(line(worst=81), at_ms=5)), Refusal), True)  # a clock that was set back
    ledger.close()


def check_a_hold_is_settled_once(make: Make) -> None:
    ledger = make()
    hold = held(ledger.reserve(asked(line())))
    ledger.settle(hold, Usage(10), 0, "settled", 2)
    ledger.settle(hold, Usage(10), 0, "settled", 3)
    ledger.release(hold)
    same(stands(ledger), (10, 0))
    same(len(list(ledger.spends())), 1)
    ledger.close()


def check_what_was_not_reserved_can_be_charged(make: Make) -> None:
    ledger = make()
    ledger.charge(asked(line(most=10)), Usage(50), 0, "failed", 2)
    same(stands(ledger), (50, 0))
    same([one.how for one in ledger.spends()], ["failed"])
    ledger.close()


def check_resets_and_rebuilds(make: Make) -> None:
    ledger = make()
    for _ in range(3):
        ledger.settle(held(ledger.reserve(asked(line(most=1000)))), Usage(7), 0, "settled", 2)
    same(ledger.reset("b", "ann", 3).settled, 21)
    same(stands(ledger), (0, 0))
    ledger.settle(held(ledger.reserve(asked(line(most=1000)))), Usage(5), 0, "settled", 4)
    before = ledger.balances()
    same(ledger.rebuild(), before)
    same(stands(ledger), (5, 0))
    try:
        ledger.reset("nobody's", "ann", 3)
    except NotFound:
        pass
    else:
        raise AssertionError("a balance that is not there was reset")
    ledger.close()


def check_the_log_by_time(make: Make) -> None:
    ledger = make()
    for at in (10, 20, 30):
        ledger.settle(held(ledger.reserve(asked(line(most=1000), name=f"r{at}", at_ms=at))), Usage(1), 0, "settled", at)
    same([one.id for one in ledger.spends(20)], ["r20", "r30"])
    same([one.id for one in ledger.spends(10, 30)], ["r10", "r20"])
    same(ledger.tick(40), 0)
    ledger.flush()
    ledger.close()


def check_the_log_as_it_comes(make: Make) -> None:
    ledger = make()

    def settle(name: str, at: int) -> None:
        ledger.settle(held(ledger.reserve(asked(line(most=1000), name=name, at_ms=at))), Usage(1), 0, "settled", at)

    def after(place: str, since_ms: int = 0) -> tuple[list[str], str]:
        found = ledger.spends_after(place, since_ms)
        if found is None:
            raise AssertionError(f"the log has the place {place!r}")
        return [one.id for one in found[0] if one.at_ms >= since_ms], found[1]

    same(after("")[0], [])
    settle("r10", 10)
    some, place = after("")
    same(some, ["r10"])
    same(after(place), ([], place))
    settle("r20", 20)
    settle("r30", 30)
    same(after(place)[0], ["r20", "r30"])
    same(after(after(place)[1])[0], [])
    same(after("", 20)[0], ["r20", "r30"])
    ledger.close()


CHECKS = tuple(found for name, found in sorted(globals().items()) if name.startswith("check_"))
