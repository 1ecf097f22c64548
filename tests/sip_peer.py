"""A hand-driven SIP peer for tests: writes requests byte by byte, reads what the agent sends, and moves the clock."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from offhook.sip.agent import UserAgent
from offhook.sip.flow import Flow
from offhook.sip.leg import Leg
from offhook.sip.message import Request, Response, parse_message
from offhook.sip.options import AgentOptions
from offhook.sip.output import Invited, Output, Transmit

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
PEER = ("192.0.2.10", 5060)
LOCAL = ("192.0.2.1", 5060)
UDP = Flow("UDP", PEER, LOCAL)
TCP = Flow("TCP", ("192.0.2.10", 40000), LOCAL, 7)

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
OUR_SDP = b"v=0\r\no=- 2 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"


def new_agent(seed: int = 1, **options: object) -> UserAgent:
    """An agent whose ids come from a seed, and whom every test address may call as often as it likes."""
    rng = random.Random(seed)
    settings = AgentOptions(**options)  # type: ignore[arg-type]
    return UserAgent(settings, lambda n: "".join(rng.choices(ALPHABET, k=n)))


def headers_of(message: Request | Response, *names: str) -> list[str | None]:
    return [message.get(name) for name in names]


@dataclass
class Bench:
    """An agent on the bench: ``sent`` holds what it transmitted, read; ``events`` everything else."""

    agent: UserAgent = field(default_factory=new_agent)
    flow: Flow = UDP
    now: float = 0.0
    sent: list[Request | Response] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    events: list[Output] = field(default_factory=list)

    def take(self, outputs: Sequence[Output]) -> list[Output]:
        """Sort what the agent returned; gives back all that is not a transmission."""
        told = [output for output in outputs if not isinstance(output, Transmit)]
        for output in outputs:
            if isinstance(output, Transmit):
                self.sent.append(parse_message(output.data, stream=output.flow.transport == "TCP"))
                self.flows.append(output.flow)
        self.events += told
        return told

    def receive(self, data: bytes, flow: Flow | None = None) -> list[Output]:
        return self.take(self.agent.receive(data, flow or self.flow, self.now))

    def run(self, seconds: float) -> list[Output]:
        """Let time pass, stopping at every deadline."""
        until, told = self.now + seconds, []
        while (deadline := self.agent.next_deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            told += self.take(self.agent.advance(self.now))
        self.now = until
        told += self.take(self.agent.advance(self.now))
        return told

    @property
    def last(self) -> Request | Response:
        return self.sent[-1]

    def responses(self, *statuses: int) -> list[Response]:
        found = [message for message in self.sent if isinstance(message, Response)]
        return [message for message in found if message.status in statuses] if statuses else found

    def requests(self, method: str) -> list[Request]:
        return [message for message in self.sent if isinstance(message, Request) and message.method == method]

    def statuses(self) -> list[int]:
        return [message.status for message in self.sent if isinstance(message, Response)]

    def clear(self) -> None:
        self.sent.clear()
        self.flows.clear()
        self.events.clear()

    def told(self, kind: type) -> list[Output]:
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Caller:
    """A peer that calls the agent. Every request is written out; ``extra`` adds header lines."""

    call_id: str = "call-1@192.0.2.10"
    from_tag: str = "peer"
    to_tag: str = ""
    cseq: int = 1
    contact: str = "<sip:peer@192.0.2.10:5060>"
    via: str = "SIP/2.0/UDP 192.0.2.10:5060"
    target: str = "sip:agent@192.0.2.1:5060"

    def request(
        self,
        method: str,
        *,
        branch: str | None = None,
        cseq: int | None = None,
        body: bytes = b"",
        extra: Sequence[str] = (),
        to_tag: str | None = None,
        uri: str | None = None,
        content_type: str = "application/sdp",
    ) -> bytes:
        number = self.cseq if cseq is None else cseq
        tag = self.to_tag if to_tag is None else to_tag
        lines = [
            f"{method} {uri or self.target} SIP/2.0",
            f"Via: {self.via};branch=z9hG4bK-{branch or f'{method}-{number}'}",
            "Max-Forwards: 70",
            f"From: <sip:peer@192.0.2.10>;tag={self.from_tag}" if self.from_tag else "From: <sip:peer@192.0.2.10>",
            "To: <sip:agent@192.0.2.1>" + (f";tag={tag}" if tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {number} {method}",
        ]
        if self.contact and method in ("INVITE", "UPDATE", "OPTIONS"):
            lines.append(f"Contact: {self.contact}")
        lines += extra
        if body:
            lines.append(f"Content-Type: {content_type}")
        lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def invite(self, body: bytes = SDP, **more: object) -> bytes:
        return self.request("INVITE", body=body, **more)  # type: ignore[arg-type]

    def ack(self, cseq: int | None = None, branch: str | None = None, body: bytes = b"") -> bytes:
        """The ACK of a 2xx: a branch of its own. That of a refusal repeats the INVITE's: give ``branch``."""
        number = self.cseq if cseq is None else cseq
        return self.request("ACK", branch=branch or f"ack-{number}", cseq=number, body=body)

    def next(self, method: str, **more: object) -> bytes:
        """The next request in the dialog."""
        self.cseq += 1
        return self.request(method, **more)  # type: ignore[arg-type]


