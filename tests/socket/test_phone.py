"""The telephone meets callees that answer badly, are elsewhere or nowhere; it leaves no call up and never hangs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from offhook.errors import LocalError
from offhook.media import limits
from offhook.net.address import RouteFinder
from offhook.testing.phone import CallFailedError, Ended, Phone, PhoneCall

PATIENCE_S = 20
ELSEWHERE = "192.0.2.1"


def description(*, host: str = "127.0.0.1", port: int = 40000, payload_type: int = 0) -> bytes:
    kind = "IP6" if ":" in host else "IP4"
    return (
        f"v=0\r\no=- 1 1 IN {kind} {host}\r\ns=-\r\nc=IN {kind} {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP {payload_type}\r\n"
    ).encode()


NO_CODEC = description(port=0)
FOREIGN_CODEC = description(payload_type=18)


class Callee(asyncio.DatagramProtocol):
    """A SIP telephone of a few lines that answers each INVITE with the next description it was given."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.seen: asyncio.Queue[str] = asyncio.Queue()
        self.callers: list[str] = []
        self.offers: list[bytes] = []
        self._invite: dict[str, str] = {}
        self._peer: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.host, self.port = transport.get_extra_info("sockname")[:2]

    @property
    def uri(self) -> str:
        return f"sip:x@[{self.host}]:{self.port}" if ":" in self.host else f"sip:x@{self.host}:{self.port}"

    def datagram_received(self, data: bytes, source: Any) -> None:
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        if first.startswith("SIP/2.0"):
            self.seen.put_nowait(f"{headers['CSeq'].split()[1]} {first.split()[1]}")
            return
        method = first.split()[0]
        self.seen.put_nowait(method)
        if method == "INVITE":
            self._invite, self._peer = headers, source
            self.callers.append(source[0])
            self.offers.append(body.encode())
            self._respond(headers, source, self.answers.pop(0))
        elif method == "BYE":
            self._respond(headers, source, b"")

    def _respond(self, headers: dict[str, str], source: Any, body: bytes) -> None:
        to = headers["To"] if ";tag=" in headers["To"] else headers["To"] + ";tag=callee"
        self._send(
            f"SIP/2.0 200 OK\r\nVia: {headers['Via']}\r\nFrom: {headers['From']}\r\nTo: {to}\r\n"
            f"CSeq: {headers['CSeq']}\r\n",
            headers,
            body,
            source,
        )

    def reinvites(self, body: bytes) -> None:
        """Ask for a change of the session."""
        invite = self._invite
        start = (
            f"INVITE {invite['Contact'].strip('<>')} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self.host}:{self.port};branch=z9hG4bKx\r\n"
            f"From: {invite['To']};tag=callee\r\nTo: {invite['From']}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
        )
        self._send(start, invite, body, self._peer)

    def _send(self, start: str, headers: dict[str, str], body: bytes, peer: Any) -> None:
        text = (
            f"{start}Call-ID: {headers['Call-ID']}\r\nContact: <{self.uri}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.sendto(text.encode() + body, peer)

    async def sees(self, what: str) -> None:
        """Wait for a request of that method, or for a response such as ``INVITE 488``."""
        while await asyncio.wait_for(self.seen.get(), PATIENCE_S) != what:
            pass


@contextlib.asynccontextmanager
async def callee(*answers: bytes, host: str = "127.0.0.1") -> AsyncIterator[Callee]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: Callee(*answers), (host, 0))
    try:
        yield protocol
    finally:
        transport.close()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A telephone that hangs on exit fails its test."""
    asyncio.run(asyncio.wait_for(test(), 3 * PATIENCE_S))


async def refused(call: PhoneCall) -> str:
    with pytest.raises(CallFailedError) as caught:
        await call.answered(PATIENCE_S)
    return caught.value.reason


def test_an_answer_that_cannot_be_used_is_acknowledged_and_hung_up_on() -> None:
    async def test() -> None:
        async with callee(NO_CODEC) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            assert "the answer cannot be used" in await refused(call)
            await other.sees("ACK")
            await other.sees("BYE")
            assert (await call.ended(PATIENCE_S)).by == "us"
        assert not phone.agent.legs

    run(test)


def test_a_call_whose_audio_breaks_is_hung_up_and_the_telephone_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with callee(description()) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            end = await call.ended(PATIENCE_S)
            assert (end.by, end.reason.partition(":")[0]) == ("us", "the audio failed")
            await other.sees("BYE")
            await call.settled()
        assert not phone.agent.legs

    monkeypatch.setattr(limits, "LEGS", 0)
    run(test)


def test_a_change_that_cannot_be_made_is_answered_488_and_the_call_goes_on() -> None:
    async def test() -> None:
        async with callee(description()) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            other.reinvites(FOREIGN_CODEC)
            await other.sees("INVITE 488")
            assert call.end is None
            await call.hang_up()
            await other.sees("BYE")

    run(test)


def test_an_answer_to_hold_that_cannot_be_used_ends_the_call() -> None:
    async def test() -> None:
        async with callee(description(), NO_CODEC) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            await call.hold()
            end = await call.ended(PATIENCE_S)
            assert (end.by, end.reason.partition(":")[0]) == ("us", "the answer cannot be used")
            await other.sees("BYE")

    run(test)


def test_a_target_that_cannot_be_dialled_leaves_no_port_open() -> None:
    async def test() -> None:
        async with callee() as other, Phone(ports=(39998, 39999)) as phone:
            with pytest.raises(LocalError):
                await phone.dial(other.uri, headers=[("Bad\r\n", "x")])
            with pytest.raises(LocalError, match="0 of 1 pairs are in use"):
                await phone.dial(other.uri)

    run(test)


# -- where it calls from


def test_a_name_that_nobody_knows_is_refused_in_words() -> None:
    async def test() -> None:
        async with Phone() as phone:
            with pytest.raises(LocalError, match=r"nosuch\.invalid: "):
                await phone.dial("sip:x@nosuch.invalid")

    run(test)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_call_on_this_machine_comes_from_loopback(host: str) -> None:
    if host == "::1" and RouteFinder().local_host(host) is None:
        pytest.skip("this machine has no IPv6")

    async def test() -> None:
        async with callee(description(host=host), host=host) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            await call.hang_up()
            assert other.callers == [host]
            assert phone.host == host

    run(test)


def test_a_call_to_another_machine_comes_from_the_address_that_leads_there() -> None:
    """From 127.0.0.1 nothing arrives, and half a minute later the call ends with 408."""
    ours = RouteFinder().local_host(ELSEWHERE)
    if ours is None:
        pytest.skip("no route leads off this machine")

    async def test() -> None:
        async with callee(description(host=ours), host=ours) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            assert other.callers == [ours]
            await call.hang_up()

    run(test)


def test_a_call_from_loopback_to_another_machine_is_refused_at_once() -> None:
    async def test() -> None:
        async with Phone(host="127.0.0.1") as phone:
            with pytest.raises(LocalError, match=ELSEWHERE):
                await phone.dial(f"sip:x@{ELSEWHERE}")

    run(test)


def test_a_callee_that_says_nothing_did_not_end_the_call() -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.bind(("127.0.0.1", 0))  # and does not listen: the connection is refused
            async with Phone() as phone:
                call = await phone.dial(f"sip:x@127.0.0.1:{listener.getsockname()[1]}", transport="TCP")
                await refused(call)
                assert await call.ended(PATIENCE_S) == Ended("nobody", 503, "Service Unavailable")

    run(test)


def test_an_address_that_is_not_this_machines_is_refused_in_words() -> None:
    async def test() -> None:
        with pytest.raises(LocalError, match=r"cannot call from 203\.0\.113\.1: "):
            async with Phone(host="203.0.113.1"):
                pass

    run(test)


def test_a_call_from_every_address_tells_one_that_can_be_sent_to() -> None:
    async def test() -> None:
        async with callee(description()) as other, Phone(host="0.0.0.0") as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            await call.hang_up()
            assert b"c=IN IP4 127.0.0.1\r\n" in other.offers[0]

    run(test)


# -- keys


def test_keys_have_gone_out_when_pressed_returns() -> None:
    async def test() -> None:
        async with callee(description()) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            call.press("12")
            call.press("3")
            await call.pressed()
            assert call.keys_sent == "123"
            await call.hang_up()

    run(test)


def test_waiting_for_keys_ends_with_the_call() -> None:
    async def test() -> None:
        async with callee(description()) as other, Phone() as phone:
            call = await phone.dial(other.uri)
            await call.answered(PATIENCE_S)
            call.press("1234567890", 5000)
            waiting = asyncio.ensure_future(call.pressed())
            await call.hang_up()
            with pytest.raises(CallFailedError, match="the call ended"):
                await waiting

    run(test)
