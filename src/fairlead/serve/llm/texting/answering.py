"""One answer: from the tokens of an engine to pieces of text, thought and calls."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fairlead.contracts.engine import Running, Tell
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Begun, CallDelta, Chosen, Ended, Piece, Reason, Usage
from fairlead.contracts.tokens import TokenEvent, Tokens, TokensBegun, TokensEnded
from fairlead.serve.llm.texting.calling.parsing import Format, Parser
from fairlead.serve.llm.texting.detokenizing import Detokenizer
from fairlead.serve.llm.texting.stopping import Automaton, Stops
from fairlead.serve.llm.texting.thinking import Thinking


@dataclass(frozen=True, slots=True)
class Reading:
    """How the tokens of one answer are read. ``piece``: the bytes of a token.  ``begins``: as ``Detokenizer`` has it.

    ``prompt``: tokens of it.  ``stops``: None for none.  ``format``: of calls; None: what looks like one is text.
    ``names``: of the tools.  ``parallel``: more than one call may be told.  ``thinks``: thought is told apart;
    ``inside``: it has begun in the prompt.  ``shown``: special tokens that are read, by id.
    ``logprobs``: alternatives of each token; None: none are asked for.
    """

    id: str
    piece: Callable[[int], bytes]
    prompt: int
    begins: bool = True
    stops: Automaton | None = None
    format: Format | None = None
    names: Collection[str] = ()
    parallel: bool = True
    thinks: bool = False
    inside: bool = False
    shown: Mapping[int, bytes] = field(default_factory=dict)
    logprobs: int | None = None


class Answer:
    """A ``Running``. Feed it with ``told``; it tells as an engine does."""

    def __init__(self, reading: Reading, tell: Tell) -> None:
        self._reading = reading
        self._tell: Tell | None = tell
        self._running: Running | None = None
        self._text = Detokenizer(reading.piece, reading.shown, reading.begins)
        self._stops = Stops(reading.stops) if reading.stops is not None else None
        self._thinking = Thinking(reading.inside) if reading.thinks else None
        identity = _identities(reading.id, short=reading.format is not None and reading.format.short)
        self._parser = Parser(reading.format, reading.names, identity) if reading.format is not None else None
        self._plain = self._stops is None and self._thinking is None and self._parser is None
        self._usage = Usage(input=reading.prompt)
        self._made = 0
        self._thought = 0
        self._untold = 0
        self._chosen: deque[tuple[int, Chosen]] = deque()
        self._seen = 0
        self._passed = 0

    def runs(self, running: Running) -> None:
        """What is to be cancelled with it; at once where it is over already."""
        if self._tell is None:
            running.cancel()
        else:
            self._running = running

    def cancel(self) -> None:
        self._tell = None
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    @property
    def over(self) -> bool:
        return self._tell is None

    def fail(self, error: FairleadError) -> None:
        tell, self._tell = self._tell, None
        self._running = None
        if tell is not None:
            tell(error)

    def told(self, event: TokenEvent) -> None:
        """What the token engine tells."""
        if self._tell is None:
            return
        if isinstance(event, Tokens):
            self._tokens(event)
        elif isinstance(event, TokensEnded):
            self._end(event)
        elif isinstance(event, TokensBegun):
            self._usage = event.usage
            self._tell(Begun(event.usage))
        else:
            self.fail(event)

    def _tokens(self, event: Tokens) -> None:
        count = len(event.ids)
        self._made += count
        self._untold += count
        if self._thinking is not None and self._thinking.inside:
            self._thought += count
        if self._reading.logprobs is None:
            text = self._text.feed(event.ids)
        else:
            text = "".join([self._one(token, place, event.logprobs) for place, token in enumerate(event.ids)])
        if self._plain:
            self._passed += len(text)
            self._say(text)
        elif self._stops is None:
            self._passed += len(text)
            self._read(text)
        else:
            passed = self._stops.feed(text)
            self._passed += len(passed)
            self._read(passed, last=self._stops.found)
            if self._stops.found:
                self._stop()

    def _one(self, token: int, place: int, logprobs: Sequence[float]) -> str:
        """Text of one token, whose probability is kept until the text is told."""
        data = self._reading.piece(token) or self._reading.shown.get(token, b"")
        text = self._text.feed((token,))
        if data and place < len(logprobs):
            written, logprob = data.decode("utf-8", "replace"), logprobs[place]
            others = ((written, logprob, data),) if self._reading.logprobs else ()
            self._chosen.append((self._seen, Chosen(written, logprob, data, others)))
        self._seen += len(text)
        return text

    def _read(self, text: str, last: bool = False) -> None:
        """Text that no stop text holds back. ``last``: nothing comes after it."""
        thought = ""
        if self._thinking is not None:
            thought, text = self._thinking.feed(text)
            if last:
                more, rest = self._thinking.end()
                thought, text = thought + more, text + rest
        if self._parser is None:
            self._say(text, thought)
            return
        parts = self._parser.feed(text) if text else []
        if last:
            parts += self._parser.end()
        calls = tuple(one for one in parts if isinstance(one, CallDelta))
        if not self._reading.parallel:
            calls = tuple(one for one in calls if one.place == 0)
        self._say("".join([one for one in parts if isinstance(one, str)]), thought, calls)

    def _say(self, text: str, thought: str = "", calls: tuple[CallDelta, ...] = ()) -> None:
        if self._tell is None or not (text or thought or calls):
            return
        count, self._untold = self._untold, 0
        self._tell(Piece(text, count, calls, thought, "", self._likely() if self._chosen else ()))

    def _likely(self) -> tuple[Chosen, ...]:
        """Of the tokens whose text is told now."""
        found = []
        while self._chosen and self._chosen[0][0] < self._passed:
            found.append(self._chosen.popleft()[1])
        return tuple(found)

    def _stop(self) -> None:
        """A stop text was there: the engine need not go on."""
        running, self._running = self._running, None
        if self._tell is None:
            return
        if running is not None:
            running.cancel()
        self._close("stop", self._usage._replace(output=self._made))

    def _end(self, event: TokensEnded) -> None:
        text = self._text.end()
        if self._stops is not None:
            text = self._stops.feed(text)
            text = text if self._stops.found else text + self._stops.end()
        self._passed += len(text)
        if self._plain:
            self._say(text)
        else:
            self._read(text, last=True)
        self._running = None
        self._close("stop" if event.stopped else "length", event.usage)

    def _close(self, reason: Reason, usage: Usage) -> None:
        tell, self._tell = self._tell, None
        if tell is None:
            return
        if self._parser is not None and self._parser.calls and reason == "stop":
            reason = "tool_calls"
        thought = min(self._thought, usage.output)
        tell(Ended(reason, usage._replace(output=usage.output - thought, reasoning=usage.reasoning + thought)))


def _identities(answer: str, short: bool) -> Callable[[int], str]:
    """Ids of calls, unique by answer and place."""

    def identity(place: int) -> str:
        digest = hashlib.sha256(f"{answer}:{place}".encode()).hexdigest()
        return digest[:9] if short else f"call_{digest[:24]}"

    return identity
