"""A telephone for tests of applications: dial, speak, listen, and look at what happened.

::

    async def test_books_an_appointment(phone):
        phone.model.hears("appointment", "For which day?")
        call = await phone.dial("+15550001")
        await call.says("I need an appointment")
        await call.hears("which day", within_ms=3000)
        await call.hangup()

Begin with `AsyncHandset`; `offhook.testing.sync` has the same words without ``await``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from offhook.audio.wav import write_wav
from offhook.errors import LocalError
from offhook.testing.application import Access, ApplicationError
from offhook.testing.box import Box, PhoneOptions
from offhook.testing.hearing import Conversation, understand
from offhook.testing.ladder import Ladder
from offhook.testing.model import ScriptedModel
from offhook.testing.phone import RATE_HZ, CallFailedError, Ended, PhoneCall
from offhook.testing.speech import Book, Word, plain_words

LOOK_S: Final = 0.04
"""How often it is looked whether what is waited for has come: every other packet."""
POLITE_MS: Final = 200
"""Who does not interrupt waits until the agent has been silent for so long."""
PART_MS: Final = 400
"""A pause of the agent's that parts two lines of a transcript."""


class NotHeardError(AssertionError):
    """The caller did not hear what the test says it would. The message says what was heard instead."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something that was said: by whom, and from when to when, in milliseconds since the call was answered."""

    who: Literal["caller", "agent"]
    text: str
    start_ms: int
    end_ms: int

    def __str__(self) -> str:
        return f"{self.who}: {self.text}"


@dataclass(frozen=True, slots=True)
class Latency:
    """How fast things went, in milliseconds, measured from the recording.

    ``answer_ms``: from the INVITE to the 200 OK. ``first_sound_ms``: from there to the agent's first sound.
    ``turns_ms``: each from the caller's last sound to the agent's first. ``interruptions_ms``: each from the caller's
    first sound to the agent's last.
    """

    answer_ms: float | None
    first_sound_ms: int | None
    turns_ms: tuple[int, ...]
    interruptions_ms: tuple[int, ...]


