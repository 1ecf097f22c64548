"""Carries out what the conversation of one call or socket wants: models, sound, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from math import exp
from typing import Any, Final, cast

from offhook.call.call import Output
from offhook.host.converser import Converser
from offhook.host.filling import Filling
from offhook.host.mcp_calls import McpCalls
from offhook.host.services import Services
from offhook.host.well_formed import well_formed, well_formed_output, well_formed_words
from offhook.model.interface import EarlyHearing, HearsSoFar, ModelError, Speech, Words
from offhook.model.metering import metered
from offhook.model.verbatim import say_verbatim
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.session.input_audio import linear
from offhook.wire.server_events import encode_event
from offhook.wire.session import Transcription, TranscriptionEcho

MAX_HEARINGS: Final = 256
"""Transcriptions under way in one conversation: more than the turns of five minutes that were appended at once."""

_OF_THE_LINE: Final = frozenset(
    (do.Play, do.FinishPlayout, do.StopPlayout, do.EndTurn, do.Duck, do.ReduceNoise, do.ConfigureTurns)
)

MAX_HEARING_BYTES: Final = 64 * 1024 * 1024
"""The sound that they hold: twenty minutes of 24 kHz samples. Recordings come faster than anybody can hear them."""


@dataclass(frozen=True, slots=True)
class _Early:
    """A turn that is being heard although it may go on."""

    wanted: do.HearEarly
    hearing: EarlyHearing | None
    telling: asyncio.Task[None] | None

    def cancel(self) -> None:
        """Nobody wants it any more."""
        if self.hearing is not None:
            self.hearing.cancel()
        if self.telling is not None:
            self.telling.cancel()

    def serves(self, wanted: do.Hear) -> bool:
        """Whether it is the same turn, to be heard in the same way."""
        begun = self.wanted
        return (begun.item_id, begun.start_ms, begun.transcription) == (
            wanted.item_id,
            wanted.start_ms,
            wanted.transcription,
        )


class Conversing:
    """The drivers of one conversation. Tasks end with it."""

    def __init__(self, owner: Converser, services: Services) -> None:
        self._owner = owner
        self._services = services
        self._generating: dict[int, asyncio.Task[None]] = {}
        # What is being transcribed, and how many bytes of sound that is.
        self._hearing: dict[asyncio.Task[None], int] = {}
        self._hearings_refused = 0
        self._early: _Early | None = None
        self._reading: tuple[str, asyncio.Task[None]] | None = None
        self._filling = Filling(owner, services)
        self._language = ""
        self._mcp = McpCalls(owner, services.mcp)

    def close(self) -> None:
        """Stop everything that is under way."""
        self._drop_early()
        self.stop_speaking()
        for task in self._hearing:
            task.cancel()
        self._stop_reading()
        self._mcp.close()

    def stop_speaking(self) -> None:
        """Stop what the models still want to say."""
        self._filling.close()
        for task in self._generating.values():
            task.cancel()

    @property
    def hearing(self) -> frozenset[asyncio.Task[None]]:
        """What is still being transcribed."""
        return frozenset(self._hearing)

    def perform(self, output: Output) -> None:
        """Do one thing that the conversation wants."""
        owner = self._owner
        if type(output) in _OF_THE_LINE:
            self._use_line(output)
            return
        match output:
            case do.Send(event=event, origin=origin):
                text = encode_event(event)
                if origin is None:
                    owner.broadcast(text)
                else:
                    owner.send_to(origin, text)
            case do.Generate():
                task = self._spawn(self._generate(output))
                self._generating[output.run] = task
                task.add_done_callback(lambda _: self._generating.pop(output.run, None))
            case do.CancelGeneration(run=run):
                if (running := self._generating.get(run)) is not None:
                    running.cancel()
            case do.Fill() | do.MakeFiller():
                self._filling.begin(output)
            case do.StopFilling(number=number):
                self._filling.stop(number)
            case do.Hear():
                self._hear(output)
            case do.HearGiven(item_id=item_id, audio=audio, format=audio_format, transcription=transcription):
                pcm, rate_hz = linear(audio, audio_format)
                self._begin_hearing(do.Hear(item_id, 0, 0, transcription), Speech(pcm, rate_hz, self._language), None)
            case do.HearEarly():
                self._hear_early(output)
            case do.HearSoFar():
                self._stop_reading()
                self._reading = output.item_id, self._spawn(self._tell_so_far(output))
            case do.DropEarly():
                self._drop_early()
            case do.SendWithAudio():
                self._send_with_audio(output)
            case do.ListMcpTools() | do.CallMcpTool():
                self._mcp.perform(output)
            case _:
                pass

    def _use_line(self, output: Output) -> None:
        """Do what the sound of the call does, if it has one."""
        line = self._owner.line
        if line is None:
            return
        match output:
            case do.Play(run=run, pcm=pcm, rate_hz=rate_hz):
                line.play(run, pcm, rate_hz)
            case do.FinishPlayout(run=run):
                line.finish(run)
            case do.StopPlayout():
                line.stop_playout()
            case do.EndTurn():
                line.end_turn()
            case do.Duck(ducked=ducked):
                line.duck(ducked=ducked)
            case do.ReduceNoise(noise_reduction=noise):
                line.reduce_noise(noise)
            case do.ConfigureTurns(turn_detection=detection):
                line.configure_turns(detection)
            case _:
                pass

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # What the models do in it, and in the tasks that they begin, is done for this conversation.
        return asyncio.get_running_loop().create_task(work, context=metered(self._owner.note_use))

    # -- thinking and speaking

    async def _generate(self, request: do.Generate) -> None:
        take, run = self._owner.take, request.run
        try:
            backend = self._services.backend
            produced = say_verbatim(backend, request) if request.verbatim else backend.respond(request)
            # A backend is an async generator; closing it stops what it started.
            async with aclosing(cast("Any", produced)) as outputs:
                async for output in outputs:
                    take(well_formed_output(output))
        except ModelError as failure:
            code, why = well_formed(failure.code), well_formed(failure.message)
            self._owner.log.warning("model failed", code=code, why=why, run=run)
            take(talk.GenerationFailed(run, code, why))
        except Exception as bug:  # an adapter may not be ours; this response fails, the call goes on
            self._owner.log.error("model adapter failed", failure=bug, run=run)
            take(talk.GenerationFailed(run, "server_error", "The model adapter failed."))

    # -- hearing

    def _nobody_reads(self, wanted: do.Hear | do.HearEarly) -> bool:
        """Whether nobody asked for the words, and the model does not read them."""
        return wanted.transcription is None and not self._services.backend.capabilities.needs_transcripts

    def _hear_early(self, wanted: do.HearEarly) -> None:
        self._drop_early()
        speech = self._speech(wanted.start_ms, wanted.end_ms)
        hearing = self._begin_early(wanted, speech)
        telling = self._spawn(self._tell_pause(wanted, speech, hearing)) if wanted.tell else None
        self._early = _Early(wanted, hearing, telling)

    def _begin_early(self, wanted: do.HearEarly, speech: Speech) -> EarlyHearing | None:
        if self._nobody_reads(wanted):
            return None
        try:
            return self._services.backend.hear_early(speech, cast("Any", wanted.transcription))
        except Exception as bug:  # as above: it is heard at the end of the turn
            self._owner.log.error("model adapter failed", failure=bug)
            return None

    async def _tell_pause(self, wanted: do.HearEarly, speech: Speech, hearing: EarlyHearing | None) -> None:
        """Tell the conversation what was said before a pause, as soon as that is known."""
        words, over = await asyncio.gather(self._all_words(hearing), self._sounds_over(speech))
        text = None if words is None else "".join(piece.text for piece in words)
        spoken = next((piece.language for piece in words or [] if piece.language), self._language)
        language = spoken or _language_of(wanted.transcription)
        self._owner.take(talk.PauseHeard(wanted.item_id, text, language, _certainty(words or []), over))

    async def _tell_so_far(self, wanted: do.HearSoFar) -> None:
        """Tell the conversation what was said of a turn that goes on."""
        hearing = self._begin_so_far(wanted)
        try:
            words = await self._all_words(hearing)
        finally:
            if hearing is not None:
                hearing.cancel()
        text = None if words is None else "".join(piece.text for piece in words)
        self._owner.take(talk.HeardSoFar(wanted.item_id, text))

    def _begin_so_far(self, wanted: do.HearSoFar) -> EarlyHearing | None:
        backend = self._services.backend
        if not isinstance(backend, HearsSoFar):
            return None
        speech = self._speech(wanted.start_ms, wanted.end_ms)
        try:
            return backend.hear_so_far(speech, cast("Any", wanted.transcription))
        except Exception as bug:  # as above
            self._owner.log.error("model adapter failed", failure=bug)
            return None

    def _stop_reading(self) -> None:
        """What was heard of a turn that goes on serves nobody any more."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading[1].cancel()

    async def _all_words(self, hearing: EarlyHearing | None) -> list[Words] | None:
        """Return the words of what is heard early; None when there will be none."""
        if hearing is None:
            return None
        try:
            return [well_formed_words(piece) async for piece in hearing.words()]
        except ModelError:
            return None
        except Exception as bug:  # as above
            self._owner.log.error("model adapter failed", failure=bug)
            return None

    async def _sounds_over(self, speech: Speech) -> float | None:
        judge = self._services.turn_ends
        return None if judge is None else await judge.judge(speech)

    def _drop_early(self) -> None:
        early, self._early = self._early, None
        if early is not None:
            early.cancel()

    def _take_early(self, wanted: do.Hear) -> EarlyHearing | None:
        """Return what was begun of the same turn in the same way; anything else is dropped."""
        early = self._early
        if early is None or not early.serves(wanted):
            self._drop_early()
            return None
        self._early = None
        if early.telling is not None:
            early.telling.cancel()
        if early.hearing is not None:
            early.hearing.hasten()
        return early.hearing

    def _hear(self, wanted: do.Hear) -> None:
        # What is not kept for long is taken now.
        self._begin_hearing(wanted, self._speech(wanted.start_ms, wanted.end_ms), self._take_early(wanted))

    def _begin_hearing(self, wanted: do.Hear, speech: Speech, early: EarlyHearing | None) -> None:
        if self._nobody_reads(wanted):
            self._owner.take(talk.TranscriptFailed(wanted.item_id, "not_wanted", "No transcript was asked for."))
            return
        if self._reading is not None and self._reading[0] == wanted.item_id:
            self._stop_reading()
        held_bytes = sum(self._hearing.values()) + len(speech.pcm)
        if len(self._hearing) >= MAX_HEARINGS or held_bytes > MAX_HEARING_BYTES:
            self._refuse_hearing(wanted, early, held_bytes)
            return
        task = self._spawn(self._transcribe(wanted, speech, early))
        self._hearing[task] = len(speech.pcm)
        task.add_done_callback(self._hearing.pop)

    def _refuse_hearing(self, wanted: do.Hear, early: EarlyHearing | None, held_bytes: int) -> None:
        """Tell that too much waits for its words already."""
        if early is not None:
            early.cancel()
        self._hearings_refused += 1
        if self._hearings_refused == 1:
            hearings = len(self._hearing)
            self._owner.log.warning("transcriptions refused: too many", hearings=hearings, size_bytes=held_bytes)
        message = "Too much of this conversation waits to be transcribed already."
        self._owner.take(talk.TranscriptFailed(wanted.item_id, "overloaded", message))

    def _speech(self, start_ms: int, end_ms: int) -> Speech:
        line = self._owner.line
        pcm, rate_hz = (b"", 8000) if line is None else line.input_audio(start_ms, end_ms)
        return Speech(pcm, rate_hz, self._language)

    async def _words(self, wanted: do.Hear, speech: Speech, early: EarlyHearing | None) -> AsyncIterator[Words]:
        """Yield the words that were heard early; where others were more urgent, hear the turn now."""
        if early is not None:
            begun = False
            try:
                async with aclosing(cast("Any", early.words())) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
            except ModelError as failure:
                if begun or failure.code != "overloaded":
                    raise
            else:
                return
            finally:
                early.cancel()
        backend = self._services.backend
        async with aclosing(cast("Any", backend.transcribe(speech, cast("Any", wanted.transcription)))) as pieces:
            async for piece in pieces:
                yield piece

    async def _transcribe(self, wanted: do.Hear, speech: Speech, early: EarlyHearing | None) -> None:
        take, item_id = self._owner.take, wanted.item_id
        texts: list[str] = []
        logprobs: list[Any] = []
        language, usage = "", None
        try:
            async with aclosing(cast("Any", self._words(wanted, speech, early))) as pieces:
                async for heard in pieces:
                    piece = well_formed_words(heard)
                    texts.append(piece.text)
                    logprobs += piece.logprobs
                    language, usage = piece.language or language, piece.usage or usage
                    self._language = language or self._language
                    if piece.text:
                        take(talk.TranscriptGrew(item_id, piece.text, piece.logprobs))
                    for each in piece.segments:
                        take(talk.SegmentHeard(item_id, each.text, each.speaker, each.start_s, each.end_s))
        except ModelError as failure:
            code, why = well_formed(failure.code), well_formed(failure.message)
            self._owner.log.warning("transcription failed", code=code, why=why)
            take(talk.TranscriptFailed(item_id, code, why))
        except Exception as bug:  # as above
            self._owner.log.error("model adapter failed", failure=bug)
            take(talk.TranscriptFailed(item_id, "server_error", "The model adapter failed."))
        else:
            text = "".join(texts)
            take(talk.TranscriptCompleted(item_id, text, speech.seconds, tuple(logprobs), language, usage))

    def _send_with_audio(self, wanted: do.SendWithAudio) -> None:
        line = self._owner.line
        audio = b"" if line is None else line.retrieved_audio(wanted.start_ms, wanted.end_ms)
        self._owner.send_to(wanted.origin, encode_event(wanted.event(audio)))


def _certainty(words: list[Words]) -> float | None:
    """Return how probable the last word and the mark behind it are; None when the recogniser does not tell."""
    tokens = [token for piece in words for token in piece.logprobs]
    return exp(min(token.logprob for token in tokens[-2:])) if tokens else None


def _language_of(transcription: Transcription | TranscriptionEcho | None) -> str:
    given = None if transcription is None else transcription.language
    return given if isinstance(given, str) else ""
