"""The sound of one call: its ports, its session description, its leg of the audio plane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from offhook.audio.pcm import Samples, to_bytes
from offhook.audio.turn import TurnOptions
from offhook.call.machine import MediaLost
from offhook.errors import LocalError, OffhookError, RemoteError
from offhook.host.answer import AnswerEcho
from offhook.media import edge as happened
from offhook.media import limits
from offhook.media.agreement import agreed
from offhook.media.command import LegOptions, Negotiated
from offhook.media.limits import JITTER_MS
from offhook.media.noise import INSTALL, LEVELS, Processors
from offhook.media.plane import MediaPlane
from offhook.media.ports import PortPair, PortSource
from offhook.session import inputs as talk
from offhook.session.semantic import patience_of
from offhook.sip import sdp
from offhook.telemetry.log import FactLog
from offhook.wire.session import NoiseReduction, PcmaFormat, PcmuFormat, SemanticVad, ServerVad, TurnDetection

if TYPE_CHECKING:
    from offhook.host.owner import CallOwner

PAUSE_MS: Final = 160
"""Longer than the gaps inside words; the rest of the usual 500 ms is enough to transcribe a turn in."""

SEMANTIC_PAUSE_MS: Final = 60
"""Under semantic_vad the words decide, so they are wanted before the shortest silence that can end a turn."""


# Who speaks into the telephone is understood best at three quarters of the strength (bench/words.py); all of it is for
# who speaks to it from afar.
_NOISE_LEVELS: Final = {"near_field": LEVELS * 3 // 4, "far_field": LEVELS}


class LineError(OffhookError):
    """There is no sound to be had for a call; ``status`` is the SIP status that says so."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class LineOptions:
    """``onset_ms``: how much speech begins a turn. ``jitter_ms``: how deep the jitter buffer starts, 0 for none.

    ``pause_ms``: so much silence in a turn is told, 0 for never.
    """

    onset_ms: int = 60
    pause_ms: int = 0
    jitter_ms: int = JITTER_MS
    media_timeout_s: float | None = 30.0


