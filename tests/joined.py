"""The conversation engine and the audio plane, joined as a server joins them, on a clock that jumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from offhook.audio.g711 import Codec
from offhook.audio.pcm import Samples, silence
from offhook.host.line import PAUSE_MS, LineOptions, turn_options
from offhook.media import edge as told
from offhook.media.command import LegOptions
from offhook.media.vad import VoiceDetector
from offhook.rtp.packet import signed_32
from offhook.session import inputs as happened
from offhook.session import outputs as do
from offhook.wire.items import Message
from tests.core.talk import Talk
from tests.media_world import World
from tests.memory_network import Weather

LEG = "leg"
STEP_MS = 5
WARM_UP_MS = 100


@dataclass(frozen=True)
class Understood:
    """What a recogniser made of a turn, how sure it is of the end, and how long it took."""

    text: str | None
    sure: float | None = None
    needed_s: float = 0.0


class Joined:
    """One call: ``talk`` is its conversation, ``phone`` the caller's side."""

    def __init__(
        self,
        *,
        seed: int = 1,
        codec: Codec = Codec.PCMU,
        weather: Weather | None = None,
        detector: VoiceDetector | None = None,
        hear: Callable[[Samples], Understood] | None = None,
        judge: Callable[[Samples], float] | None = None,
        **session: Any,
    ) -> None:
        """``hear`` is a recogniser; ``judge`` returns how probable it is that a turn is over by its sound."""
        self._hear = hear
        self._judge = judge
        self._guess: tuple[float, happened.PauseHeard] | None = None
        self.world = World(seed=seed, detector=detector)
        self.talk = Talk(**session)
        codecs = ((codec.value, codec),)
        self.phone, _ = self.world.call(LEG, LegOptions(), weather=weather, codecs=codecs)
        self._edges = self._outputs = 0
        self.run(WARM_UP_MS)

    def run(self, ms: int) -> None:
        """Let time pass on both sides."""
        for _ in range(ms // STEP_MS):
            self.world.run(STEP_MS)
            self.talk.waits(STEP_MS / 1000)
            if self._guess is not None and self._guess[0] <= self.talk.now:
                (_, guess), self._guess = self._guess, None
                self.talk.happens(guess)
            self.pump()

    def pump(self) -> None:
        """Let each side know what the other did."""
        edges = self.world.edges[self._edges :]
        self._edges += len(edges)
        for edge in edges:
            self._tell(edge)
        outputs = self.talk.done[self._outputs :]
        self._outputs += len(outputs)
        plane = self.world.plane
        for output in outputs:
            match output:
                case do.Play(run=run, pcm=pcm, rate_hz=rate_hz):
                    plane.play(LEG, run, pcm, rate_hz)
                case do.FinishPlayout(run=run):
                    plane.finish_run(LEG, run)
                case do.StopPlayout():
                    plane.stop_playout(LEG)
                case do.ConfigureTurns(turn_detection=detection) if self._hear is not None:
                    plane.configure_turns(LEG, turn_options(detection, LineOptions(pause_ms=PAUSE_MS)))
                case do.HearEarly() if self._hear is not None:
                    sound = plane.input_audio(LEG, output.start_ms, output.end_ms)
                    heard = self._hear(sound)
                    over = None if self._judge is None else self._judge(sound)
                    guess = happened.PauseHeard(output.item_id, heard.text, sure=heard.sure, over=over)
                    self._guess = (self.talk.now + heard.needed_s, guess)
                case do.DropEarly():
                    self._guess = None
                case do.EndTurn():
                    plane.end_turn(LEG)
                case do.Duck(ducked=ducked):
                    plane.duck(LEG, ducked=ducked)
                case _:
                    pass

    def _tell(self, edge: told.Edge) -> None:
        match edge:
            case told.SpeechStarted(at_ms=at_ms):
                self.talk.happens(happened.VoiceStarted(at_ms))
            case told.SpeechPaused(at_ms=end_ms, decided_ms=decided_ms):
                self.talk.happens(happened.VoicePaused(end_ms, decided_ms))
            case told.SpeechResumed():
                self.talk.happens(happened.VoiceResumed())
            case told.SpeechStopped(at_ms=end_ms, decided_ms=decided_ms):
                self.talk.happens(happened.VoiceStopped(end_ms, decided_ms))
            case told.PlayoutStarted(run=run):
                self.talk.happens(happened.PlayoutStarted(run))
            case told.Played(run=run, played_ms=played_ms):
                self.talk.happens(happened.PlayoutAdvanced(run, played_ms))
            case told.PlayoutFinished(run=run, played_ms=played_ms):
                self.talk.happens(happened.PlayoutFinished(run, played_ms))
            case told.PlayoutStopped(run=run, played_ms=played_ms):
                self.talk.happens(happened.PlayoutStopped(run, played_ms))
            case _:
                pass

    def answer(self, pieces: list[tuple[bytes, int, str]]) -> None:
        """The model answers in pieces of sound (16-bit samples, their rate) that each speak some words."""
        self.talk.says()
        run = self.talk.generate().run
        self.talk.happens(happened.TextProduced(run, "".join(text for _, _, text in pieces)))
        for pcm, rate_hz, text in pieces:
            self.talk.happens(happened.AudioProduced(run, pcm, rate_hz, len(pcm) / 2 * 1000 / rate_hz, text))
        self.talk.happens(happened.GenerationFinished(run))
        self.pump()

    def interrupt(self) -> tuple[str, int]:
        """The caller speaks: return what the conversation keeps of the answer, and where it says that it was cut."""
        self.talk.happens(happened.VoiceStarted(self.talk.input_ms))
        self.pump()
        self.run(300)
        (truncated,) = [event for event in self.talk.sent if event["type"] == "conversation.item.truncated"]
        item = self.talk.engine.conversation.get(truncated["item_id"])
        assert isinstance(item, Message)
        kept = "".join(getattr(part, "transcript", None) or "" for part in item.content)
        return kept, truncated["audio_end_ms"]

    @property
    def heard(self) -> Samples:
        """What the caller got of the answer: from the first packet of its talkspurt to the last that is not silence."""
        packets = [packet for packet in self.phone.packets if packet.payload_type in {0, 8}]
        spoken = [packet for packet in packets if len(set(packet.payload)) > 1]
        if not spoken:
            return silence(0)
        start = signed_32(spoken[0].timestamp - packets[0].timestamp)
        end = signed_32(spoken[-1].timestamp - packets[0].timestamp) + len(spoken[-1].payload)
        return self.phone.line[start:end]