class AsyncCall:
    """One call of a handset. What takes time is awaited; `hold`, `press` and their like begin at once even if not."""

    def __init__(self, handset: AsyncHandset, box: Box, call: PhoneCall, to: str) -> None:
        self.to = to
        self._handset = handset
        self._box = box
        self._call = call
        self._ear = box.ear()
        self._cursor = 0
        self._said: list[tuple[int, str]] = []
        self._pending: set[asyncio.Task[None]] = set()

    # -- speaking

    async def says(self, text: str, *, interrupting: bool = False) -> None:
        """Say something, and come back when it is said.

        A polite caller waits until the agent is silent; one that is ``interrupting`` waits until the agent speaks.
        Raises CallFailedError when the call is over.
        """
        pieces = await self._box.speak(text)
        if not pieces:
            raise LocalError(f"{text!r} has no words to say")
        self._refuse_when_over(text)
        if interrupting:
            await self.hears_sound(within_ms=10_000)
        else:
            await self._call.hears_silence(POLITE_MS)
        self._listen()
        self._cursor = len(self._ear.heard)
        self._box.ladder.note("caller", f'says "{text}"')
        for words, samples in pieces:
            run = self._call.begin_saying(samples)
            self._said.append((run, words))
        await self._call.said(run)
        self._refuse_when_over(text)

    def _refuse_when_over(self, text: str) -> None:
        self._handset.check()
        if self.end is not None:
            raise CallFailedError(
                self.end.status, f"the call is over ({self.end.reason}): {text!r} cannot be said or pressed"
            )

    def press(self, keys: str) -> asyncio.Future[None]:
        """Press keys; await it to go on when they have gone out, or the call is over: a key may be what ends it."""

        async def whole() -> None:
            try:
                await self._call.pressed()
            except CallFailedError:
                if self.end is None:
                    raise

        self._refuse_when_over(keys)
        self._box.ladder.note("caller", f"presses {keys}")
        self._call.press(keys)
        return self._begin(whole())

    # -- listening

    async def hears(self, words: str, *, within_ms: int = 5000) -> Line:
        """Wait until the agent has said these words in this order, whatever their case; return where.

        What the agent said before the caller's last words, or before the last ``hears``, does not count.
        Raises NotHeardError.
        """
        wanted = plain_words(words)
        if not wanted:
            raise LocalError(f"{words!r} has no words to hear")
        self._box.ladder.note("note", f'waits for "{words}"')
        found: list[Line] = []

        def is_heard() -> bool:
            fresh = [(plain_words(word.text), word) for word in self._ear.heard[self._cursor :]]
            flat = [(plain, word, index) for index, (plains, word) in enumerate(fresh) for plain in plains]
            for at in range(len(flat) - len(wanted) + 1):
                part = flat[at : at + len(wanted)]
                if [plain for plain, _, _ in part] == wanted:
                    self._cursor += part[-1][2] + 1
                    text = " ".join(word.text for _, word in fresh[part[0][2] : part[-1][2] + 1])
                    found.append(Line("agent", text, part[0][1].start_ms, part[-1][1].end_ms))
                    return True
            return False

        await self._until(is_heard, within_ms, lambda: f'"{words}" was not heard within {within_ms} ms')
        return found[0]

    async def hears_sound(self, *, within_ms: int = 5000) -> None:
        """Wait until the agent is heard, whatever it says. Raises NotHeardError."""
        await self._until(self._call.is_hearing, within_ms, lambda: f"nothing was heard within {within_ms} ms")

    async def hears_silence(self, for_ms: int = 500, *, within_ms: int = 30_000) -> None:
        """Wait until the agent has been silent for so long. Raises NotHeardError."""

        def is_silent() -> bool:
            return not self._call.is_hearing(for_ms)

        await self._until(is_silent, within_ms, lambda: f"it was never silent for {for_ms} ms within {within_ms} ms")

    async def _until(self, condition: Callable[[], bool], within_ms: int, otherwise: Callable[[], str]) -> None:
        clock = self._box.clock
        deadline = clock() + within_ms / 1000
        while True:
            self._listen()
            await self._ear.settle()
            if condition():
                return
            self._handset.check()
            if self.end is not None:
                raise NotHeardError(self._explain(f"the call ended ({self.end.reason}) before: {otherwise()}"))
            if clock() > deadline:
                raise NotHeardError(self._explain(otherwise()))
            await asyncio.sleep(LOOK_S)

    def _explain(self, what: str) -> str:
        said = "\n".join(f"  {line.start_ms:>6} ms  {line}" for line in self.transcript) or "  (nobody said anything)"
        return f"{what}; the call so far:\n{said}"

    def _listen(self) -> None:
        """Let the ear hear what has come since the last time."""
        samples = self._call.recorder.heard_from(self._ear.taken)
        whole = samples[: len(samples) // (RATE_HZ // 1000) * (RATE_HZ // 1000)]
        if len(whole):
            self._ear.take(whole)
        if self._call.stats is not None:
            self._ear.end()

    # -- the call

    async def answered(self, *, within_ms: int = 60_000) -> None:
        """Wait for the answer. Raises CallFailedError when there is none."""
        await self._call.answered(within_ms / 1000)

    async def ended(self, *, within_ms: int = 60_000) -> Ended:
        """Wait until the call is over, and return how it ended. Raises TimeoutError."""
        return await self._call.ended(within_ms / 1000)

    def hold(self) -> asyncio.Future[None]:
        """Put the agent on hold; await it to go on when that is agreed."""
        return self._redirect("puts the call on hold", self._call.hold)

    def resume(self) -> asyncio.Future[None]:
        """Come back from hold."""
        return self._redirect("comes back", self._call.resume)

    def _redirect(self, what: str, redirect: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Future[None]:
        self._box.ladder.note("caller", what)
        agreed = self._call.agreed

        async def whole() -> None:
            await redirect()
            async with asyncio.timeout(32):
                while self._call.agreed == agreed and self.end is None:  # noqa: ASYNC110 - few wait, and briefly
                    await asyncio.sleep(LOOK_S)

        return self._begin(whole())

    def hangup(self) -> asyncio.Future[None]:
        """Hang up; await it to go on when the other side knows."""

        async def whole() -> None:
            await self._call.hang_up()
            await self._call.settled()
            self._listen()
            await self._ear.settle()

        self._box.ladder.note("caller", "hangs up")
        return self._begin(whole())

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    # -- afterwards, and meanwhile

    @property
    def id(self) -> str | None:
        """What the API calls the call; None when the server is somebody else's, or has not seen it."""
        watched = self._box.watched(self._call.sip_call_id)
        return watched.call_id if watched is not None else None

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every server event so far, as sideband sockets got them, those of offhook's own included."""
        watched = self._box.watched(self._call.sip_call_id)
        return list(watched.events) if watched is not None else []

    @property
    def end(self) -> Ended | None:
        """How the call ended: by whom ("us" is the caller), the SIP status of a refusal, why. None while it goes on."""
        return self._call.end

    @property
    def keys_heard(self) -> str:
        """The keys that the agent has pressed for the caller."""
        return self._call.keys_heard

    @property
    def transcript(self) -> list[Line]:
        """What was said and heard on the caller's side so far, in order: what was cut off is not there."""
        self._listen()
        lines = [
            Line("caller", text, *self._call.said_ms[run]) for run, text in self._said if run in self._call.said_ms
        ]
        group: list[Word] = []
        for word in self._ear.heard:
            if group and word.start_ms - group[-1].end_ms > PART_MS:
                lines.append(_agent_line(group))
                group = []
            group.append(word)
        if group:
            lines.append(_agent_line(group))
        return sorted(lines, key=lambda line: line.start_ms)

    @property
    def recording(self) -> bytes:
        """Both sides as a stereo WAV of 8 kHz: left what the caller heard, right what it said."""
        return write_wav(self._call.recording, RATE_HZ)

    def save_recording(self, path: str | Path) -> None:
        """Write the recording to a file."""
        Path(path).write_bytes(self.recording)

    def conversation(self) -> Conversation:
        """Return who made sound when, from the recording."""
        return understand(self._call.recording)

    @property
    def latency(self) -> Latency:
        """How fast the agent was."""
        call, heard = self._call, self.conversation()
        answer_ms = None if call.answered_at is None else round((call.answered_at - call.dialled_at) * 1000, 1)
        return Latency(
            answer_ms,
            heard.first_heard_ms,
            tuple(turn.delay_ms for turn in heard.turns),
            tuple(each.delay_ms for each in heard.barge_ins),
        )

    @property
    def opened_at(self) -> float | None:
        """When the recording begins, on the clock of the ladder."""
        return self._call.opened_at


def _agent_line(words: Sequence[Word]) -> Line:
    return Line("agent", " ".join(word.text for word in words), words[0].start_ms, words[-1].end_ms)


class AsyncHandset:
    """A telephone with a server behind it. An asynchronous context manager; in memory it needs a `JumpLoop`.

    ``model`` is the scripted model that answers; ``session`` is what calls are accepted with while no application is
    connected.
    """

    def __init__(self, options: PhoneOptions | None = None, *, model: ScriptedModel | None = None) -> None:
        self.options = options or PhoneOptions()
        self.model = model or ScriptedModel(Book())
        self.calls: list[AsyncCall] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop that it was started on."""
        self._session: Mapping[str, Any] = {}
        self._box: Box | None = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; an application that has failed is told of, unless something else failed before."""
        await self.stop()
        if error is None:
            self.check()

    async def start(self) -> None:
        """Start the server and the telephone."""
        self.loop = asyncio.get_running_loop()
        self._box = Box(self.options, self.model)
        self._box.session = self._session
        await self._box.start()

    async def stop(self) -> None:
        """Hang up and close everything; what happened can still be looked at."""
        if self._box is not None:
            await self._box.stop()

    @property
    def _open(self) -> Box:
        if self._box is None:
            raise LocalError("the telephone is not started")
        return self._box

    def check(self) -> None:
        """Raise ApplicationError when the application under test has raised; each failure is told once.

        An outcome of a test framework (``pytest.fail``, ``pytest.skip``) is raised as it is.
        """
        if self._box is not None and self._box.failures:
            failure = self._box.failures.pop(0)
            if not isinstance(failure, Exception):
                raise failure
            raise ApplicationError(f"the application failed: {type(failure).__name__}: {failure}") from failure

    @property
    def session(self) -> Mapping[str, Any]:
        """What calls are accepted with while no application is connected."""
        return self._session

    @session.setter
    def session(self, session: Mapping[str, Any]) -> None:
        self._session = session
        if self._box is not None:
            self._box.session = session

    @property
    def access(self) -> Access:
        """Where the API is, and its key: ``base_url``, ``api_key``, ``webhook_secret``."""
        return self._open.access

    @property
    def ladder(self) -> Ladder:
        """Everything that happened so far, on one line of time; ``str()`` draws it."""
        box = self._open
        drawn = Ladder(box.clock)
        drawn.begin_like(box.ladder)
        for call in self.calls:
            if call.opened_at is None:
                continue
            for line in call.transcript:
                if line.who == "agent":
                    drawn.note("caller", f'hears "{line.text}"', call.opened_at + line.start_ms / 1000)
        return drawn

    async def connect(self, app: Any, *, path: str = "/") -> None:
        """Let an application decide about calls from now on.

        A callable is given each `Webhook`; an ASGI application gets it as a POST to ``path``; a URL is posted to, with
        ``real=True`` only.
        """
        await self._open.connect(app, path)

    async def dial(
        self,
        to: str = "agent",
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        caller: str = "sip:+15550100@caller.test",
        wait: bool = True,
    ) -> AsyncCall:
        """Call a number (or with ``real=True`` any SIP address), and come back when it is answered or refused.

        Whether it was is seen from ``call.end``. Without ``wait`` it comes back while it rings.
        """
        box = self._open
        if asyncio.get_running_loop() is not self.loop:
            raise LocalError("the test runs on another event loop than its telephone: let offhook run it")
        given = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        target = box.target(to)
        box.ladder.note("caller", f"dials {to}")
        placed = await box.phone.dial(target, caller=caller, headers=given)
        call = AsyncCall(self, box, placed, to)
        self.calls.append(call)
        if wait:
            try:
                await placed.answered()
            except CallFailedError:
                if placed.end is None:
                    raise
            self.check()
        return call

    async def sleep(self, ms: int) -> None:
        """Let time pass."""
        await asyncio.sleep(ms / 1000)