class Line:
    """One call's sound. Made by ``Lines.open``; ``description`` is what the 200 OK carries."""

    def __init__(self, owner: CallOwner, lines: Lines, pair: PortPair, host: str) -> None:
        self.echoes = isinstance(lines.answer, AnswerEcho)
        self.held = False
        self._leg = owner.call.id
        self._lines = lines
        self._log = owner.log
        self._media = lines.media
        self._local = sdp.LocalMedia((host, pair.port), rtcp_port=pair.port + 1, session_id=lines.opened)
        offer = owner.invitation.offer
        if offer is None:
            self.description = sdp.make_offer(self._local)
            self.codec: sdp.Codec = "PCMU"
            settled = Negotiated(remote=None)
        else:
            negotiated = sdp.answer_offer(offer, self._local)
            self.description = negotiated.answer
            self.codec = negotiated.codec
            self.held = negotiated.held
            settled = agreed(negotiated)
        self._local = self._local.after(self.description)
        options = LegOptions(
            turns=None,
            echo=self.echoes,
            jitter_ms=0 if self.echoes else lines.options.jitter_ms,
            media_timeout_s=lines.options.media_timeout_s,
        )
        self._audio = self._media.open_leg(self._leg, pair, settled, options)

    @property
    def audio_format(self) -> PcmuFormat | PcmaFormat:
        """The negotiated codec as the API calls it."""
        return PcmuFormat() if self.codec == "PCMU" else PcmaFormat()

    # -- changes of the session

    def confirm(self, answer: bytes) -> None:
        """Take the caller's answer to the offer that a 200 OK of ours carried. Raises LineError."""
        try:
            negotiated = sdp.read_answer(self._local, answer)
        except RemoteError as failure:
            raise LineError(488, str(failure)) from None
        self._apply(negotiated)

    def reoffer(self, offer: bytes | None) -> bytes:
        """Take a new offer and return the answer; None asks for ours. Raises LineError 488; nothing changes then."""
        if offer is None:
            ours = sdp.make_offer(self._local)
            self._local = self._local.after(ours)
            return ours
        try:
            negotiated = sdp.negotiate(offer, self._local)
        except RemoteError as failure:
            raise LineError(488, str(failure)) from None
        self._local = self._local.after(negotiated.answer)
        self._apply(negotiated)
        return negotiated.answer

    def _apply(self, negotiated: sdp.Negotiated) -> None:
        self.codec = negotiated.codec
        self.held = negotiated.held
        self._media.update_leg(self._leg, agreed(negotiated))

    # -- sound

    def play(self, run: int, pcm: bytes, rate_hz: int) -> None:
        """Queue speech of the agent: 16-bit mono samples."""
        self._media.play(self._leg, run, pcm, rate_hz)

    def finish(self, run: int) -> None:
        """No more of this run will come."""
        self._media.finish_run(self._leg, run)

    def stop_playout(self) -> None:
        """Drop what is queued."""
        self._media.stop_playout(self._leg)

    def fill(self, number: int, samples: Samples, *, loops: bool = False, whole: bool = False) -> None:
        """Let the caller hear this at 8 kHz until something is said; ``whole``: to its end in any case."""
        self._media.fill(self._leg, number, samples, loops=loops, whole=whole)

    def stop_filling(self) -> None:
        """End that."""
        self._media.stop_filling(self._leg)

    def configure_turns(self, detection: TurnDetection | None) -> None:
        """Detect the caller's turns in this way."""
        self._media.configure_turns(self._leg, turn_options(detection, self._lines.options))

    def end_turn(self) -> None:
        """End the caller's turn in its pause, if that lasts still."""
        self._media.end_turn(self._leg)

    def duck(self, *, ducked: bool) -> None:
        """Let the agent be softer, or as loud as before."""
        self._media.duck(self._leg, ducked=ducked)

    def reduce_noise(self, wanted: NoiseReduction | None) -> None:
        """Clean what the caller says in this way; where that is not installed, say so and go on without."""
        level, make = noise_level(wanted), self._lines.noise
        if level and make is None:
            self._log.warning("noise reduction is not installed, and left out", mend=INSTALL)
        self._media.reduce_noise(self._leg, make(level) if level and make is not None else None)

    @property
    def input_ms(self) -> int:
        """How much the caller was heard so far, in milliseconds."""
        return self._audio.end_ms

    def input_audio(self, start_ms: int, end_ms: int) -> tuple[bytes, int]:
        """Return what the caller said between two positions: 16-bit mono samples, and their rate in Hz."""
        return to_bytes(self._audio.read(start_ms, end_ms)), limits.RATE_HZ

    def release(self, before_ms: int) -> None:
        """Nothing: the audio plane keeps two minutes at most, as G.711."""

    def retrieved_audio(self, start_ms: int, end_ms: int) -> bytes:
        """Return the same as an item shows it."""
        return self.input_audio(start_ms, end_ms)[0]

    def close(self) -> None:
        """Let go of the ports."""
        self._media.close_leg(self._leg)


def noise_level(wanted: NoiseReduction | None) -> int:
    """Return how strongly to clean, from 0 for not at all to `LEVELS`."""
    if wanted is None:
        return 0
    strength = 1.0 if wanted.strength is UNSET else wanted.strength
    return round(min(_NOISE_LEVELS[wanted.type] * strength, LEVELS))


