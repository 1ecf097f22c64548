"""A SIP telephone in this process, on the same agent and the same audio plane as the server.

::

    async with Phone() as phone:
        call = await phone.dial("sip:agent@127.0.0.1:5060")
        await call.answered()
        await call.say(samples)
        await call.hears_sound()
        await call.hang_up()
        print(call.conversation().turns)
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal, Self

from offhook.audio.level import levels_dbfs
from offhook.audio.pcm import Samples
from offhook.call.tokens import SEED_BYTES, TokenStream
from offhook.errors import ConfigError, LocalError, OffhookError, RemoteError
from offhook.host.surroundings import THIS_MACHINE, Surroundings
from offhook.media import edge as happened
from offhook.media.agreement import agreed
from offhook.media.command import LegOptions
from offhook.media.plane import MediaPlane
from offhook.media.ports import PortPair, PortSource
from offhook.media.recorder import Recorder
from offhook.media.stats import LegStats
from offhook.net.sip import SipTransport, SipTransportOptions
from offhook.sip import output as sip
from offhook.sip import sdp
from offhook.sip.agent import UserAgent
from offhook.sip.leg import Leg
from offhook.sip.options import AgentOptions
from offhook.sip.uri import SipUri, literal_address, parse_uri
from offhook.testing.hearing import SPEECH_DBFS, Conversation, understand

RATE_HZ: Final = 8000
# Apart from the server's default range, so that both fit on one machine.
PORTS: Final = (30000, 39998)
_LOOK_S: Final = 0.02


class CallFailedError(RemoteError):
    """The call was refused or broke off; ``status`` is the SIP status, None without one."""

    def __init__(self, status: int | None, reason: str) -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.reason = reason


def has_sound(samples: Samples) -> bool:
    """Say whether there is sound in any 10 ms. What is too much for whole steps is left out at the beginning.

    The newest sound is in the last step however long the look back is: else a call that is younger than that look
    passes for silent in the moment in which it is first heard.
    """
    samples = samples[len(samples) % (RATE_HZ // 100) :]
    return bool(len(samples) and (levels_dbfs(samples) > SPEECH_DBFS).any())


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: ``by`` is who ended it, ``status`` a refusal's SIP status."""

    by: Literal["us", "them", "nobody"]
    status: int | None
    reason: str


