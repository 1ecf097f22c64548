"""An upstream realtime socket as the model of whole sessions: how it is reached, and the socket itself."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from offhook._version import __version__
from offhook.errors import ConfigError, RemoteError
from offhook.model.fallback import call, call_report
from offhook.model.interface import Backend, Capabilities, ModelError, ModelOutput, Sound, Speech, TextToSpeech, Words
from offhook.model.upstream_socket import UpstreamSocket
from offhook.session.outputs import Generate
from offhook.session.relay import limits
from offhook.session.relay.dialect import Dialect, DialectName, TurnFinder, dialect_of, socket_url
from offhook.session.relay.event import UpstreamError, decode_upstream, problem_of
from offhook.session.relay.machine import RelayOptions
from offhook.session.relay.reserve import ReserveKind
from offhook.wire.session import TranscriptionEcho, Voice

# What an upstream will answer the next time too; 404 and 400 name a model that it does not have, 402 is for no credit.
_REFUSALS: Final = frozenset((400, 401, 402, 403, 404))
OPEN_S: Final = 10.0
CLOSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Where an upstream is, what it speaks, and what it calls the model (empty: what the session calls it).

    ``turns``: who finds those of the caller.
    """

    url: str
    dialect: DialectName = "openai"
    model: str = ""
    key: str | None = field(default=None, repr=False)
    silence_s: float = 20.0
    turns: TurnFinder = "here"

    @property
    def ways(self) -> Dialect:
        """How it is spoken to."""
        return dialect_of(self.dialect, self.url)


