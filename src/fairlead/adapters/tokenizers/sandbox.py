"""Jinja2 for templates that strangers wrote: nothing of Python is in reach, and steps, sizes and seconds are bounded.

Steps are counted where a template can repeat itself: loops (all rounds of one when it begins), calls, operators and
filters. What grows is measured before it is made: sums, products, joins, powers, padding. Both are bounded by what the
conversation has, so that an honest template is never near. A rendering cannot be ended from outside, so all of it is
checked from inside, and every single step is short.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NoReturn

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fairlead.adapters.tokenizers.foreign import Tables

SECONDS: Final = 1.0
"""That one rendering may take."""
_WIDEST: Final = 1000
"""Columns that a text may be filled up to."""
_BITS: Final = 4096
"""Of a whole number."""
_PADS: Final = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_WITHOUT: Final = ("batch", "slice", "urlize", "xmlattr", "pprint", "random", "wordwrap", "filesizeformat", "format")
"""Filters that no template for conversations needs, and that grow, or look around."""
_COMPARING: Final = frozenset({"sort", "unique", "groupby", "min", "max", "dictsort"})
_WIDTH = re.compile(r"\{[^{}]*:[^{}]*(?:\{|\d{4})|%[^a-zA-Z%]*(?:\*|\d{4})")


class TooMuch(TemplateError):
    """A template that does not come to an end, or whose text does not."""


class Budget:
    """Of one rendering. ``steps``: that it may take.  ``size``: characters that a text, items that a list may have."""

    def __init__(self, steps: int, size: int, tables: Tables | None = None) -> None:
        self._left = steps
        self.size = size
        self._tables = tables
        self._end = time.monotonic() + SECONDS

    def step(self, count: int = 1) -> None:
        self._left -= count
        if self._left < 0:
            raise TooMuch("the chat template does not come to an end: it took more steps than a conversation needs")
        if time.monotonic() > self._end:
            raise TooMuch(f"the chat template takes longer than {SECONDS:g} s")

    def fits(self, size: int) -> None:
        self.step()
        if size > self.size:
            raise TooMuch(f"the chat template makes a text of more than {self.size} characters")

    def escaped(self, found: re.Match[str]) -> str:
        """A character as JSON escapes it, but for those that stand for another."""
        stands = self._tables is not None and self._tables.stands(found[0])
        return found[0] if stands else json.dumps(found[0])[1:-1]

    def weigh(self, value: Any) -> int:
        """About how many characters a value is as text; what shares parts may be far larger than it is in memory."""
        weight, waiting = 0, [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, str):
                weight += len(one)
            elif isinstance(one, dict):
                waiting.extend(one.keys())
                waiting.extend(one.values())
            elif isinstance(one, list | tuple | set | frozenset):
                waiting.extend(one)
            weight += 4
            if weight > self.size + 1024:
                self.fits(weight)
        return weight


class Generation(Extension):
    """``{% generation %}`` marks what an assistant said, for training; here it is only what is inside."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """As Hugging Face's: whitespace, ``tojson``, loop controls, ``raise_exception``, ``strftime_now``."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, budget: Callable[[], Budget]) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self._budget = budget
        for name in _WITHOUT:
            self.filters.pop(name, None)
        for name in ("lipsum", "cycler", "joiner"):
            self.globals.pop(name, None)
        self.filters |= {name: self._measured(one, name in _COMPARING) for name, one in self.filters.items()}
        tests: dict[str, Any] = dict(self.tests)
        self.tests |= {name: self._measured(one, compares=True) for name, one in tests.items()}
        self.filters |= {
            "tojson": self._json, "join": self._join, "replace": self._replace, "center": self._center,
            "indent": self._indent, "string": self._text, " rounds": self._rounds, " text": self._concatenated,
            " weighed": self._weighed, "sum": self._sum,
        }  # fmt: skip
        self.globals |= {"raise_exception": _raise, "strftime_now": _now}
        self.finalize = self._finalized

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The tree, in which loops and ``~`` are led through filters that count."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, " rounds", [], [], None, None, lineno=loop.lineno)
        for one in tree.find_all(nodes.Compare):
            one.expr = nodes.Filter(one.expr, " weighed", [], [], None, None, lineno=one.lineno)
        _replaced(tree)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = self._budget()
        if operator == "+":
            if isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
                budget.fits(len(left) + len(right))
        elif operator == "*":
            if isinstance(left, str | list | tuple) and isinstance(right, int):
                budget.fits(len(left) * max(right, 0))
            elif isinstance(right, str | list | tuple) and isinstance(left, int):
                budget.fits(len(right) * max(left, 0))
            else:
                _short(left, right)
        elif operator == "**":
            _short(left, right)
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > 2 * _BITS:
                raise TooMuch(f"the chat template makes a number of more than {_BITS} bits")
        elif isinstance(left, str):
            _narrow(left)
            budget.fits(len(left) + left.count("%") * budget.weigh(right))
        budget.step()
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget = self._budget()
        budget.step()
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            self._method(budget, owner, getattr(obj, "__name__", ""), args, kwargs)
        return super().call(context, obj, *args, **kwargs)

    @staticmethod
    def _method(budget: Budget, owner: str, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = (*args, *kwargs.values())
        if name in _PADS:
            if any(isinstance(one, int) and one > _WIDEST for one in given):
                raise TooMuch(f"the chat template fills a text up to more than {_WIDEST} columns")
            budget.fits(len(owner) * 8)
        elif name == "replace":
            new = max((len(one) for one in given if isinstance(one, str)), default=0)
            budget.fits(len(owner) + (owner.count(str(given[0])) if given else 0) * new)
        elif name == "join" and args:
            items = args[0] if isinstance(args[0], list | tuple | str) else ()
            budget.fits(budget.weigh(items) + len(owner) * len(items))
        elif name == "translate":
            raise TooMuch("the chat template translates a text by a table, which none needs")

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """What stands for ``str.format``."""
        inner = super().wrap_str_format(value)
        if inner is None:
            return None
        pattern = str(value.__self__)

        def measured(*args: Any, **kwargs: Any) -> str:
            budget = self._budget()
            _narrow(pattern)
            budget.fits(len(pattern) + pattern.count("{") * budget.weigh([*args, *kwargs.values()]))
            return inner(*args, **kwargs)

        return measured

    def _measured(self, filter_: Callable[..., Any], compares: bool) -> Callable[..., Any]:
        """A filter or test that counts as a step. ``compares``: what is in what it is given, each with each."""

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self._budget().step()
            if compares:
                for one in args:
                    self._weighed(one)
            return filter_(*args, **kwargs)

        for name in ("jinja_pass_arg", "jinja_async_variant"):
            if hasattr(filter_, name):
                setattr(stepped, name, getattr(filter_, name))
        return stepped

    def _finalized(self, value: Any) -> Any:
        if isinstance(value, str):
            return value
        self._budget().fits(self._budget().weigh(value))
        return value

    def _weighed(self, value: Any) -> Any:
        """What is compared: of lists that share parts, each is looked at as often as it stands there."""
        if isinstance(value, list | tuple | dict):
            self._budget().weigh(value)
        return value

    def _sum(self, iterable: Any, attribute: str | int | None = None, start: float = 0) -> Any:
        found = [one if attribute is None else self.getitem(one, attribute) for one in self._rounds(iterable)]
        _short(start, *found)
        return math.fsum(found) + start if any(isinstance(one, float) for one in found) else sum(found, start)

    def _rounds(self, items: Any) -> Any:
        budget = self._budget()
        if isinstance(items, Undefined):
            return items
        if hasattr(items, "__len__"):
            budget.step(1 + len(items))
            return items
        return _stepping(items, budget)

    def _concatenated(self, parts: list[Any]) -> str:
        budget = self._budget()
        budget.fits(budget.weigh(parts))
        return "".join(map(str, parts))

    def _text(self, value: Any) -> str:
        self._budget().fits(self._budget().weigh(value))
        return value if isinstance(value, str) else str(value)

    def _join(self, value: Any, d: str = "", attribute: str | int | None = None) -> str:
        budget = self._budget()
        if attribute is not None:
            value = [self.getitem(one, attribute) for one in self._rounds(value)]
        items = list(self._rounds(value))
        budget.fits(budget.weigh(items) + len(d) * len(items))
        return str(d).join(map(str, items))

    def _replace(self, s: Any, old: str, new: str, count: int | None = None) -> str:
        text = self._text(s)
        self._budget().fits(len(text) + (text.count(str(old)) if old else len(text) + 1) * len(str(new)))
        return text.replace(str(old), str(new), -1 if count is None else count)

    def _center(self, value: Any, width: int = 80) -> str:
        if width > _WIDEST:
            raise TooMuch(f"the chat template fills a text up to more than {_WIDEST} columns")
        return self._text(value).center(width)

    def _indent(self, s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = self._text(s)
        if isinstance(width, int) and width > _WIDEST:
            raise TooMuch(f"the chat template fills a text up to more than {_WIDEST} columns")
        pad = " " * width if isinstance(width, int) else width
        lines = text.split("\n")
        self._budget().fits(len(text) + len(lines) * len(pad))
        found = [pad + one if (one or blank) else one for one in lines[1:]]
        return "\n".join([(pad if first else "") + lines[0], *found])

    def _json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        budget = self._budget()
        pad = indent if isinstance(indent, int) else len(indent or "")
        if pad > 16:
            raise TooMuch("the chat template indents JSON by more than 16")
        budget.fits(budget.weigh(value) * (1 + pad))
        text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
        return re.sub(r"[^\x00-\x7f]", budget.escaped, text) if ensure_ascii else text


def _replaced(tree: nodes.Node) -> None:
    """Every ``~`` below a node as a filter over a list."""
    for field, value in tree.iter_fields():
        found = [_concat(one) for one in value] if isinstance(value, list) else _concat(value)
        setattr(tree, field, found)
    for child in tree.iter_child_nodes():
        _replaced(child)


def _concat(node: Any) -> Any:
    if not isinstance(node, nodes.Concat):
        return node
    parts = nodes.List(node.nodes, lineno=node.lineno)
    return nodes.Filter(parts, " text", [], [], None, None, lineno=node.lineno)


def _stepping(items: Iterable[Any], budget: Budget) -> Iterator[Any]:
    for one in items:
        budget.step()
        yield one


def _short(*numbers: Any) -> None:
    """Raises TooMuch for a number that is too long, or for what is none."""
    if any(isinstance(one, str | list | tuple | dict) for one in numbers):
        raise TooMuch("the chat template calculates with what is no number")
    if any(isinstance(one, int) and one.bit_length() > _BITS for one in numbers):
        raise TooMuch(f"the chat template makes a number of more than {_BITS} bits")


def _narrow(pattern: str) -> None:
    """Raises TooMuch for a pattern with a width that it does not say itself, or of four digits."""
    if _WIDTH.search(pattern):
        raise TooMuch(f"the chat template fills a text up to more than {_WIDEST} columns")


def _raise(message: Any) -> NoReturn:
    raise TemplateError(str(message))


def _now(pattern: Any) -> str:
    return datetime.now().astimezone().strftime(str(pattern)[:200])