class PhoneCall:
    """One call of a phone. Times (``..._at``) are seconds on the clock of its phone."""

    def __init__(self, phone: Phone, number: int, host: str, pair: PortPair, codecs: Sequence[sdp.Codec]) -> None:
        self.recorder = Recorder()
        self.dialled_at = phone.clock()
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.opened_at: float | None = None
        self.end: Ended | None = None
        self.keys_heard = ""
        self.keys_sent = ""
        self.said_ms: dict[int, tuple[int, int]] = {}
        """When each run of `begin_saying` began and ended, in milliseconds of the recording."""
        self.stats: LegStats | None = None
        self.on_hold = False
        self._phone = phone
        self._id = f"call-{number}"
        self._pair = pair
        self._local = sdp.LocalMedia((host, pair.port), rtcp_port=pair.port + 1, codecs=tuple(codecs))
        self._leg: Leg | None = None
        self._run = 0
        self._playing: dict[int, asyncio.Event] = {}
        self._answered = asyncio.Event()
        self._over = asyncio.Event()
        self._keys_asked = ""
        self.agreed = 0
        """How often both sides have agreed on media after the answer: holds, resumptions."""
        self._silent = asyncio.Event()
        self._released = asyncio.Event()

    # -- the call

    async def answered(self, timeout_s: float = 60.0) -> None:
        """Wait for the answer. Raises CallFailedError when there is none."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._answered.wait()
        except TimeoutError:
            raise CallFailedError(None, f"no answer within {timeout_s:g} s") from None
        if self.answered_at is None:
            end = self.end or Ended("nobody", None, "no answer")
            raise CallFailedError(end.status, end.reason)

    async def ended(self, timeout_s: float = 60.0) -> Ended:
        """Wait for the end of the call. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            await self._over.wait()
        assert self.end is not None
        return self.end

    async def hang_up(self) -> Ended:
        """End the call: CANCEL while it rings, BYE when it stands."""
        leg = self._leg
        if leg is not None and self.end is None:
            self._phone.perform(self._phone.agent.hang_up(leg, self._phone.clock()))
        return await self.ended()

    async def hold(self) -> None:
        """Put the agent on hold: nothing is sent or wanted until ``resume``."""
        await self._redirect("sendonly")

    async def resume(self) -> None:
        """Come back from hold."""
        await self._redirect("sendrecv")

    async def _redirect(self, direction: sdp.Direction) -> None:
        leg = self._leg
        if leg is None or self.end is not None:
            raise LocalError("the call does not stand")
        local = self._local
        self._local = sdp.LocalMedia(
            local.address,
            rtcp_port=local.rtcp_port,
            codecs=local.codecs,
            session_id=local.session_id,
            version=local.version,
            last=local.last,
            direction=direction,
        )
        self.on_hold = direction != "sendrecv"
        offer = sdp.make_offer(self._local)
        self._local = self._local.after(offer)
        self._phone.perform(self._phone.agent.reinvite(leg, offer, self._phone.clock()))

    # -- speaking

    async def say(self, samples: Samples, rate_hz: int = RATE_HZ) -> None:
        """Say something, and wait until it has gone out."""
        run = self.begin_saying(samples, rate_hz)
        await self._playing[run].wait()

    def begin_saying(self, samples: Samples, rate_hz: int = RATE_HZ) -> int:
        """Begin to say something, and go on at once."""
        if self.answered_at is None or self.end is not None:
            raise LocalError("the call does not stand")
        self._run += 1
        self._playing[self._run] = asyncio.Event()
        self._phone.plane.play(self._id, self._run, samples, rate_hz)
        self._phone.plane.finish_run(self._id, self._run)
        return self._run

    async def said(self, run: int) -> None:
        """Wait until a run of `begin_saying` has gone out, or the call is over."""
        await self._playing[run].wait()

    def press(self, keys: str, duration_ms: int = 100) -> None:
        """Begin to press keys (RFC 4733), and go on at once. Raises LocalError for keys that a telephone has not."""
        self._phone.plane.send_dtmf(self._id, keys, duration_ms)
        self._keys_asked += keys

    async def pressed(self, within_s: float = 60.0) -> None:
        """Wait until all keys have gone out. Raises CallFailedError when they do not, or the call ends."""
        await self._until(lambda: len(self.keys_sent) >= len(self._keys_asked), within_s, "the keys were not pressed")

    # -- listening

    @property
    def heard(self) -> Samples:
        """What was heard so far, from the answer on."""
        return self.recorder.heard_from(0)

    @property
    def recording(self) -> Samples:
        """Both sides as ``(n, 2)`` samples at 8 kHz: left heard, right said."""
        return self.recorder.stereo()

    def conversation(self) -> Conversation:
        """Return who spoke when, and how fast."""
        return understand(self.recorder.stereo())

    def is_hearing(self, last_ms: int = 60) -> bool:
        """Whether there was sound in the last milliseconds."""
        tail = self.recorder.heard_from(self.recorder.heard_samples - last_ms * RATE_HZ // 1000)
        return has_sound(tail)

    async def hears_sound(self, within_s: float = 10.0) -> None:
        """Wait until the other side is heard. Raises CallFailedError when it is not, or the call ends."""
        await self._until(self.is_hearing, within_s, "nothing was heard")

    async def hears_silence(self, for_ms: int = 500, within_s: float = 30.0) -> None:
        """Wait until the other side was silent for so long."""
        await self._until(lambda: not self.is_hearing(for_ms), within_s, "it was never silent")

    async def _until(self, condition: Callable[[], bool], within_s: float, otherwise: str) -> None:
        deadline = self._phone.clock() + within_s
        while not condition():
            if self.end is not None:
                raise CallFailedError(self.end.status, f"the call ended: {self.end.reason}")
            if self._phone.clock() > deadline:
                raise CallFailedError(None, f"{otherwise} within {within_s:g} s")
            await asyncio.sleep(_LOOK_S)

    # -- from the agent and the audio plane

    def take(self, output: sip.Output) -> None:
        """Take what the SIP agent tells of this call."""
        match output:
            case sip.Progressed(status=status):
                if status >= 180 and self.ringing_at is None:
                    self.ringing_at = self._phone.clock()
            case sip.Answered(body=body):
                self._stand(body)
            case sip.Refused(status=status, reason=reason, response=response):
                self._finish(Ended("nobody" if response is None else "them", status, reason))
            case sip.HungUp(reason=why):
                self._finish(Ended("them", None, why or "the other side hung up"))
            case sip.LegLost(cause=cause):
                self._finish(Ended("nobody", None, cause))
            case sip.Released(status=outcome):
                self._finish(Ended("us", outcome, "we hung up"))
            case sip.Reoffered(leg=leg, body=body):
                self._reoffered(leg, body)
            case sip.Reanswered(body=body) if body is not None:
                self._agree(body)
            case _:
                pass
        if isinstance(output, sip.Refused | sip.HungUp | sip.LegLost | sip.Released):
            self._released.set()
            self._phone.forget(self)

    def begin(self, leg: Leg) -> None:
        """The INVITE is on its way."""
        self._leg = leg

    def offer(self) -> bytes:
        """Return our session description."""
        offer = sdp.make_offer(self._local)
        self._local = self._local.after(offer)
        return offer

    def _stand(self, body: bytes | None) -> None:
        options = LegOptions(recorder=self.recorder, media_timeout_s=None, cname="offhook-phone")
        try:
            negotiated = sdp.read_answer(self._local, body or b"")
            self._phone.plane.open_leg(self._id, self._pair, agreed(negotiated), options)
        except OffhookError as failure:
            self._give_up(f"the answer cannot be used: {failure}")
            return
        self.answered_at = self._phone.clock()
        self._answered.set()

    def _agree(self, body: bytes) -> None:
        try:
            self._phone.plane.update_leg(self._id, agreed(sdp.read_answer(self._local, body)))
            self.agreed += 1
        except OffhookError as failure:
            self._give_up(f"the answer cannot be used: {failure}")

    def _reoffered(self, leg: Leg, body: bytes | None) -> None:
        agent, now = self._phone.agent, self._phone.clock()
        if body is None:
            self._phone.perform(agent.answer_offer(leg, self.offer(), now))
            return
        try:
            negotiated = sdp.negotiate(body, self._local)
        except RemoteError:
            self._phone.perform(agent.answer_offer(leg, None, now, 488))
            return
        self._local = self._local.after(negotiated.answer)
        self._phone.plane.update_leg(self._id, agreed(negotiated))
        self._phone.perform(agent.answer_offer(leg, negotiated.answer, now))

    def edge(self, edge: happened.Edge) -> None:
        """Take what the audio plane tells of this call."""
        match edge:
            case happened.LegOpened(opened_at=opened_at):
                self.opened_at = opened_at
            case happened.PlayoutStarted(run=run, at_ms=at_ms):
                self.said_ms[run] = (at_ms, at_ms)
            case happened.PlayoutFinished(run=run, at_ms=at_ms) | happened.PlayoutStopped(run=run, at_ms=at_ms):
                self.said_ms[run] = (self.said_ms.get(run, (at_ms, at_ms))[0], at_ms)
                self._playing[run].set()
            case happened.DtmfReceived(digit=digit):
                self.keys_heard += digit
            case happened.DtmfSent(digits=digits):
                self.keys_sent += digits
            case happened.LegClosed(stats=stats):
                self.stats = stats
                self._silent.set()
            case happened.MediaFailed(reason=reason):
                self._silent.set()
                self._give_up(f"the audio failed: {reason}")
            case _:
                pass

    def _give_up(self, why: str) -> None:
        """End a call that is no use to us: it is over here at once, and over there with the BYE (RFC 3261 13.2.2.4)."""
        self._finish(Ended("us", None, why))
        if self._leg is not None:
            self._phone.perform(self._phone.agent.hang_up(self._leg, self._phone.clock()))

    def _finish(self, end: Ended) -> None:
        if self.end is not None:
            return
        self.end = end
        if self.answered_at is None:
            self._pair.close(self._phone.clock())
            self._silent.set()
        else:
            self._phone.plane.close_leg(self._id)
        for playing in self._playing.values():
            playing.set()
        self._answered.set()
        self._over.set()

    async def released(self) -> None:
        """Wait until the SIP side is over too, the answer to a BYE of ours included."""
        await self._released.wait()

    async def settled(self) -> None:
        """Wait until the audio plane has let go of the call; then ``stats`` are final."""
        await self._silent.wait()

    @property
    def name(self) -> str:
        """What the audio plane calls this call."""
        return self._id

    @property
    def sip_call_id(self) -> str:
        """The Call-ID of the call; empty before it is dialled."""
        return self._leg.call_id if self._leg is not None else ""

    @property
    def leg_id(self) -> str | None:
        """What the SIP agent calls this call."""
        return self._leg.id if self._leg is not None else None


@dataclass(frozen=True, slots=True)
class _Access:
    """Where a telephone is plugged in: its SIP socket, and its ports for sound."""

    transport: SipTransport
    ports: PortSource


class Phone:
    """A telephone that can make any number of calls. An asynchronous context manager.

    ``host`` is the address to call from; without one it becomes the address that leads to the first target.
    """

    def __init__(
        self, *, host: str | None = None, ports: tuple[int, int] = PORTS, around: Surroundings = THIS_MACHINE
    ) -> None:
        self.host = host
        self.clock = around.clock
        self.watch: Callable[[bytes, bool], None] | None = None
        """Shown every SIP message, and whether it came in; set it before the first call."""
        self.agent = UserAgent(AgentOptions(product="offhook phone"), TokenStream(around.chance(SEED_BYTES)))
        self.plane = MediaPlane(self._deliver, detector=None, pollers=around.pollers, randbits=around.randbits)
        self._around = around
        self._media = around.drive(self.plane)
        self._port_range = ports
        self._routes = around.routes()
        self._plugging_in = asyncio.Lock()
        self._access: _Access | None = None
        self._calls: dict[str, PhoneCall] = {}
        self._legs: dict[str, PhoneCall] = {}
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        """Raises LocalError when nothing can be called from ``host``."""
        self._loop = asyncio.get_running_loop()
        if self.host is not None:
            await self._plug_in(self.host)
        self._media.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for call in list(self._legs.values()):
                await call.hang_up()
                await call.released()
            for call in list(self._calls.values()):
                await call.settled()
        finally:
            try:
                if self._access is not None:
                    await self._access.transport.close()
            finally:
                self._media.stop()

    async def dial(
        self,
        target: str,
        *,
        caller: str = "sip:offhook@127.0.0.1",
        headers: Sequence[tuple[str, str]] = (),
        transport: Literal["UDP", "TCP"] = "UDP",
        codecs: Sequence[sdp.Codec] = ("PCMU", "PCMA"),
    ) -> PhoneCall:
        """Call a SIP address and return at once; ``PhoneCall.answered`` waits.

        Raises LocalError for an address that is none, or that cannot be reached from here.
        """
        access, remote = await self._reach(target)
        flow = access.transport.flow_to(remote, transport)
        self._count += 1
        pair = access.ports.open(self.clock())
        try:
            call = PhoneCall(self, self._count, flow.local[0], pair, codecs)
            leg, outputs = self.agent.invite(
                target, flow, call.offer(), self.clock(), from_=f"<{caller}>", headers=headers
            )
        except OffhookError:
            pair.close(self.clock())
            raise
        call.begin(leg)
        self._calls[call.name] = self._legs[leg.id] = call
        access.transport.perform(outputs)
        return call

    async def _reach(self, target: str) -> tuple[_Access, tuple[str, int]]:
        """Return the address of a target, and what it is called from."""
        hosts, port = await _addresses(target)
        async with self._plugging_in:
            if self._access is None:
                local = next(filter(None, map(self._routes.local_host, hosts)), None)
                if local is None:
                    raise LocalError(f"no way leads from this machine to {target}")
                await self._plug_in(local)
        access, here = self._access, self.host or ""
        remote = next((host for host in hosts if self._leads_to(here, host)), None)
        if remote is None or access is None:
            raise LocalError(f"{target} cannot be reached from {here}")
        return access, (remote, port)

    def _leads_to(self, here: str, remote: str) -> bool:
        """Whether packets get from an address of ours to another: from loopback, none leave this machine."""
        local = self._routes.local_host(remote)
        if local is None or (":" in here) is not (":" in remote):
            return False
        return not _is_loopback(here) or _is_loopback(local) or local == remote

    async def _plug_in(self, host: str) -> None:
        options = SipTransportOptions(host, 0)
        transport = self._around.sip(self.agent, options, self._take, clock=self.clock, watch=self.watch)
        try:
            await transport.start()
        except ConfigError as failure:
            await transport.close()
            raise LocalError(f"cannot call from {host}: {failure.message}") from None
        self.host = transport.address[0]
        self._access = _Access(transport, self._around.ports(self.host, *self._port_range))

    def perform(self, outputs: Sequence[sip.Output]) -> None:
        """Do what the agent returned."""
        if self._access is not None:
            self._access.transport.perform(outputs)

    def forget(self, call: PhoneCall) -> None:
        """The call is over on the SIP side."""
        if call.leg_id is not None:
            self._legs.pop(call.leg_id, None)

    def _take(self, output: sip.Output) -> None:
        leg = getattr(output, "leg", None)
        call = self._legs.get(leg.id) if leg is not None else None
        if call is not None:
            call.take(output)
        elif isinstance(output, sip.Invited):
            # This telephone only calls.
            self.perform(self.agent.reject(output.leg, 486, self.clock()))

    def _deliver(self, edges: list[happened.Edge]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, edges)

    def _tell(self, edges: list[happened.Edge]) -> None:
        for edge in edges:
            call = self._calls.get(edge.leg)
            if call is not None:
                call.edge(edge)
                if isinstance(edge, happened.LegClosed):
                    del self._calls[edge.leg]


async def _addresses(target: str) -> tuple[list[str], int]:
    """Return the literal addresses of a sip: URI, the best first, and its port. Raises LocalError."""
    try:
        uri = parse_uri(target)
    except RemoteError:
        uri = None
    if not isinstance(uri, SipUri) or uri.scheme != "sip":
        raise LocalError(f"{target} is not a sip: address")
    port = uri.port or 5060
    if literal_address(uri.host) is not None:
        return [uri.host.strip("[]")], port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(uri.host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as failure:
        why = failure.strerror if isinstance(failure, OSError) else "it is no name of a host"
        raise LocalError(f"{uri.host}: {why}") from None
    return [str(address[0]) for *_, address in found], port


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback
