"""Workers of one kind, and the queue in front of them.

A request waits here, in the server, until a worker is free: so any worker may take it, one that nobody wants any more
costs nothing, and what is awaited by a caller goes before what is only guessed at. A worker has one task at a time. One
that dies is started again; its request goes to the next worker once, if nobody was given a part of the results.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, assert_never

from offhook.errors import ConfigError
from offhook.model.interface import ModelError
from offhook.model.local import frames, limits
from offhook.model.local.process import WorkerDiedError, WorkerProcess
from offhook.telemetry.log import FactLog


class Urgency(enum.IntEnum):
    """Who goes first, and who is sent away first when the queue is full."""

    AWAITED = 0
    """A caller waits for it."""
    SPECULATIVE = 1
    """It is probably needed in a moment."""
    OPTIONAL = 2
    """Nice to have."""


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """``name`` is for people ("speech to text"), ``engine`` the ``module:function`` that the workers load."""

    name: str
    engine: str
    workers: int = 1
    load: dict[str, Any] = field(default_factory=dict)
    waiting: int = limits.WAITING
    wait_s: float = limits.WAIT_S
    task_s: float = limits.TASK_S
    start_s: float = limits.START_S
    restart_delays_s: tuple[float, ...] = limits.RESTART_DELAYS_S


@dataclass(slots=True)
class Counters:
    """What became of the requests, and of the workers."""

    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    """The queue was full, or no worker was free in time."""
    died: int = 0
    """Workers that ended or had to be killed."""
    retried: int = 0
    """Requests that were given to another worker because theirs had died."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """``again``: a worker that had it has died."""

    since_s: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class _Served:
    process: WorkerProcess
    since_s: float
    """Since when it had been waiting."""
    again: bool


@dataclass(frozen=True, slots=True)
class _Ended:
    code: str = ""
    message: str = ""


class Request:
    """A task on its way through a pool. It goes on by itself; its results are kept as long as it is."""

    def __init__(self, id_: int, task: dict[str, Any], urgency: Urgency, pool: Pool, now: float) -> None:
        self.id = id_
        self.task = task
        self.urgency = urgency
        self.waited_ms = 0.0
        self.cpu_ms = 0.0
        self.tire: asyncio.TimerHandle | None = None
        self._pool = pool
        self._state: _Waiting | _Served | _Ended = _Waiting(now)
        self._results: list[dict[str, Any]] = []
        self._size_bytes = 0
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether there will be no more results."""
        return isinstance(self._state, _Ended)

    async def results(self) -> AsyncIterator[dict[str, Any]]:
        """Yield all results from the first on, those to come as they come. Raises ModelError."""
        number = 0
        while True:
            while number < len(self._results):
                yield self._results[number]
                number += 1
            if isinstance(self._state, _Ended):
                if self._state.code:
                    raise ModelError(self._state.code, self._state.message)
                return
            self._news.clear()
            await self._news.wait()

    def cancel(self) -> None:
        """Nobody wants it any more. Costs nothing while it waits, and after it has ended."""
        match self._state:
            case _Waiting():
                self._pool.forget(self)
            case _Served(process=process):
                process.say(frames.Cancel(self.id))
            case _Ended():
                return
            case _:
                assert_never(self._state)
        self._pool.counters.cancelled += 1
        self._end(_Ended("cancelled", "The request was cancelled."))

    def hasten(self, urgency: Urgency) -> None:
        """It has become more urgent, or less."""
        if isinstance(self._state, _Waiting):
            self._pool.move(self, urgency)
        self.urgency = urgency

    # -- for the pool

    def waiting_s(self, now: float) -> float:
        """How long it has been waiting for a worker."""
        return now - self._state.since_s if isinstance(self._state, _Waiting) else 0.0

    def begin(self, process: WorkerProcess, now: float) -> None:
        """A worker has it."""
        assert isinstance(self._state, _Waiting)
        self.waited_ms = self.waiting_s(now) * 1000
        self._state = _Served(process, self._state.since_s, self._state.again)
        self._calm()

    def wait_again(self, now: float, patience_s: float) -> bool:
        """Its worker has died: let it wait for another one, once, unless that comes too late; tell whether it does.

        What was given to somebody is not begun a second time.
        """
        state = self._state
        if not isinstance(state, _Served) or state.again or self._results or now - state.since_s > patience_s:
            return False
        self._state = _Waiting(now, again=True)
        return True

    def add(self, result: dict[str, Any], size_bytes: int) -> None:
        """Keep a result; one of a cancelled request is dropped."""
        if not isinstance(self._state, _Served):
            return
        self._size_bytes += size_bytes
        if self._size_bytes > limits.REPLY_BYTES:
            self._state.process.say(frames.Cancel(self.id))
            self.fail("model_error", "The model does not stop.")
            return
        self._results.append(result)
        self._news.set()

    def finish(self, cpu_ms: float) -> None:
        """All results are there."""
        self.cpu_ms = cpu_ms
        if not self.ended:
            self._pool.counters.finished += 1
            self._end(_Ended())

    def fail(self, code: str, message: str) -> None:
        """There will be no more results, because of this."""
        if not self.ended:
            if code == "overloaded":
                self._pool.counters.refused += 1
            else:
                self._pool.counters.failed += 1
            self._end(_Ended(code, message))

    def _calm(self) -> None:
        """It does not wait any more."""
        if self.tire is not None:
            self.tire.cancel()

    def _end(self, state: _Ended) -> None:
        self._calm()
        self.task = {}
        self._state = state
        self._news.set()


