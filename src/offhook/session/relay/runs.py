"""The responses that are asked for upstream: which one is which, and what has come of each."""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from offhook.session.outputs import Generate
from offhook.session.relay import limits
from offhook.wire.server_events import Usage


class Waiting(msgspec.Struct, frozen=True):
    """Not asked for yet: there is no connection, or another response is in progress."""

    since: float
    until: float


class Asked(msgspec.Struct, frozen=True):
    """Upstream was asked, and has not begun."""

    event_id: str
    until: float


class Answering(msgspec.Struct, frozen=True):
    """Upstream is at it."""

    response_id: str
    until: float


class Ending(msgspec.Struct, frozen=True):
    """Nobody wants it any more, but upstream has not ended it. ``response_id`` is None until it has begun."""

    response_id: str | None
    until: float


class Over(msgspec.Struct, frozen=True):
    """Nothing more will come of it."""

    response_id: str | None = None


class Bill(enum.Enum):
    """Whether what a response took is owed to whoever keeps account."""

    NONE = enum.auto()
    OPEN = enum.auto()
    COUNTED = enum.auto()
    """As far as upstream counts it: what is estimated is what another took who answers instead."""
    TOLD = enum.auto()


RunState = Waiting | Asked | Answering | Ending | Over


class Run(msgspec.Struct):
    """One response. Its items upstream are paired with those here in the order of both."""

    request: Generate
    state: RunState
    messages: list[str] = msgspec.field(default_factory=list)
    calls: dict[str, str] = msgspec.field(default_factory=dict)
    """The function calls, by the ids of their items upstream: their ``call_id``."""
    unnamed: set[str] = msgspec.field(default_factory=set)
    """Those of them that are there by their ``call_id``, for no id was told."""
    shown: list[str] = msgspec.field(default_factory=list)
    """The messages that upstream began, with or without content."""
    paired_messages: int = 0
    paired_calls: int = 0
    worded: set[str] = msgspec.field(default_factory=set)
    """The items of which some words or arguments came."""
    produced_ms: dict[str, float] = msgspec.field(default_factory=dict)
    bill: Bill = Bill.NONE
    counted: Usage | None = None
    """What it took, as upstream counted it; ``estimate`` is what it took as far as that is known here."""
    estimate: Usage | None = None

    @property
    def number(self) -> int:
        """Its number in the conversation."""
        return self.request.run

    def message_number(self, item_id: str) -> int:
        """Return the number of a message among those of the response; it begins with its first content."""
        if item_id not in self.messages:
            if len(self.messages) >= limits.MAX_OUTPUT_ITEMS:
                return len(self.messages) - 1
            self.messages.append(item_id)
        return self.messages.index(item_id)

    def unheard(self) -> list[str]:
        """Return the messages upstream that have no item here."""
        paired = self.messages[: self.paired_messages]
        return [each for each in dict.fromkeys(self.shown + self.messages) if each not in paired]

    def call_of(self, item_id: str, call_id: str | None) -> str:
        """Return what a function call goes by here: events may name its item, its ``call_id``, or both."""
        if item_id in self.calls or not call_id:
            return item_id
        return next((known for known, named in self.calls.items() if named == call_id), item_id)

    def call_index(self, item_id: str) -> int:
        """Return the number of a function call among those of the response."""
        return list(self.calls).index(item_id)


class Runs:
    """All responses of a conversation, oldest first; those that are over are kept for a while."""

    def __init__(self) -> None:
        self._open: dict[int, Run] = {}
        self._over: dict[int, Run] = {}
        self._foreign: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._open.values()))

    def add(self, run: Run) -> None:
        """Take one more."""
        self._open[run.number] = run

    def settle(self) -> list[Run]:
        """Put those that are over aside, and forget the oldest of them; return those that were put aside."""
        settled = []
        for run in self:
            if type(run.state) is Over:
                self._over[run.number] = self._open.pop(run.number)
                settled.append(run)
                if len(self._over) > limits.MAX_RUNS:
                    del self._over[next(iter(self._over))]
        return settled

    def find(self, number: int) -> Run | None:
        """Return a response that is not over by its number here."""
        return self._open.get(number)

    def by_response(self, response_id: str) -> Run | None:
        """Return a response by its id here."""
        for runs in (self._open, self._over):
            for run in reversed(runs.values()):
                if run.request.response_id == response_id:
                    return run
        return None

    def produced_ms(self, upstream_id: str) -> int:
        """Return how much sound a message has upstream, in whole milliseconds."""
        for runs in (self._open, self._over):
            for run in reversed(runs.values()):
                if upstream_id in run.produced_ms:
                    return int(run.produced_ms[upstream_id])
        return 0

    def asked(self, number: int | None = None) -> Run | None:
        """Return the oldest response that upstream has not begun, or the one with this number here."""
        for run in self._open.values():
            match run.state:
                case Asked() | Ending(response_id=None) if number is None or run.number == number:
                    return run
                case _:
                    pass
        return None

    def begun(self, upstream_id: str | None) -> Run | None:
        """Return a response that is in progress upstream, by its id there; without one, the only one."""
        for run in self._open.values():
            match run.state:
                case Answering(response_id=known) | Ending(response_id=str(known)):
                    if upstream_id is None or known == upstream_id:
                        return run
                case _:
                    pass
        return None

    def was_over(self, upstream_id: str | None) -> bool:
        """Say whether an id is that of a response which has ended: late events of it begin no other."""
        return upstream_id is not None and any(run.state == Over(upstream_id) for run in self._over.values())

    def shun(self, upstream_id: str) -> None:
        """Remember the id of a response that belongs to nobody here: what still comes of it begins no other."""
        self._foreign[upstream_id] = []
        if len(self._foreign) > limits.MAX_RUNS:
            del self._foreign[next(iter(self._foreign))]

    def foreign(self, upstream_id: str | None) -> list[str] | None:
        """Return the messages of a response that belongs to nobody here; None for every other response."""
        return None if upstream_id is None else self._foreign.get(upstream_id)

    def forget_foreign(self) -> None:
        """The connection is another one."""
        self._foreign.clear()

    @property
    def is_busy(self) -> bool:
        """Whether a response of the conversation is in progress upstream."""
        return any(
            isinstance(run.state, Asked | Answering | Ending) and not run.request.aside for run in self._open.values()
        )

    def deadline(self) -> float | None:
        """Return when the first of them has taken too long."""
        times = [run.state.until for run in self._open.values() if not isinstance(run.state, Over)]
        return min(times, default=None)
