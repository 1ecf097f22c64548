"""The telephone for tests without ``await``: the words of `offhook.testing.handset`, in plain functions.

In memory the loop runs only while something is waited for; between two calls of a test no time passes. With real
sockets it runs in a thread of its own, because others do not wait.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from offhook.errors import LocalError
from offhook.testing.application import Access
from offhook.testing.box import PhoneOptions
from offhook.testing.clock import JumpLoop
from offhook.testing.handset import AsyncCall, AsyncHandset, Latency, Line
from offhook.testing.ladder import Ladder
from offhook.testing.model import ScriptedModel
from offhook.testing.phone import Ended

T = TypeVar("T")

# How long is waited, of real time too, for what was told to end.
CLOSE_S: Final = 10.0
_NOT_ENDED: Final = "the application under test does not end:\n"


class JumpingTime:
    """Runs work on a loop of its own whose time jumps, and only while somebody waits for it."""

    def __init__(self) -> None:
        self._loop = JumpLoop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Give up what still runs."""
        close_loop(self._loop)


class RealTime:
    """Runs work on a loop in a thread of its own, which goes on while nobody waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._left: BaseException | None = None
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._thread = threading.Thread(target=self._live, name="offhook-phone", daemon=True)
        self._thread.start()

    def _live(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except BaseException as left:  # whatever left the loop is told to whoever waits for something in it
                # The SystemExit of a task does, and they would wait for ever.
                self._left = left
                if (waiting := self._waiting) is not None:
                    waiting.cancel()
            else:
                return

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end. Raises LocalError when the application has tried to end the process."""
        before = self._told()
        self._waiting = waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        if self._left is not None:
            waiting.cancel()
        try:
            result = waiting.result()
        except BaseException:  # what came of a loop that was left is told below, in other words
            if before is None and self._left is None:
                raise
        self._waiting = None
        left = before or self._told()
        if left is not None:
            raise LocalError(f"the application has tried to end the process: {left!r}") from left
        return result

    def _told(self) -> BaseException | None:
        left, self._left = self._left, None
        return left

    def close(self) -> None:
        """Give up what still runs. Raises LocalError when it does not end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise LocalError(f"{_NOT_ENDED}{_stack(self._thread)}")
        close_loop(self._loop)


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop that does not run, with all that is left in it. Raises LocalError when some of it does not end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    pending: set[asyncio.Task[Any]] = set()
    if tasks:
        _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S))
    loop.run_until_complete(loop.shutdown_asyncgens())
    left = [f"{task!r}\n" for task in pending] + _end_threads(loop)
    loop.close()
    if left:
        raise LocalError(_NOT_ENDED + "".join(left))


def _end_threads(loop: asyncio.AbstractEventLoop) -> list[str]:
    """End the threads of plain functions; return where those are that do not. Python waits for them when it exits."""
    # asyncio would wait for them without limit.
    executor = getattr(loop, "_default_executor", None)
    if executor is None:
        return []
    ending = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True}, daemon=True)
    ending.start()
    end = time.monotonic() + CLOSE_S
    while ending.is_alive() and time.monotonic() < end:
        loop.run_until_complete(asyncio.sleep(0))  # they may wait for something of the loop
        ending.join(0.02)
    return [_stack(thread) for thread in executor._threads if thread.is_alive()] if ending.is_alive() else []


def _stack(thread: threading.Thread) -> str:
    """Return what a thread is doing."""
    frame = sys._current_frames().get(thread.ident or 0)
    return f"{thread.name}\n{''.join(traceback.format_stack(frame))}"


class Call:
    """One call of a `Handset`; see `offhook.testing.handset.AsyncCall`, whose words these are."""

    def __init__(self, call: AsyncCall, time: JumpingTime | RealTime) -> None:
        self._call = call
        self._time = time
        self.to = call.to

    def _get(self, read: Callable[[AsyncCall], T]) -> T:
        """Look at the call where it lives: in the thread of its loop."""

        async def whole() -> T:
            return read(self._call)

        return self._time.run(whole())

    def _wait(self, begin: Callable[[], asyncio.Future[None]]) -> None:
        async def whole() -> None:
            await begin()

        self._time.run(whole())

    def says(self, text: str, *, interrupting: bool = False) -> None:
        """Say something, politely or not. Raises CallFailedError."""
        self._time.run(self._call.says(text, interrupting=interrupting))

    def press(self, keys: str) -> None:
        """Press keys, until they have gone out."""
        self._wait(lambda: self._call.press(keys))

    def hears(self, words: str, *, within_ms: int = 5000) -> Line:
        """Wait until the agent has said these words. Raises NotHeardError."""
        return self._time.run(self._call.hears(words, within_ms=within_ms))

    def hears_sound(self, *, within_ms: int = 5000) -> None:
        """Wait until the agent is heard, whatever it says. Raises NotHeardError."""
        self._time.run(self._call.hears_sound(within_ms=within_ms))

    def hears_silence(self, for_ms: int = 500, *, within_ms: int = 30_000) -> None:
        """Wait until the agent has been silent for so long. Raises NotHeardError."""
        self._time.run(self._call.hears_silence(for_ms, within_ms=within_ms))

    def answered(self, *, within_ms: int = 60_000) -> None:
        """Wait for the answer. Raises CallFailedError when there is none."""
        self._time.run(self._call.answered(within_ms=within_ms))

    def ended(self, *, within_ms: int = 60_000) -> Ended:
        """Wait until the call is over, and return how it ended. Raises TimeoutError."""
        return self._time.run(self._call.ended(within_ms=within_ms))

    def hold(self) -> None:
        """Put the agent on hold."""
        self._wait(self._call.hold)

    def resume(self) -> None:
        """Come back from hold."""
        self._wait(self._call.resume)

    def hangup(self) -> None:
        """Hang up."""
        self._wait(self._call.hangup)

    @property
    def id(self) -> str | None:
        """What the API calls the call."""
        return self._get(lambda call: call.id)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every server event so far."""
        return self._get(lambda call: call.events)

    @property
    def end(self) -> Ended | None:
        """How the call ended; None while it goes on."""
        return self._get(lambda call: call.end)

    @property
    def keys_heard(self) -> str:
        """The keys that the agent has pressed for the caller."""
        return self._get(lambda call: call.keys_heard)

    @property
    def transcript(self) -> list[Line]:
        """What was said and heard so far."""
        return self._get(lambda call: call.transcript)

    @property
    def recording(self) -> bytes:
        """Both sides as a stereo WAV of 8 kHz: left what the caller heard, right what it said."""
        return self._get(lambda call: call.recording)

    def save_recording(self, path: str | Path) -> None:
        """Write the recording to a file."""
        Path(path).write_bytes(self.recording)

    @property
    def latency(self) -> Latency:
        """How fast the agent was."""
        return self._get(lambda call: call.latency)