@dataclass(frozen=True, slots=True)
class _Starting:
    """Nobody sits there yet, or not again yet."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """The last one could not even be started."""

    why: str


@dataclass(slots=True)
class _Seat:
    """The place of one worker: who sits there now, and how many deaths in a row there were without any work done."""

    first: asyncio.Future[dict[str, Any]]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    taken: _Starting | _Broken | WorkerProcess = _Starting()
    deaths: int = 0


class Pool:
    """Starts workers, keeps them alive, and gives them requests: the most urgent first, then the oldest."""

    def __init__(self, options: PoolOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters()
        self.about: dict[str, Any] = {}
        self._options = options
        self._clock = clock
        self._log = FactLog("model", model=options.name)
        self._waiting: dict[Urgency, deque[Request]] = {urgency: deque() for urgency in Urgency}
        self._waits: deque[tuple[float, float]] = deque(maxlen=1000)
        self._seats: list[_Seat] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ids = 0
        self._serving = 0

    # -- life

    async def start(self) -> None:
        """Return when every worker is loaded and warm. Raises ConfigError with the line that mends it."""
        loop = asyncio.get_running_loop()
        self._seats = [_Seat(loop.create_future()) for _ in range(self._options.workers)]
        self._tasks = [asyncio.create_task(self._keep(seat)) for seat in self._seats]
        try:
            abouts = await asyncio.gather(*(seat.first for seat in self._seats))
        except BaseException:  # also when cancelled: no worker is left behind
            await self.stop()
            raise
        self.about = abouts[0]
        self._log.info(
            "model ready", workers=len(abouts), **{k: v for k, v in self.about.items() if isinstance(v, str)}
        )

    async def stop(self) -> None:
        """End all workers; what is still open fails."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for seat in self._seats:
            if seat.first.done() and not seat.first.cancelled():
                seat.first.exception()  # it was told to whoever started the pool
        self._seats = []
        self._fail_waiting("is being stopped")

    # -- requests

    def ask(self, task: dict[str, Any], urgency: Urgency = Urgency.AWAITED) -> Request:
        """Take a request. Raises ModelError ``overloaded`` when too many more urgent ones wait already."""
        if self._broken:
            raise ModelError("model_unavailable", f"{self._options.name} is not running.")
        if sum(map(len, self._waiting.values())) >= self._options.waiting and not self._make_room(urgency):
            self.counters.refused += 1
            raise ModelError("overloaded", f"{self._options.name} is too busy.")
        self._ids += 1
        request = Request(self._ids, task, urgency, self, self._clock())
        self._waiting[urgency].append(request)
        self._await_worker(request)
        return request

    def forget(self, request: Request) -> None:
        """Take a waiting request out of the queue."""
        self._waiting[request.urgency].remove(request)

    def move(self, request: Request, urgency: Urgency) -> None:
        """Let a waiting request wait elsewhere, behind those that are there."""
        self.forget(request)
        self._waiting[urgency].append(request)

    @property
    def queue_wait_ms(self) -> float:
        """How long awaited requests wait for a worker these days: the mean of the last seconds, or the oldest now."""
        now = self._clock()
        while self._waits and self._waits[0][0] < now - limits.WAIT_WINDOW_S:
            self._waits.popleft()
        mean_ms = sum(wait_ms for _, wait_ms in self._waits) / len(self._waits) if self._waits else 0.0
        awaited = self._waiting[Urgency.AWAITED]
        return max(mean_ms, awaited[0].waiting_s(now) * 1000 if awaited else 0.0)

    @property
    def idle(self) -> int:
        """How many workers have nothing to do, nor will have when each that waits has one."""
        return max(len(self.pids) - self._serving - sum(map(len, self._waiting.values())), 0)

    def report(self) -> dict[str, Any]:
        """Return the figures of ``/health``."""
        now = {"workers": len(self.pids), "serving": self._serving, "waiting": sum(map(len, self._waiting.values()))}
        return now | {"queue_wait_ms": round(self.queue_wait_ms, 1)} | asdict(self.counters)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that live."""
        return [seat.taken.pid for seat in self._seats if isinstance(seat.taken, WorkerProcess)]

    @property
    def _broken(self) -> bool:
        """Whether nobody is there, nor likely to come."""
        return all(isinstance(seat.taken, _Broken) for seat in self._seats)

    def _await_worker(self, request: Request) -> None:
        request.tire = asyncio.get_running_loop().call_later(self._options.wait_s, self._send_away, request)
        for seat in self._seats:
            seat.wake.set()

    def _serve_again(self, request: Request) -> bool:
        """Let a request whose worker has died be the next one; tell whether there is any sense in it."""
        if not request.wait_again(self._clock(), self._options.wait_s):
            return False
        self._waiting[request.urgency].appendleft(request)
        self._await_worker(request)
        self.counters.retried += 1
        return True

    def _fail_waiting(self, why: str) -> None:
        for line in self._waiting.values():
            while line:
                line.popleft().fail("model_unavailable", f"{self._options.name} {why}.")

    def _make_room(self, urgency: Urgency) -> bool:
        """Send the newest of the least urgent requests away for one that is more urgent."""
        for least in reversed(Urgency):
            if least > urgency and self._waiting[least]:
                self._waiting[least].pop().fail("overloaded", f"{self._options.name} is too busy.")
                return True
        return False

    def _send_away(self, request: Request) -> None:
        self.forget(request)
        request.fail("overloaded", f"{self._options.name} had no time for it.")

    # -- workers

    async def _keep(self, seat: _Seat) -> None:
        """Keep a worker on a seat: start one, give it work, and start another when it has died."""
        delays_s = self._options.restart_delays_s
        while True:
            began_s = self._clock()
            try:
                await self._employ(seat)
            except (ConfigError, OSError) as failure:
                problem: Exception = failure
            except WorkerDiedError as death:
                problem = ConfigError("--models", f"{self._options.name} does not work: {death}")
            self.counters.died += 1
            if not seat.first.done():
                seat.first.set_exception(problem)
                return
            # A seat stays broken until a worker on it was ready once more.
            seat.taken = _Starting() if isinstance(seat.taken, WorkerProcess) else _Broken(str(problem))
            if self._broken:
                self._fail_waiting("is not running")
            if self._clock() - began_s > limits.STEADY_S:
                seat.deaths = 0
            seat.deaths += 1
            self._log.warning("model worker died", why=problem, in_a_row=seat.deaths)
            await asyncio.sleep(delays_s[min(seat.deaths, len(delays_s)) - 1])

    async def _employ(self, seat: _Seat) -> None:
        """Start a worker and give it work until it dies. Raises WorkerDiedError, ConfigError or OSError."""
        process = await WorkerProcess.start(self._options.engine, seat.wake.set, self._log)
        try:
            about = await process.load(self._options.load, self._options.start_s)
            seat.taken = process
            self.about = about
            if not seat.first.done():
                seat.first.set_result(about)
            while True:
                seat.wake.clear()
                if not process.alive:
                    await process.hear(limits.END_S)
                elif (request := self._next()) is None:
                    await seat.wake.wait()
                else:
                    await self._serve(process, request)
                    seat.deaths = 0
        finally:
            await process.end()

    def _next(self) -> Request | None:
        for line in self._waiting.values():
            if line:
                return line.popleft()
        return None

    async def _serve(self, process: WorkerProcess, request: Request) -> None:
        now = self._clock()
        task = request.task
        request.begin(process, now)
        if request.urgency is Urgency.AWAITED:
            self._waits.append((now, request.waited_ms))
        process.say(frames.Serve(request.id, task))
        self._serving += 1
        try:
            while True:
                match await process.hear(self._options.task_s):
                    case frames.Result(id=request.id, result=result):
                        request.add(result, sum(len(v) for v in result.values() if isinstance(v, bytes)))
                    case frames.Finished(id=request.id, cpu_ms=cpu_ms):
                        request.finish(cpu_ms)
                        return
                    case frames.Failed(id=request.id, code=code, message=message):
                        request.fail(code, message)
                        return
                    case other:
                        raise WorkerDiedError(f"it sent a {type(other).__name__} frame out of turn")
        except WorkerDiedError:
            if not self._serve_again(request):
                request.fail("model_worker_died", f"{self._options.name} failed and is being started again.")
            raise
        except BaseException:  # also when cancelled: whoever waits is told
            request.fail("model_unavailable", f"{self._options.name} is being stopped.")
            raise
        finally:
            self._serving -= 1