class UpstreamLostError(RemoteError):
    """There is no connection. ``is_refused``: there will be none the next time either."""

    def __init__(self, why: str, *, is_refused: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.is_refused = is_refused


class _NoRedirects(connect):
    """A key goes where the settings say, and nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Upstream:
    """One socket upstream. What it cannot take at once waits in a bounded queue, which a task of its own empties."""

    def __init__(self, options: UpstreamOptions, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        dialect = options.ways
        self._url = socket_url(options.url, dialect, model)
        self._headers = {} if options.key is None else {dialect.key_header: dialect.key_prefix + options.key}
        self._clock = clock
        self._socket: UpstreamSocket | None = None
        self._unsent: deque[tuple[float, bytes]] = deque()
        self._unsent_bytes = 0
        self._news = asyncio.Event()

    async def run(self, opened: Callable[[], None], hear: Callable[[bytes], None]) -> None:
        """Connect, and give every message to ``hear``, until the connection ends. Raises UpstreamLostError then."""
        socket = await self._connect()
        self._socket = socket
        sending = asyncio.ensure_future(self._send_waiting(socket))
        try:
            opened()
            socket.begin(hear)
            await socket.ended()
            raise _closed(socket)
        finally:
            self._socket = None
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await socket.close()

    async def _connect(self) -> UpstreamSocket:
        try:
            connection = await _NoRedirects(
                self._url,
                additional_headers=self._headers,
                user_agent_header=f"offhook/{__version__}",
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                max_size=limits.MAX_MESSAGE_BYTES,
                # A delta is nearly incompressible, and there is a core for a hundred calls.
                compression=None,
                proxy=None,
                create_connection=UpstreamSocket,
            )
        except InvalidStatus as failure:
            status = failure.response.status_code
            raise UpstreamLostError(f"HTTP {status}", is_refused=status in _REFUSALS or 300 <= status < 400) from None
        except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as failure:
            raise UpstreamLostError(_why(failure)) from None
        assert isinstance(connection, UpstreamSocket)
        return connection

    async def _send_waiting(self, socket: UpstreamSocket) -> None:
        while True:
            while self._unsent:
                _, text = self._unsent.popleft()
                self._unsent_bytes -= len(text)
                try:
                    await socket.send(text, text=True)
                except (OSError, WebSocketException):
                    return  # Whoever waits for the end hears of it.
            self._news.clear()
            await self._news.wait()

    def send(self, text: bytes) -> bool:
        """Send a message, or queue it; False when so much waits, and for so long, that nobody can be reading.

        A whole conversation may be queued at once, before any of it can be sent.
        """
        if not self._unsent and self._socket is not None and self._socket.is_free:
            self._socket.send_now(text)
            return True
        now = self._clock()
        is_late = bool(self._unsent) and now - self._unsent[0][0] >= limits.MAX_UNSENT_S
        if self._unsent_bytes > (limits.MAX_UNSENT_BYTES if is_late else limits.MAX_HISTORY_BYTES):
            return False
        self._unsent.append((now, text))
        self._unsent_bytes += len(text)
        self._news.set()
        return True


def _closed(connection: UpstreamSocket) -> UpstreamLostError:
    """Return who closed a connection, and with what; 1008 is the close code for what is against the rules."""
    sent = connection.protocol.close_sent
    if sent is not None and not connection.protocol.close_rcvd_then_sent:
        # A message that is too long, or no pong.
        return UpstreamLostError(f"left with {sent.code} {sent.reason}".rstrip()[:200])
    code, reason = connection.close_code, connection.close_reason
    return UpstreamLostError(f"closed with {code} {reason or ''}".rstrip()[:200], is_refused=code == 1008)


def _why(failure: BaseException) -> str:
    return str(failure)[:200] or type(failure).__name__


class _GreetedError(Exception):
    """Upstream has said something."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """Who is there when upstream does not answer: another model, or else a voice that says so (``apology``).

    ``name`` is what the settings call the model.
    """

    stand_in: Backend | None = None
    voice: TextToSpeech | None = None
    apology: str = ""
    name: str = ""

    @property
    def paid_as(self) -> str:
        """The name by which a model's work is paid, where it does not tell that itself."""
        return self.name or ("" if self.stand_in is None else self.stand_in.name)

    @property
    def kind(self) -> ReserveKind:
        """What it is to a conversation."""
        if self.stand_in is not None:
            return "stand-in"
        return "none" if self.voice is None else "apology"


class RelayBackend:
    """The model of sessions that run upstream. Each session has a socket of its own, so it answers no request here.

    Raises ConfigError when upstream is to find turns and cannot.
    """

    def __init__(self, options: UpstreamOptions) -> None:
        if options.turns == "upstream" and not options.ways.finds_turns:
            raise ConfigError("turns", f"{options.dialect} cannot find turns without answering them", "leave it out")
        self.options = options
        self.reserve = Reserve()
        self.name = "relay"
        ways = options.ways
        self.capabilities = Capabilities(
            needs_transcripts=False,
            reasons="reasoning" in ways.fields,
            tells_speakers=ways.transcribes and not ways.transcriber,
        )
        self.sockets = 0
        self.lost = 0
        self.refused = 0
        self.stood_in = 0

    @property
    def machine_options(self) -> RelayOptions:
        """What the machine of a session has to know."""
        options = self.options
        return RelayOptions(options.ways, options.model, options.silence_s, options.turns, self.reserve.kind)

    @property
    def queue_wait_ms(self) -> float:
        """Nothing: upstream has its own limits."""
        return 0.0

    def report(self) -> dict[str, Any]:
        """Say where upstream is, and how it goes."""
        parts = urlsplit(self.options.url)
        where = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        counts = {"sockets": self.sockets, "lost": self.lost, "refused": self.refused}
        shown = {"name": self.name, "dialect": self.options.dialect, "upstream": where, **counts}
        stand_in = self.reserve.stand_in
        if stand_in is None:
            return shown
        return shown | {"stood_in": self.stood_in, "stand_in": {"name": stand_in.name} | call_report(stand_in)}

    async def start(self) -> None:
        """Start who is there in reserve; of upstream nothing is loaded."""
        for part in filter(None, (self.reserve.stand_in, self.reserve.voice)):
            await call(part, "start")

    async def stop(self) -> None:
        """Stop who is there in reserve; a socket ends with its session."""
        for part in filter(None, (self.reserve.voice, self.reserve.stand_in)):
            await call(part, "stop")

    async def greeting(self, model: str) -> None:
        """Open a session and let it go. Raises UpstreamLostError with what upstream said against it."""
        said: list[str | bytes] = []
        upstream = Upstream(self.options, self.options.model or model)

        def hear(text: str | bytes) -> None:
            said.append(text)
            raise _GreetedError

        try:
            await upstream.run(lambda: None, hear)
        except _GreetedError:
            try:
                event = decode_upstream(said[0])
            except UpstreamError as failure:
                raise UpstreamLostError(str(failure)) from None
            if event.type == "error":
                raise UpstreamLostError(problem_of(event).message or "an error") from None

    def respond(self, request: Generate) -> AsyncIterator[ModelOutput]:
        """Raise ModelError: a response is asked for on the socket of its session."""
        del request
        raise _not_here()

    def say(self, text: str, voice: Voice, speed: float) -> AsyncIterator[Sound]:
        """Raise ModelError: there is no voice beside the conversation."""
        del text, voice, speed
        raise _not_here()

    def transcribe(self, speech: Speech, wanted: TranscriptionEcho | None) -> AsyncIterator[Words]:
        """Raise ModelError, as `respond` does."""
        del speech, wanted
        raise _not_here()

    def hear_early(self, speech: Speech, wanted: TranscriptionEcho | None) -> None:
        """Never: upstream hears turns."""


def _not_here() -> ModelError:
    return ModelError("server_error", "Upstream has no models of its own parts.")