def turn_options(detection: TurnDetection | None, line: LineOptions) -> TurnOptions | None:
    """Return how the audio plane detects turns; None is not at all."""
    match detection:
        case None:
            return None
        case ServerVad():
            silence_ms = 500 if detection.silence_duration_ms is UNSET else detection.silence_duration_ms
            return TurnOptions(
                threshold=0.5 if detection.threshold is UNSET else detection.threshold,
                silence_duration_ms=silence_ms,
                prefix_padding_ms=300 if detection.prefix_padding_ms is UNSET else detection.prefix_padding_ms,
                onset_ms=line.onset_ms,
                # What is begun in a pause needs most of the silence after it.
                pause_ms=min(line.pause_ms, silence_ms * 2 // 5),
            )
        case SemanticVad():
            patience = patience_of(detection)
            if not line.pause_ms:
                return TurnOptions(silence_duration_ms=patience.unheard_ms, onset_ms=line.onset_ms)
            # The conversation ends the turn, in one of its pauses.
            return TurnOptions(silence_duration_ms=patience.most_ms, onset_ms=line.onset_ms, pause_ms=SEMANTIC_PAUSE_MS)


@dataclass(slots=True)
class Lines:
    """All lines: where ports come from, and whose edges are whose."""

    media: MediaPlane
    ports: PortSource
    answer: object
    options: LineOptions
    clock: Callable[[], float]
    wall_s: Callable[[], float]
    log: FactLog
    noise: Processors | None = None
    """What takes noise out of the lines, where it is installed."""
    opened: int = 0
    """How many lines there were; also the number that each one's session description carries in o=."""
    _owners: dict[str, CallOwner] = field(default_factory=dict)

    def room(self) -> int:
        """Return how many more lines can be opened now."""
        return min(self.ports.room(self.clock()), limits.LEGS - self.ports.in_use)

    def open(self, owner: CallOwner) -> Line:
        """Open the line of a call that is being answered. Raises LineError with the SIP status to refuse with."""
        try:
            pair = self.ports.open(self.clock())
        except LocalError as failure:
            raise LineError(503, str(failure)) from None
        dialog = owner.invitation.leg.dialog
        host = dialog.flow.local[0] if dialog is not None else "127.0.0.1"
        self.opened += 1
        try:
            line = Line(owner, self, pair, host)
        except RemoteError as failure:
            pair.close(self.clock())
            raise LineError(488, str(failure)) from None
        self._owners[owner.call.id] = owner
        return line

    def take(self, edges: list[happened.Edge]) -> None:
        """Take what the audio plane tells, in the event loop."""
        for edge in edges:
            owner = self._owners.get(edge.leg)
            if owner is not None:
                self._tell(owner, edge)
            if isinstance(edge, happened.LegClosed | happened.MediaFailed):
                self._owners.pop(edge.leg, None)

    def _tell(self, owner: CallOwner, edge: happened.Edge) -> None:
        match edge:
            case happened.Played(run=run, played_ms=played_ms):
                owner.take(talk.PlayoutAdvanced(run, played_ms))
            case happened.SpeechStarted(at_ms=at_ms):
                owner.take(talk.VoiceStarted(at_ms))
            case happened.SpeechPaused(at_ms=end_ms, decided_ms=decided_ms):
                owner.take(talk.VoicePaused(end_ms, decided_ms))
            case happened.SpeechResumed():
                owner.take(talk.VoiceResumed())
            case happened.SpeechStopped(at_ms=end_ms, decided_ms=decided_ms):
                owner.take(talk.VoiceStopped(end_ms, decided_ms))
            case happened.PlayoutStarted(run=run):
                owner.take(talk.PlayoutStarted(run))
            case happened.PlayoutFinished(run=run, played_ms=played_ms):
                owner.take(talk.PlayoutFinished(run, played_ms))
            case happened.PlayoutStopped(run=run, played_ms=played_ms):
                owner.take(talk.PlayoutStopped(run, played_ms))
            case happened.FillerEnded(number=number, played_ms=played_ms):
                owner.take(talk.FillerEnded(number, played_ms))
            case happened.DtmfReceived(digit=digit):
                owner.take(talk.DigitPressed(digit, int(self.wall_s())))
            case _:
                self._note(owner, edge)

    def _note(self, owner: CallOwner, edge: happened.Edge) -> None:
        """Take what is no business of the conversation."""
        match edge:
            case happened.MediaTimedOut(after_s=after_s):
                owner.take(MediaLost(after_s))
            case happened.MediaStarted():
                owner.log.debug("first audio from the caller", at_ms=edge.at_ms)
            case happened.PlayoutOverflowed(run=run, dropped_ms=dropped_ms):
                owner.log.warning("playout queue full", run=run, dropped_ms=dropped_ms)
            case happened.MediaFailed(reason=reason):
                owner.log.error("audio failed", reason=reason)
                owner.take(MediaLost(0.0))
            case happened.LegClosed(stats=stats):
                owner.log.debug("audio ended", received=stats.received, lost=stats.lost, sent=stats.sent)
            case _:
                pass