class Handset:
    """A telephone with a server behind it, as a context manager; see `offhook.testing.handset.AsyncHandset`."""

    def __init__(self, options: PhoneOptions | None = None, *, model: ScriptedModel | None = None) -> None:
        self._handset = AsyncHandset(options, model=model)
        self._time: JumpingTime | RealTime = RealTime() if self._handset.options.real else JumpingTime()

    def __enter__(self) -> Self:
        """Start."""
        try:
            self._time.run(self._handset.start())
        except BaseException:  # also on an interrupt: no loop and no thread is left behind
            self._time.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; an application that has failed is told of, unless something else failed before."""
        try:
            self._time.run(self._handset.stop())
        finally:
            self._time.close()
        if error is None:
            self._handset.check()

    @property
    def model(self) -> ScriptedModel:
        """The model that answers."""
        return self._handset.model

    @property
    def session(self) -> Mapping[str, Any]:
        """What calls are accepted with while no application is connected."""
        return self._handset.session

    @session.setter
    def session(self, session: Mapping[str, Any]) -> None:
        self._handset.session = session

    @property
    def access(self) -> Access:
        """Where the API is, and its key."""
        return self._handset.access

    @property
    def ladder(self) -> Ladder:
        """Everything that happened so far, on one line of time."""

        async def whole() -> Ladder:
            return self._handset.ladder

        return self._time.run(whole())

    @property
    def calls(self) -> list[Call]:
        """The calls so far."""
        return [Call(call, self._time) for call in self._handset.calls]

    def connect(self, app: Any, *, path: str = "/") -> None:
        """Let an application decide about calls from now on."""
        self._time.run(self._handset.connect(app, path=path))

    def dial(
        self,
        to: str = "agent",
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        caller: str = "sip:+15550100@caller.test",
        wait: bool = True,
    ) -> Call:
        """Call a number, and come back when it is answered or refused; without ``wait`` while it rings."""
        call = self._time.run(self._handset.dial(to, headers=headers, caller=caller, wait=wait))
        return Call(call, self._time)

    def sleep(self, ms: int) -> None:
        """Let time pass."""
        self._time.run(self._handset.sleep(ms))
