"""A speech server made of the reference implementation of the Wyoming protocol, and one that says what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

with warnings.catch_warnings():
    # It converts sound with a module that newer Pythons lack, and brings its own then.
    warnings.simplefilter("ignore", DeprecationWarning)
    from wyoming.asr import Transcribe, Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
    from wyoming.audio import AudioChunk, AudioChunkConverter, AudioStart, AudioStop
    from wyoming.error import Error
    from wyoming.event import Event
    from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
    from wyoming.server import AsyncEventHandler
    from wyoming.tts import Synthesize

NOBODY = Attribution(name="tests", url="")
COMMON: dict[str, Any] = {"attribution": NOBODY, "installed": True, "description": None, "version": None}


def info(languages: tuple[str, ...], services: tuple[str, ...]) -> Info:
    hears = AsrModel(name="tiny", languages=list(languages), **COMMON)
    voices = [TtsVoice(name=name, languages=["en_US"], speakers=None, **COMMON) for name in ("amy", "joe")]
    ear = AsrProgram(name="ear", models=[hears], supports_transcript_streaming=True, **COMMON)
    voice = TtsProgram(name="voice", voices=voices, **COMMON)
    return Info(asr=[ear] if "asr" in services else [], tts=[voice] if "tts" in services else [])


@dataclass
class Host:
    """What a server was asked, and how it answers: ``pieces`` of a transcript, ``chunks`` of sound."""

    url: str = ""
    pieces: tuple[str, ...] = ("At", " nine.")
    languages: tuple[str, ...] = ("en", "de_DE")
    services: tuple[str, ...] = ("asr", "tts")
    streams: bool = False
    fails: str = ""
    rate_hz: int = 22050
    channels: int = 1
    chunks: int = 10
    asked: list[Event] = field(default_factory=list)
    heard: bytearray = field(default_factory=bytearray)
    open: int = 0


class _Handler(AsyncEventHandler):
    def __init__(self, host: Host, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.host = host
        self.converter = AudioChunkConverter(rate=16000, width=2, channels=1)

    async def handle_event(self, event: Event) -> bool:
        host = self.host
        if AudioChunk.is_type(event.type):
            host.heard += self.converter.convert(AudioChunk.from_event(event)).audio
            return True
        host.asked.append(event)
        if Describe.is_type(event.type):
            await self.write_event(info(host.languages, host.services).event())
        elif host.fails and (Transcribe.is_type(event.type) or Synthesize.is_type(event.type)):
            await self.write_event(Error(text=host.fails, code="broken").event())
        elif AudioStop.is_type(event.type):
            await self._transcript()
        elif Synthesize.is_type(event.type):
            await self._speech()
        return True

    async def _transcript(self) -> None:
        if self.host.streams:
            await self.write_event(TranscriptStart(language="en").event())
            for piece in self.host.pieces:
                await self.write_event(TranscriptChunk(text=piece).event())
        await self.write_event(Transcript(text="".join(self.host.pieces), language="en").event())
        if self.host.streams:
            await self.write_event(TranscriptStop().event())

    async def _speech(self) -> None:
        host = self.host
        kind = {"rate": host.rate_hz, "width": 2, "channels": host.channels}
        await self.write_event(AudioStart(**kind).event())
        sample = b"".join((1000 * (each + 1)).to_bytes(2, "little") for each in range(host.channels))
        for _ in range(host.chunks):
            await self.write_event(AudioChunk(audio=sample * 1024, **kind).event())
        await self.write_event(AudioStop().event())


@contextlib.asynccontextmanager
async def reference(**how: Any) -> AsyncIterator[Host]:
    """Run a server of the reference implementation."""
    host = Host(**how)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.open += 1
        try:
            await _Handler(host, reader, writer).run()
        finally:
            host.open -= 1

    async with _serving(talk) as host.url:
        yield host


@contextlib.asynccontextmanager
async def raw(answer: bytes, *, closes: bool = True, again: bytes = b"") -> AsyncIterator[str]:
    """Run a server that answers every connection with the same bytes; yields its URL.

    ``again`` is sent over and over behind them, every twentieth of a second.
    """
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        while again and not over.is_set():
            writer.write(again)
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.05)
        if not closes:
            await over.wait()

    async with _serving(talk) as url:
        try:
            yield url
        finally:
            over.set()


@contextlib.asynccontextmanager
async def _serving(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await talk(reader, writer)
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(whole(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"wyoming://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)
