"""What the conformance classes stand on: one backend in an event loop of its own, asked, stopped and watched.

Every task that a request begins is remembered, so that one that outlives its backend is found.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from contextvars import ContextVar
from typing import Any, ClassVar, Final, Generic, TypeVar

from offhook.model.interface import ModelError

P = TypeVar("P")
T = TypeVar("T")

# Where a request is cancelled: after so many steps of the event loop, from before it begins to deep within.
STEPS: Final = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
# A request that is cancelled, and the tasks it began, end at once; this is for a busy machine.
ENDING_S: Final = 10.0

_asking: ContextVar[bool] = ContextVar("offhook_asking", default=False)


def require(condition: object, message: str) -> None:
    """Fail the test with a message, also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


class Conformance(ABC, Generic[P]):
    """One protocol as tests. A subclass says how its backend is made; pytest runs the rest."""

    patience_s: ClassVar[float] = 30.0
    """How long one request may take."""

    @abstractmethod
    def make(self) -> P | AbstractAsyncContextManager[P]:
        """Return the backend, not started; or what has it while it is entered, where something has to run beside it.

        It is called within a running event loop, once for each test.
        """

    def make_failing(self) -> P | AbstractAsyncContextManager[P] | None:
        """Return one whose engine fails at every request (its server is gone); None skips the test of that."""
        return None

    # -- for the tests

    @abstractmethod
    def ask(self, part: P) -> AsyncIterator[Any]:
        """Make an ordinary request."""

    @abstractmethod
    def judge(self, outputs: list[Any]) -> None:
        """Raise AssertionError where outputs are not what the protocol promises."""

    def _run(self, test: Callable[[P], Awaitable[None]], make: Callable[[], Any] | None = None) -> None:
        asyncio.run(self._whole(test, make or self.make))

    async def _whole(self, test: Callable[[P], Awaitable[None]], make: Callable[[], Any]) -> None:
        begun: list[asyncio.Task[Any]] = []
        asyncio.get_running_loop().set_task_factory(_remembering(begun))
        async with AsyncExitStack() as stack:
            made = make()
            part: P = await stack.enter_async_context(made) if hasattr(made, "__aenter__") else made
            stack.push_async_callback(_call, part, "stop")
            await _call(part, "start")
            await test(part)
            await stack.aclose()
            if left := [task for task in begun if not task.done()]:
                await asyncio.wait(left, timeout=1.0)
        left = [task for task in begun if not task.done()]
        for task in left:
            task.cancel()
        require(not left, f"{len(left)} task(s) are left of it after its stop: {left[:1]}")

    async def _collect(self, outputs: AsyncIterator[T]) -> list[T]:
        """Return all outputs; whatever is raised but ModelError is not what was promised."""
        return await self._asked(lambda: self._all(outputs))

    async def _collect_or_refusal(self, outputs: AsyncIterator[T]) -> list[T] | None:
        """Return all outputs, or None when the request was refused in the way that is promised."""
        try:
            return await self._collect(outputs)
        except ModelError as failure:
            judge_failure(failure)
            return None

    async def _all(self, outputs: AsyncIterator[T], most: int | None = None) -> list[T]:
        found: list[T] = []
        try:
            async for output in outputs:
                found.append(output)
                if len(found) == most:
                    break
        except ModelError:
            raise
        except Exception as failure:  # whatever it is, an author has to be told that it is not the promised one
            raise AssertionError(f"it raised {type(failure).__name__} ({failure}), not ModelError") from failure
        finally:
            close = getattr(outputs, "aclose", None)
            if close is not None:
                await close()
        return found

    async def _asked(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something as a request: in a task whose tasks are remembered, within the time there is."""
        try:
            return await asyncio.wait_for(_as_request(work), self.patience_s)
        except TimeoutError:
            raise AssertionError(f"it did not come to an end within {self.patience_s:g} s") from None

    # -- what all of them promise

    def test_it_has_a_name(self) -> None:
        """``name`` is for people: logs, ``/health``."""

        async def test(part: P) -> None:
            name = getattr(part, "name", None)
            require(isinstance(name, str) and name.strip(), f"its name is {name!r}")

        self._run(test)

    def test_a_request_is_answered_as_the_protocol_says(self) -> None:
        """The types of the outputs, their order and their end."""

        async def test(part: P) -> None:
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_requests_side_by_side_do_not_disturb_each_other(self) -> None:
        """One backend serves all calls."""

        async def test(part: P) -> None:
            answers = await asyncio.gather(*(self._collect(self.ask(part)) for _ in range(4)))
            for outputs in answers:
                self.judge(outputs)

        self._run(test)

    def test_a_request_can_be_cancelled_at_any_point(self) -> None:
        """A caller who interrupts cancels the answer; the next one is as good as ever."""

        async def test(part: P) -> None:
            for steps in STEPS:
                await self._cancel_after(part, steps)
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    async def _cancel_after(self, part: P, steps: int) -> None:
        task = asyncio.ensure_future(_as_request(lambda: self._all(self.ask(part))))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        _, late = await asyncio.wait([task], timeout=ENDING_S)
        require(not late, f"it goes on after it was cancelled (step {steps})")
        if not task.cancelled():
            with suppress(ModelError):
                task.result()

    def test_a_request_can_be_cancelled_after_its_first_output(self) -> None:
        """The same where it has begun."""

        async def test(part: P) -> None:
            began = asyncio.Event()

            async def listen() -> None:
                async for _ in self.ask(part):
                    began.set()

            task = asyncio.ensure_future(_as_request(listen))
            waiting = asyncio.ensure_future(began.wait())
            await asyncio.wait([task, waiting], timeout=self.patience_s, return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            waiting.cancel()
            _, late = await asyncio.wait([task], timeout=ENDING_S)
            require(not late, "it goes on after it was cancelled")
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_whoever_stops_listening_stops_the_work(self) -> None:
        """An iterator that is closed after its first output leaves nothing behind."""

        async def test(part: P) -> None:
            await self._asked(lambda: self._all(self.ask(part), most=1))
            self.judge(await self._collect(self.ask(part)))

        self._run(test)

    def test_a_failure_is_told_as_model_error(self) -> None:
        """Whatever goes wrong has a code for programs and a sentence for people."""
        import pytest

        async def test(part: P) -> None:
            try:
                await self._collect(self.ask(part))
            except ModelError as failure:
                judge_failure(failure)
            else:
                require(condition=False, message="it did not fail")

        async def probe() -> bool:
            return self.make_failing() is None

        if asyncio.run(probe()):
            pytest.skip("make_failing returns None")
        self._run(test, self.make_failing)


def judge_failure(failure: ModelError) -> None:
    """Raise AssertionError for a failure that tells nobody anything."""
    require(isinstance(failure.code, str) and failure.code.strip(), "a ModelError without a code")
    require(isinstance(failure.message, str) and failure.message.strip(), "a ModelError without a message")


def _remembering(begun: list[asyncio.Task[Any]]) -> Any:
    def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=loop, **options)
        if _asking.get():
            begun.append(task)
        return task

    return make


async def _as_request(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    _asking.set(True)
    return await work()


async def _call(part: object, name: str) -> None:
    method = getattr(part, name, None)
    if method is not None:
        await method()
