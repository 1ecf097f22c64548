"""Several backends for one role, in an order: when one fails, the next takes the turn.

One that failed is left alone for a while, longer each time, and then tried again by one turn. Somebody who has another
at hand does not wait as long for the first as its own time-out says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, cast

from offhook.errors import ConfigError
from offhook.model.http import AnswerRefusedError
from offhook.model.interface import ModelError
from offhook.model.settings import Role
from offhook.telemetry.log import FactLog

# For the first sign of an answer, where another could give one: a caller waits for all of it. A language model on this
# machine reads its instructions for seconds; a recogniser has to hear the whole turn.
PATIENCE_S: Final = MappingProxyType({"stt": 6.0, "llm": 10.0, "tts": 4.0})
# A backend that has failed is left alone, or every turn would begin with waiting for it: after the first failure for
# so long, after each further one twice as long.
REST_S: Final = 15.0
MOST_REST_S: Final = 240.0
# What is wrong with the request, or passes at once, is no reason to leave a backend alone.
_PASSING: Final = frozenset({"unsupported_language", "overloaded"})
# What servers answer to a request that they do not take: the schema of a function, the name of a voice, too long a
# conversation. It is one client's, and the other calls keep the backend.
_REFUSED_REQUEST: Final = frozenset({400, 413, 415, 422})

P = TypeVar("P")
T = TypeVar("T")


@dataclass(slots=True)
class Seat(Generic[P]):
    """A backend in its place. One that is a ``reserve`` by itself may be missing; nobody asked for it.

    ``where`` is what the settings call it: a flag, or a table.
    ``failures`` and ``stood_in`` (turns it took for another) are counted; ``in_a_row`` are failures since it last
    worked.
    """

    name: str
    part: P
    patience_s: float
    is_reserve: bool = False
    where: str = ""
    is_ready: bool = True
    failures: int = 0
    stood_in: int = 0
    in_a_row: int = 0
    rests_until: float = field(default=float("-inf"))

    @property
    def model(self) -> str:
        """What it is, for people."""
        name: str = getattr(self.part, "name", self.name)
        return name


class Order(Generic[P]):
    """The backends of one role. ``clock`` is monotonic seconds."""

    def __init__(
        self, role: Role, seats: Sequence[Seat[P]], clock: Callable[[], float], log: FactLog | None = None
    ) -> None:
        self.role: Final = role
        self.seats: Final = tuple(seats)
        self._clock = clock
        self._log = log or FactLog("models")

    # -- life

    async def start(self) -> None:
        """Start all of them, the first before the others. Raises ConfigError, but not for a reserve."""
        for seat in self.seats:
            try:
                await call(seat.part, "start")
                seat.is_ready = True
            except Exception as failure:  # a plugin is not ours; whatever it raises is told at the start
                problem = _named(seat, failure) if isinstance(failure, ConfigError) else _broken(seat, failure)
                if not seat.is_reserve:
                    raise problem from failure.__cause__
                seat.is_ready = False
                self._log.warning("nothing stands in for the backend", role=self.role, missing=seat.name, why=problem)

    async def stop(self) -> None:
        """Stop all of them."""
        for seat in reversed(self.seats):
            await stop_part(seat.part, self._log)

    def report(self) -> dict[str, Any]:
        """Return the figures of the first, and of each how it does, where there are several."""
        figures: dict[str, Any] = call_report(self.seats[0].part)
        if len(self.seats) == 1:
            return figures
        return figures | {"order": [self._shown(seat) for seat in self.seats]}

    def _shown(self, seat: Seat[P]) -> dict[str, Any]:
        shown = {"part": self.role, "backend": seat.name, "name": seat.model, "ready": seat.is_ready}
        return shown | {"resting": self._rests(seat), "failures": seat.failures, "stood_in": seat.stood_in}

    @property
    def queue_wait_ms(self) -> float:
        """How long a turn waits for whoever takes it now."""
        wait_ms: float = getattr(self.usable()[0].part, "queue_wait_ms", 0.0)
        return wait_ms

    # -- who takes a turn

    def _rests(self, seat: Seat[P]) -> bool:
        return self._clock() < seat.rests_until

    def usable(self) -> list[Seat[P]]:
        """Return those that are worth asking, in their order: all of them when none is."""
        ready = [seat for seat in self.seats if seat.is_ready] or [self.seats[0]]
        return [seat for seat in ready if not self._rests(seat)] or ready

    async def answers(self, ask: Callable[[P], AsyncIterator[T]]) -> AsyncIterator[tuple[Seat[P], T]]:
        """Yield what the first of them gives that gives anything, or comes to an end without. Raises ModelError.

        Whoever has begun an answer has to finish it: what it fails with then is raised.
        """
        seats = self.usable()
        for seat in seats:
            is_last = seat is seats[-1]
            begun = False
            try:
                asked = self.ask(seat, ask, has_other=not is_last)
                async with aclosing(cast("Any", asked)) as outputs:
                    async for output in outputs:
                        begun = True
                        yield seat, output
            except Exception:  # what parts fail with has no common type; it is taken down, and the next one is asked
                if begun or is_last:
                    raise
            else:
                return

    async def ask(self, seat: Seat[P], begin: Callable[[P], AsyncIterator[T]], *, has_other: bool) -> AsyncIterator[T]:
        """Yield what one of them gives, and take down how it does; it has to begin soon where another could."""
        tried_until: float | None = None
        if seat.in_a_row and not self._rests(seat):
            # This turn tries whether it is back; the others do not wait for that too.
            seat.rests_until = tried_until = self._clock() + seat.patience_s
        begun = False
        try:
            async with closing_outputs(begin(seat.part)) as pieces:
                patience = asyncio.timeout(seat.patience_s if has_other else None)
                try:
                    async with patience:
                        piece = await anext(pieces)
                except TimeoutError:
                    if not patience.expired():  # it is the backend's own
                        raise
                    raise ModelError("model_timeout", f"{seat.model} gave nothing for {seat.patience_s:g} s.") from None
                while True:
                    if not begun:
                        begun = True
                        self._worked(seat)
                    yield piece
                    piece = await anext(pieces)
        except StopAsyncIteration:
            if not begun:
                self._worked(seat)
        except Exception as failure:  # of a ModelError or an adapter's bug the next one knows nothing
            if not self._failed(seat, failure) and seat.rests_until == tried_until:
                seat.rests_until = self._clock()  # it was not found out; the next turn tries
            raise

    def _worked(self, seat: Seat[P]) -> None:
        if seat.in_a_row:
            seat.in_a_row = 0
            seat.rests_until = float("-inf")
            self._log.info("the backend works again", role=self.role, backend=seat.name)
        if seat is not self.seats[0]:
            seat.stood_in += 1

    def _failed(self, seat: Seat[P], failure: Exception) -> bool:
        """Take a failure down, and return whether the backend is left alone for it."""
        seat.failures += 1
        code = failure.code if isinstance(failure, ModelError) else "server_error"
        if len(self.seats) == 1 or code in _PASSING:
            return False
        why = failure.message if isinstance(failure, ModelError) else type(failure).__name__
        if isinstance(failure, AnswerRefusedError) and failure.status in _REFUSED_REQUEST:
            self._log.info("the backend refused a request", role=self.role, backend=seat.name, code=code, why=why)
            return False
        now = self._clock()
        if not seat.in_a_row:
            others = [each.name for each in self.seats if each is not seat and each.is_ready]
            self._log.warning(
                "the backend failed; another stands in" if others else "the backend failed",
                role=self.role,
                backend=seat.name,
                code=code,
                why=why,
                others=", ".join(others) or None,
            )
        # Turns that failed side by side are one failure.
        if not seat.in_a_row or now >= seat.rests_until - seat.patience_s:
            seat.in_a_row += 1
        seat.rests_until = now + min(REST_S * 2 ** min(seat.in_a_row - 1, 8), MOST_REST_S)
        return True


def _named(seat: Seat[Any], failure: ConfigError) -> ConfigError:
    """Return a failure with the setting's whole name, where the backend knows only the member of its own table."""
    if failure.key != "url" or not seat.where:
        return failure
    key = seat.where if seat.where.startswith("--") else f"{seat.where}.{failure.key}"
    return ConfigError(key, failure.message, failure.mend)


