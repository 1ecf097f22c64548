"""Answers for an upstream that does not: with another model, or with an apology and the reason."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, cast

import msgspec

from offhook.host.converser import Converser
from offhook.host.conversing import MAX_HEARING_BYTES, MAX_HEARINGS, Conversing
from offhook.host.services import Services
from offhook.host.well_formed import well_formed, well_formed_words
from offhook.model.cascade import APOLOGY_S, Cascade
from offhook.model.interface import ModelError, Speech
from offhook.model.metering import used_to_hear
from offhook.model.relay import Reserve
from offhook.session import inputs as talk
from offhook.session import outputs as do
from offhook.session.relay.steps import HandOver, Unheard
from offhook.wire.items import InputAudio, Item, Message

# Turns whose words only this side knows, for as long as a conversation speaks of them.
MAX_REMEMBERED: Final = 256


class StandIn(Conversing):
    """Carries out the responses of one conversation that are handed over."""

    def __init__(self, owner: Converser, services: Services, reserve: Reserve) -> None:
        super().__init__(owner, services if reserve.stand_in is None else replace(services, backend=reserve.stand_in))
        self._reserve = reserve
        # A cascade's parts tell their work themselves.
        self._paid = "" if reserve.stand_in is None or isinstance(reserve.stand_in, Cascade) else reserve.paid_as
        self._heard: dict[str, str] = {}
        self._heard_late: dict[str, asyncio.Task[None]] = {}

    def take_over(self, wanted: HandOver) -> None:
        """Answer in upstream's place."""
        run = wanted.request.run
        for unheard in wanted.unheard:
            self.hear(unheard)
        if self._paid:
            self._owner.bill_stand_in(run, self._paid)
        task = self._spawn(self._apologize(wanted) if self._reserve.stand_in is None else self._answer(wanted))
        self._generating[run] = task
        task.add_done_callback(lambda _: self._generating.pop(run, None))

    def hear(self, unheard: Unheard) -> None:
        """Find the words of a turn that upstream will not tell, whatever becomes of the response to it."""
        item_id, size_bytes = unheard.item_id, len(unheard.pcm)
        held_bytes = sum(self._hearing.values()) + size_bytes
        if len(self._hearing) >= MAX_HEARINGS or held_bytes > MAX_HEARING_BYTES:
            self._refuse_hearing(do.Hear(item_id, 0, 0, None), None, held_bytes)
            return
        task = self._spawn(self._hear_late(unheard))
        self._hearing[task] = size_bytes
        self._heard_late[item_id] = task
        task.add_done_callback(self._hearing.pop)
        task.add_done_callback(lambda _: self._heard_late.pop(item_id, None))

    async def _answer(self, wanted: HandOver) -> None:
        ids = [str(item.id) for item in wanted.request.items]
        if hearing := [self._heard_late[item_id] for item_id in ids if item_id in self._heard_late]:
            await asyncio.wait(hearing)
        items = tuple(map(self._with_words, wanted.request.items))
        await self._generate(msgspec.structs.replace(wanted.request, items=items))

    async def _hear_late(self, unheard: Unheard) -> None:
        owner, item_id = self._owner, unheard.item_id
        session, speech = owner.session, Speech(unheard.pcm, unheard.rate_hz)
        wanted = None if session is None else session.audio.input.transcription
        usage = None
        texts: list[str] = []
        try:
            hearing = self._services.backend.transcribe(speech, cast("Any", wanted))
            async with aclosing(cast("Any", hearing)) as pieces:
                async for heard in pieces:
                    piece = well_formed_words(heard)
                    texts.append(piece.text)
                    usage = piece.usage or usage
        except ModelError as failure:
            owner.log.warning("transcription failed", code=well_formed(failure.code), why=well_formed(failure.message))
            owner.take(talk.TranscriptFailed(item_id, well_formed(failure.code), well_formed(failure.message)))
            return
        except Exception as bug:  # an adapter may not be ours
            owner.log.error("model adapter failed", failure=bug)
            owner.take(talk.TranscriptFailed(item_id, "server_error", "The model adapter failed."))
            return
        owner.bill_parts(item_id)
        if self._paid:
            owner.note_use(used_to_hear(self._paid, speech.seconds, usage))
        self._heard[item_id] = "".join(texts)
        if len(self._heard) > MAX_REMEMBERED:
            del self._heard[next(iter(self._heard))]
        owner.take(talk.TranscriptCompleted(item_id, self._heard[item_id], speech.seconds, usage=usage))

    def _with_words(self, item: Item) -> Item:
        words = self._heard.get(str(item.id))
        if words is None or not isinstance(item, Message):
            return item
        return msgspec.structs.replace(item, content=(InputAudio(transcript=words),))

    async def _apologize(self, wanted: HandOver) -> None:
        """Let the caller hear that it failed, where somebody can say it, and tell the clients why."""
        for event in await self._apology(wanted.request):
            self._owner.take(event)
        self._owner.take(wanted.failure)

    async def _apology(self, request: do.Generate) -> list[talk.Input]:
        words = self._reserve.apology if request.apology is None else request.apology
        voice = self._reserve.voice
        if voice is None or not words.strip() or request.modality == "text":
            return []
        try:
            async with asyncio.timeout(APOLOGY_S):
                sounds = [sound async for sound in voice.speak(words, request.voice, request.speed)]
        except (ModelError, TimeoutError):
            return []
        produced = (
            talk.AudioProduced(request.run, each.pcm, each.rate_hz, each.duration_ms, each.text) for each in sounds
        )
        return [talk.TextProduced(request.run, words), *produced]