def ring(bench: Bench, caller: Caller | None = None, **invite: object) -> tuple[Caller, Leg]:
    """A call that rings: the INVITE is in, nothing is answered."""
    caller = caller or Caller()
    [invited] = bench.receive(caller.invite(**invite))  # type: ignore[arg-type]
    assert isinstance(invited, Invited)
    caller.to_tag = invited.leg.local_tag
    return caller, invited.leg


def establish(bench: Bench, caller: Caller | None = None, **invite: object) -> tuple[Caller, Leg]:
    """A call from the peer that is answered and confirmed; the bench is cleared."""
    caller, leg = ring(bench, caller, **invite)
    bench.take(bench.agent.answer(leg, OUR_SDP, bench.now))
    bench.receive(caller.ack())
    bench.clear()
    return caller, leg


def respond(
    request: Request,
    status: int,
    *,
    tag: str = "callee",
    body: bytes = b"",
    contact: str = "<sip:callee@192.0.2.10:5060>",
    extra: Sequence[str] = (),
) -> bytes:
    """A peer's response to a request of the agent's."""
    to = request.get("to") or ""
    if tag and ";tag=" not in to:
        to += f";tag={tag}"
    lines = [f"SIP/2.0 {status} Whatever"]
    lines += [f"Via: {value}" for value in request.all("via")]
    lines += [f"Record-Route: {value}" for value in request.all("record-route")]
    lines += [f"From: {request.get('from')}", f"To: {to}", f"Call-ID: {request.call_id}"]
    lines += [f"CSeq: {request.cseq} {request.method}", *extra]
    if contact and request.method == "INVITE" and status < 300:
        lines.append(f"Contact: {contact}")
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


def call(bench: Bench, **more: object) -> tuple[Leg, Request]:
    """A call of the agent's to the peer; the INVITE is out."""
    leg, outputs = bench.agent.invite(
        "sip:callee@192.0.2.10:5060",
        more.pop("flow", bench.flow),  # type: ignore[arg-type]
        more.pop("body", OUR_SDP),  # type: ignore[arg-type]
        bench.now,
        from_=more.pop("from_", "<sip:agent@192.0.2.1>"),  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
    bench.take(outputs)
    invite = bench.last
    assert isinstance(invite, Request)
    return leg, invite


def call_established(bench: Bench) -> tuple[Leg, Caller]:
    """A call of the agent's that the peer answered; the bench is cleared.

    The Caller speaks for the peer in the dialog.
    """
    leg, invite = call(bench)
    bench.receive(respond(invite, 200, body=SDP))
    bench.clear()
    peer = Caller(call_id=invite.call_id, from_tag="callee", to_tag=leg.local_tag, cseq=0)
    return leg, peer