def _broken(seat: Seat[Any], failure: Exception) -> ConfigError:
    return ConfigError(
        f"backends.{seat.name}", f"cannot start: {type(failure).__name__}: {failure}", "mend it, or name another"
    )


@asynccontextmanager
async def closing_outputs(outputs: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close what is left of an iterator that can be closed, as generators can."""
    try:
        yield aiter(outputs)
    finally:
        close = getattr(outputs, "aclose", None)
        if close is not None:
            await close()


async def call(part: object, name: str) -> None:
    """Call an asynchronous method that a part may have."""
    method = getattr(part, name, None)
    if method is not None:
        await method()


async def stop_part(part: object, log: FactLog) -> None:
    """Stop a part that can be stopped; a plugin that fails at that does not keep the others from it."""
    try:
        await call(part, "stop")
    except Exception as bug:  # a plugin is not ours
        name = getattr(part, "name", type(part).__name__)
        log.error("the backend did not stop", backend=name, failure=bug)


def call_report(part: object) -> dict[str, Any]:
    """Return what a part says of itself; a plugin that fails at that does not take the others' figures along."""
    report: Callable[[], dict[str, Any]] = getattr(part, "report", dict)
    try:
        return dict(report())
    except Exception:  # a plugin is not ours
        return {"report": "failed"}
