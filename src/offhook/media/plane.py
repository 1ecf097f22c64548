"""The plane: all legs, one `step` every 5 ms.

A step obeys the commands, reads every socket, listens, and sends the frames of the group whose time it is. It waits for
nothing and reads no clock: `offhook.media.thread` drives it in real time, tests with a clock that jumps.

Order within a step is what makes a stop exact: commands first, so that nothing of a queue is sent after its stop.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from math import ceil
from typing import Final, TypeAlias, assert_never

import numpy as np

from offhook.audio import pcm
from offhook.audio.dtmf import DIGITS
from offhook.audio.pcm import Samples
from offhook.audio.resample import is_convertible
from offhook.audio.turn import TurnOptions
from offhook.errors import LocalError
from offhook.media import limits
from offhook.media.command import (
    CloseLeg,
    Command,
    ConfigureTurns,
    Duck,
    EndTurn,
    Fill,
    FinishRun,
    LegOptions,
    Negotiated,
    OpenLeg,
    Play,
    ReduceNoise,
    SendDtmf,
    StopFilling,
    StopPlayout,
    UpdateLeg,
)
from offhook.media.edge import Edge, LegClosed, LegOpened, MediaFailed
from offhook.media.filler import Filler
from offhook.media.hearing import Hearing
from offhook.media.input_audio import InputAudio
from offhook.media.leg import Leg
from offhook.media.load import Load, LoadMeter
from offhook.media.noise import NoiseReducer, Processor
from offhook.media.ports import DatagramPort, Poller, Ports
from offhook.media.stats import LegStats
from offhook.media.vad import VoiceDetector

_log: Final = logging.getLogger(__name__)
_FRAME_S: Final = limits.FRAME_MS / 1000
_GRAIN_S: Final = 1e-6  # Sums of binary fractions: a tick is not to wait a step for the last bit of its time.


UrgentPort: TypeAlias = tuple[Leg, DatagramPort]


class MediaError(LocalError):
    """The plane cannot do what it was asked: a leg that is not open, a number that is none, a queue that is full."""


class MediaPlane:
    """Carries the sound of all legs.

    The methods named after commands may be called from any thread; they are carried out by the next step, in order.
    Edges come in batches through ``deliver``, which is called inside a step and must not wait. ``pollers`` makes two
    empty pollers: one is read every step, the other belongs to urgent legs (echoes), which are served when they have
    something. ``randbits`` is the source of chance (`secrets.randbits`).
    """

    def __init__(
        self,
        deliver: Callable[[list[Edge]], object],
        *,
        detector: VoiceDetector | None,
        pollers: Callable[[], Poller],
        randbits: Callable[[int], int],
    ) -> None:
        self._deliver = deliver
        self._randbits = randbits
        self._poller = pollers()
        self._urgent = pollers()
        self._urgent_legs = 0
        self._hearing = Hearing(detector)
        self._legs: dict[str, Leg] = {}
        self._groups: list[dict[str, Leg]] = [{} for _ in range(limits.GROUPS)]
        self._group_at: list[float] = []
        self._commands: deque[Command] = deque()
        self._resting = False
        self._woken = threading.Event()
        self._edges: list[Edge] = []
        self._steps = 0
        self._next_at: float | None = None
        self._last_now = 0.0
        self._stood_still_s = 0.0
        self.meter: Final = LoadMeter()

    # -- commands, from any thread ------------------------------------------------------------------------------------

    def open_leg(self, leg: str, ports: Ports, negotiated: Negotiated, options: LegOptions | None = None) -> InputAudio:
        """Start a leg and return where its input is kept, which outlives the leg. The plane closes the ports."""
        options = options or LegOptions()
        if not negotiated.codecs:
            raise MediaError(f"leg {leg} has no codec")
        audio = InputAudio(negotiated.codecs[0][1], options.keep_input_s)
        self._post(OpenLeg(leg, ports, negotiated, options, audio))
        return audio

    def update_leg(self, leg: str, negotiated: Negotiated) -> None:
        """Take a new offer and answer: hold, resume, other codecs; only this lets the caller's address move.

        What is queued waits while nothing may be sent; nobody is missed while nothing may come.
        """
        if not negotiated.codecs:
            raise MediaError(f"leg {leg} has no codec")
        self._post(UpdateLeg(leg, negotiated))

    def close_leg(self, leg: str) -> None:
        """End a leg; harmless when it has ended."""
        self._post(CloseLeg(leg))

    def play(self, leg: str, run: int, sound: bytes | Samples, rate_hz: int) -> None:
        """Queue 16-bit sound of a run (0, 1, 2, ... in order of time). Runs play one after another."""
        if not is_convertible(rate_hz) or run < 0:
            raise MediaError(f"run {run} at {rate_hz} Hz cannot be played")
        samples = pcm.from_bytes(sound) if isinstance(sound, bytes) else np.ascontiguousarray(sound, np.int16)
        self._post(Play(leg, run, samples, rate_hz))

    def finish_run(self, leg: str, run: int) -> None:
        """Say that no more sound of a run will come; `PlayoutFinished` follows when its last sample is sent."""
        self._post(FinishRun(leg, run))

    def stop_playout(self, leg: str, through_run: int | None = None) -> None:
        """Cut the run that plays and drop those behind it, or those up to ``through_run``; late chunks are dropped."""
        self._post(StopPlayout(leg, through_run))

    def fill(self, leg: str, number: int, samples: Samples, *, loops: bool = False, whole: bool = False) -> None:
        """Play samples at 8 kHz until a run has something to say; `FillerEnded` follows once, in any case.

        ``loops``: over and over. ``whole``: a run waits for the end.
        """
        self._post(Fill(leg, number, samples, loops, whole))

    def stop_filling(self, leg: str) -> None:
        """End what `fill` began."""
        self._post(StopFilling(leg))

    def configure_turns(self, leg: str, options: TurnOptions | None) -> None:
        """Change turn detection from here on, or switch it off."""
        self._post(ConfigureTurns(leg, options))

    def end_turn(self, leg: str) -> None:
        """End the caller's turn in a pause that was told; nothing happens when the caller speaks on by now."""
        self._post(EndTurn(leg))

    def duck(self, leg: str, *, ducked: bool) -> None:
        """Play softly while it is not known whether the caller interrupts, or as loud as before."""
        self._post(Duck(leg, ducked))

    def reduce_noise(self, leg: str, processor: Processor | None) -> None:
        """Clean what comes in on a leg from here on: for the detector and `input_audio`, not for a recording."""
        self._post(ReduceNoise(leg, processor))

    def send_dtmf(self, leg: str, digits: str, duration_ms: int = 100) -> None:
        """Press keys for the caller; `DtmfSent` follows. What plays waits meanwhile."""
        if not digits or any(digit not in DIGITS for digit in digits) or not 20 <= duration_ms <= 60_000:
            raise MediaError(f"cannot press {digits!r} for {duration_ms} ms: keys are {DIGITS}, from 20 ms to a minute")
        self._post(SendDtmf(leg, digits, duration_ms))

    # -- questions, from any thread -----------------------------------------------------------------------------------

    def input_audio(self, leg: str, start_ms: int, end_ms: int) -> Samples:
        """Return what the caller said between two places on the leg's line: 8 kHz, loss concealed."""
        found = self._legs.get(leg)
        if found is None:
            raise MediaError(f"leg {leg} is not open")
        return found.audio.read(start_ms, end_ms)

    def stats(self, leg: str) -> LegStats:
        """Return a leg's counters."""
        found = self._legs.get(leg)
        if found is None:
            raise MediaError(f"leg {leg} is not open")
        return found.stats()

    def load(self) -> Load:
        """Return how near the plane is to its limit."""
        hearing = self._hearing
        return self.meter.read(
            legs=len(self._legs), vad_queued=hearing.queued, vad_judged=hearing.judged, vad_skipped=hearing.skipped
        )

    @property
    def has_urgent(self) -> bool:
        """Whether some leg wants its packets as they come."""
        return bool(self._urgent_legs)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do before the next command."""
        return not self._legs and not self._commands

    # -- driven by one thread -----------------------------------------------------------------------------------------

    def rest(self, timeout_s: float) -> None:
        """Wait for a command, at most so long; only while the plane is `idle`, and then call `rested`."""
        self._resting = True
        if not self._commands:
            self._woken.wait(timeout_s)
        self._resting = False
        self._woken.clear()

    def rested(self, now: float) -> float:
        """Leave out the steps that nobody needed, and return when the next one is due."""
        due = now if self._next_at is None else self._next_at
        unneeded = int((now - due) / limits.STEP_S) + 1 if now > due else 0
        self.meter.passed(unneeded)
        self._last_now = now
        media_now = now - self._stood_still_s
        missed = [max(ceil((media_now - at) / _FRAME_S), 0) for at in self._group_at]
        self._group_at = [at + frames * _FRAME_S for at, frames in zip(self._group_at, missed, strict=True)]
        self._next_at = due + unneeded * limits.STEP_S
        return self._next_at

    def step(self, now: float) -> float:
        """Do everything that is due at ``now`` and return when to come again."""
        due = self._next_at
        if due is None:
            due = now
            self._group_at = [now + index * limits.STEP_S for index in range(limits.GROUPS)]
        elif now - self._last_now > limits.STALL_S:
            self._stood_still_s += now - self._last_now - limits.STEP_S
        late_s = max(now - due, 0.0)
        # What has come in while this step was late is all read now: what is not there by its tick counts as lost.
        passes = limits.DRAIN_PASSES * (1 + int(min(late_s, limits.STALL_S) / limits.STEP_S))
        self.meter.began(late_s)
        self._last_now = now
        media_now = now - self._stood_still_s
        while self._commands:
            self._obey(self._commands.popleft(), media_now)
        self._drain(self._poller, media_now, passes)
        if self._urgent_legs:
            self._drain(self._urgent, media_now, passes)
        if self._hearing.heard:
            self._hearing.levels(self._edges)
        self._steps += 1
        if self._steps % limits.VAD_STEPS == 0:
            self._hearing.voices(self._edges)
        for group, at in enumerate(self._group_at):
            if at <= media_now + _GRAIN_S:
                self._tick(group, media_now)
        self._flush()
        # The grid of steps is absolute: a late step does not shift those after it.
        missed = int((now - due) / limits.STEP_S)
        self._next_at = due + (missed + 1) * limits.STEP_S
        return self._next_at

    def passed_over(self, now: float) -> float | None:
        """Let the step of ``now`` pass when nothing is due in it; return when to come again, None when something is.

        Who pays for every step, and finds out for nothing what has come in, saves half of them for a single call.
        """
        media_now = now - self._stood_still_s
        if self._next_at is None or now - self._next_at >= limits.STEP_S or self._commands or self._urgent_legs:
            return None
        if self._hearing.ready or self._poller.ready():
            return None
        for index, at in enumerate(self._group_at):
            if at <= media_now + _GRAIN_S:
                if self._groups[index]:
                    return None
                self._group_at[index] = at + _FRAME_S
        self._steps += 1
        self._last_now = now
        self._next_at += limits.STEP_S
        return self._next_at

    def wait_urgent(self, timeout_s: float) -> list[UrgentPort]:
        """Wait for packets of urgent legs, at most so long; what is returned is for `serve_urgent`."""
        ready: list[UrgentPort] = self._urgent.ready(timeout_s)
        return ready

    def serve_urgent(self, ready: list[UrgentPort], now: float) -> None:
        """Answer one packet from each of these ports."""
        for leg, port in ready:
            self._read(leg, port, now - self._stood_still_s)
        self._flush()

    def close(self, now: float) -> None:
        """Close all legs; those that are still to be opened have their ports closed too."""
        while self._commands:
            self._obey(self._commands.popleft(), now - self._stood_still_s)
        for leg in list(self._legs.values()):
            self._close(leg, now - self._stood_still_s)
        self._flush()

    def _post(self, command: Command) -> None:
        if len(self._commands) >= limits.COMMANDS:
            raise MediaError("the media plane does not keep up: its queue of commands is full")
        self._commands.append(command)
        if self._resting:
            self._woken.set()

    def _flush(self) -> None:
        if self._edges:
            edges, self._edges = self._edges, []
            self._deliver(edges)

    def _obey(self, command: Command, now: float) -> None:
        if isinstance(command, OpenLeg):
            self._open(command, now)
            return
        leg = self._legs.get(command.leg)
        if leg is None:
            return  # It has ended; whoever asked could not know yet.
        try:
            self._carry_out(command, leg, now)
        except Exception as error:  # a bug: this call pays for it
            self._close(leg, now, error)

    def _carry_out(self, command: Command, leg: Leg, now: float) -> None:
        playout = leg.outbound.playout
        match command:
            case OpenLeg():
                pass
            case UpdateLeg(negotiated=negotiated):
                leg.renegotiated(negotiated, now)
            case CloseLeg():
                self._close(leg, now)
            case Play(run=run, samples=samples, rate_hz=rate_hz):
                playout.play(run, samples, rate_hz, leg.ms(now), self._edges)
            case FinishRun(run=run):
                playout.finish(run)
            case StopPlayout(through_run=through_run):
                playout.stop(through_run, leg.ms(now), self._edges)
            case Fill(number=number, samples=samples, loops=loops, whole=whole):
                playout.fill(Filler(number, samples, loops=loops, whole=whole), leg.ms(now), self._edges)
            case StopFilling():
                playout.stop_filling(leg.ms(now), self._edges)
            case ConfigureTurns(turns=turns):
                self._hearing.configure(leg, turns)
            case EndTurn():
                self._hearing.end_turn(leg, self._edges)
            case Duck(ducked=ducked):
                leg.outbound.ducking.duck(ducked=ducked)
            case ReduceNoise(processor=processor):
                leg.inbound.reducer = None if processor is None else NoiseReducer(processor, leg.codec)
            case SendDtmf(digits=digits, duration_ms=duration_ms):
                leg.outbound.keypad.press(digits, duration_ms)
            case _:
                assert_never(command)

    def _open(self, command: OpenLeg, now: float) -> None:
        if command.leg in self._legs or len(self._legs) >= limits.LEGS:
            command.ports.close(now + self._stood_still_s)
            self._edges.append(MediaFailed(command.leg, 0, "there is such a leg, or no room for another"))
            return
        try:
            leg = self._begin(command, now)
        except Exception as error:  # a bug: this call has no sound, and no other pays for it
            begun = self._legs.get(command.leg)
            if begun is not None:
                self._close(begun, now, error)
                return
            command.ports.close(now + self._stood_still_s)
            _log.exception("media of leg %s cannot begin", command.leg)
            self.meter.failures += 1
            self._edges.append(MediaFailed(command.leg, 0, type(error).__name__))
            return
        self._edges.append(LegOpened(leg.id, 0, now + self._stood_still_s))

    def _begin(self, command: OpenLeg, now: float) -> Leg:
        # What came before anybody could know of this leg was meant for another one.
        for port in (command.ports.rtp, command.ports.rtcp):
            _empty(port)
        index = min(range(limits.GROUPS), key=lambda group: len(self._groups[group]))
        first_tick_at = self._group_at[index]
        if first_tick_at < now:
            first_tick_at += _FRAME_S
        leg = Leg(
            command.leg,
            command.ports,
            command.negotiated,
            command.options,
            command.audio,
            now,
            first_tick_at,
            self._hearing.heard,
            self._randbits,
        )
        self._legs[leg.id] = leg
        self._groups[index][leg.id] = leg
        poller = self._urgent if leg.echo else self._poller
        self._urgent_legs += leg.echo
        poller.add(leg.ports.rtp, (leg, leg.ports.rtp))
        poller.add(leg.ports.rtcp, (leg, leg.ports.rtcp))
        if not leg.echo:
            self._hearing.open(leg)
        return leg

    def _close(self, leg: Leg, now: float, failure: Exception | None = None) -> None:
        """End a leg, in good order or because it broke: that is a bug, and only this call pays for it.

        Nothing that breaks on the way keeps the ports from being given back.
        """
        if self._legs.pop(leg.id, None) is None:
            return
        for group in self._groups:
            group.pop(leg.id, None)
        poller = self._urgent if leg.echo else self._poller
        self._urgent_legs -= leg.echo
        try:
            poller.remove(leg.ports.rtp)
            poller.remove(leg.ports.rtcp)
            self._hearing.close(leg)
            leg.outbound.playout.stop(None, leg.ms(now), self._edges)
            leg.say_goodbye(now)
        except Exception as error:  # a bug: the leg ends all the same
            failure = failure or error
        leg.ports.close(now + self._stood_still_s)
        if failure is not None:
            _log.error("media of leg %s failed", leg.id, exc_info=failure)
            self.meter.failures += 1
            self._edges.append(MediaFailed(leg.id, leg.ms(now), type(failure).__name__))
        self._edges.append(LegClosed(leg.id, leg.ms(now), leg.stats()))
        leg.inbound.close()

    def _drain(self, poller: Poller, now: float, passes: int) -> None:
        """Read all ports, each once a pass, so that one that is flooded does not hold up the others."""
        for _ in range(passes):
            ready = poller.ready()
            if not ready:
                return
            for leg, port in ready:
                self._read(leg, port, now)

    def _read(self, leg: Leg, port: DatagramPort, now: float) -> None:
        try:
            data, address = port.receive()
        except OSError:  # Nothing there after all, or an error of the network that the next packet outlives.
            return
        try:
            if port is not leg.ports.rtp:
                leg.control(data, address, now)
            elif not leg.inbound.usual(data, address, now):
                leg.receive(data, address, now, self._edges)
        except Exception as error:  # a bug: this call pays for it
            self._close(leg, now, error)

    def _tick(self, group: int, now: float) -> None:
        """Send the frames of one group that are due; after a stall the oldest are left out."""
        due = int((now + _GRAIN_S - self._group_at[group]) / _FRAME_S) + 1
        late = max(due - limits.CATCH_UP_FRAMES, 0)
        self._group_at[group] += due * _FRAME_S
        edges, randbits = self._edges, self._randbits
        for leg in list(self._groups[group].values()):
            self.meter.skipped_frames += late
            try:
                leg.tick(late, now, edges, randbits)
                for _ in range(due - late - 1):
                    leg.tick(0, now, edges, randbits)
            except Exception as error:  # a bug: this call pays for it
                self._close(leg, now, error)


def _empty(port: DatagramPort) -> None:
    for _ in range(limits.FLUSHED_PACKETS):
        try:
            port.receive()
        except OSError:
            return
