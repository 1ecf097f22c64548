"""The SIP transport on real sockets: two agents on loopback, UDP and TCP."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

import pytest
from tests.sip_peer import ALPHABET, OUR_SDP, SDP, Caller, new_agent

from offhook.errors import ConfigError
from offhook.net.address import RouteFinder, bind_pair, parse_public_address
from offhook.net.sip import SipTransport, SipTransportOptions
from offhook.sip.agent import UserAgent
from offhook.sip.leg import Leg
from offhook.sip.message import parse_message
from offhook.sip.options import AgentOptions, GuardOptions
from offhook.sip.output import (
    Answered,
    Confirmed,
    HungUp,
    Invited,
    Output,
    Reanswered,
    Refused,
    Rejected,
    Released,
    Reoffered,
)

T = TypeVar("T", bound=Output)
Kind = Literal["UDP", "TCP"]
Loop = Callable[[], asyncio.AbstractEventLoop]
PATIENCE_S = 20.0


class End:
    """A transport, its agent, and a host that answers every call and every offer."""

    def __init__(self, seed: int, *, agent: AgentOptions | None = None, **options: object) -> None:
        rng = random.Random(seed)
        settings = SipTransportOptions(**{"port": 0, **options})  # type: ignore[arg-type]
        ua = UserAgent(agent or AgentOptions(), lambda n: "".join(rng.choices(ALPHABET, k=n)))
        self.transport = SipTransport(ua, settings, self.told)
        self.agent = ua
        self.events: list[Output] = []
        self.waiting: list[tuple[type, asyncio.Future[Output]]] = []

    def told(self, output: Output) -> None:
        self.events.append(output)
        now = self.transport._clock()
        if isinstance(output, Invited):
            self.transport.perform(self.agent.ring(output.leg, now))
            self.transport.perform(self.agent.answer(output.leg, OUR_SDP, now))
        elif isinstance(output, Reoffered):
            self.transport.perform(self.agent.answer_offer(output.leg, OUR_SDP, now))
        for kind, future in self.waiting:
            if isinstance(output, kind) and not future.done():
                future.set_result(output)
        self.waiting = [(kind, future) for kind, future in self.waiting if not future.done()]

    def expect(self, kind: type[T]) -> asyncio.Future[T]:
        """The next event of a kind, listened for from now on."""
        future: asyncio.Future[Output] = asyncio.get_running_loop().create_future()
        self.waiting.append((kind, future))
        return future  # type: ignore[return-value]

    async def hears(self, kind: type[T], act: Callable[[], object] | None = None) -> T:
        """Do something and wait for the event it leads to."""
        future = self.expect(kind)
        if act is not None:
            act()
        async with asyncio.timeout(PATIENCE_S):
            return await future

    def perform(self, wish: Callable[[float], list[Output]]) -> None:
        self.transport.perform(wish(self.transport._clock()))

    def call(self, other: End, kind: Kind, body: bytes = SDP) -> Leg:
        flow = self.transport.flow_to(other.transport.address, kind)
        transport = f";transport={kind.lower()}"
        host, port = other.transport.address
        leg, outputs = self.agent.invite(
            f"sip:b@{host}:{port}{transport}", flow, body, self.transport._clock(), from_="<sip:a@127.0.0.1>"
        )
        self.transport.perform(outputs)
        return leg


@asynccontextmanager
async def ends(**options: object) -> AsyncIterator[tuple[End, End]]:
    one, two = End(1), End(2, **options)
    await one.transport.start()
    await two.transport.start()
    try:
        yield one, two
    finally:
        await one.transport.close()
        await two.transport.close()


def run(test: Callable[[], Awaitable[None]], loop: Loop = asyncio.new_event_loop) -> None:
    """Run a test, and see that it leaves no task behind."""

    async def guarded() -> None:
        await test()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(guarded())


def loops() -> list[Loop]:
    try:
        import uvloop
    except ImportError:
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.mark.parametrize("loop", loops(), ids=lambda loop: loop.__module__)
@pytest.mark.parametrize("kind", ["UDP", "TCP"])
def test_call_reinvite_and_bye(kind: Kind, loop: Loop) -> None:
    async def test() -> None:
        async with ends() as (one, two):
            confirmed = two.expect(Confirmed)
            answered = await one.hears(Answered, lambda: one.call(two, kind))
            assert answered.body == OUR_SDP
            their = (await confirmed).leg
            reanswered = two.hears(Reanswered, lambda: two.perform(lambda now: two.agent.reinvite(their, SDP, now)))
            assert (await reanswered).body == OUR_SDP
            released = one.expect(Released)
            await two.hears(HungUp, lambda: one.perform(lambda now: one.agent.hang_up(answered.leg, now)))
            assert (await released).status == 200
            if kind == "TCP":
                assert one.transport.connections == two.transport.connections == 1, "one connection for everything"
                assert one.transport.counters.connections_out == two.transport.counters.connections_in == 1
                assert two.transport.counters.connections_out == 0
            else:
                assert one.transport.connections == 0

    run(test, loop)


def test_many_calls_at_once() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            legs = [one.call(two, "TCP" if number % 2 else "UDP") for number in range(200)]
            async with asyncio.timeout(PATIENCE_S):
                while sum(isinstance(event, Confirmed) for event in two.events) < 200:
                    await two.hears(Confirmed)
            for leg in legs:
                one.perform(lambda now, leg=leg: one.agent.hang_up(leg, now))  # type: ignore[misc]
            async with asyncio.timeout(PATIENCE_S):
                while sum(isinstance(event, Released) for event in one.events) < 200:
                    await one.hears(Released)
            assert not one.agent.legs
            assert not two.agent.legs

    run(test)


def test_connection_dropped_in_mid_call_is_opened_again_for_the_bye() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            confirmed = two.expect(Confirmed)
            await one.hears(Answered, lambda: one.call(two, "TCP"))
            leg = (await confirmed).leg
            for stream in list(one.transport._streams.values()):
                stream.abort()
            for _ in range(100_000):
                if not two.transport.connections and not one.transport.connections:
                    break
                await asyncio.sleep(0)
            assert leg in two.agent.legs, "a dialog outlives its connection"
            released = two.expect(Released)
            await one.hears(HungUp, lambda: two.perform(lambda now: two.agent.hang_up(leg, now)))
            assert (await released).status == 200
            assert two.transport.counters.connections_out == 1

    run(test)


def test_call_to_a_port_where_nobody_listens_is_refused_at_once() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            await two.transport.close()
            refused = await one.hears(Refused, lambda: one.call(two, "TCP"))
            assert refused.status == 503
            assert one.transport.counters.connects_failed == 1

    run(test)


def test_large_invite_goes_over_tcp() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            body = SDP + b"a=x:" + b"y" * 2000 + b"\r\n"
            await one.hears(Answered, lambda: one.call(two, "UDP", body))
            assert two.transport.counters.connections_in == 0, "the target names its transport"
            flow = one.transport.flow_to(two.transport.address)
            host, port = two.transport.address

            def call() -> None:
                wish = one.agent.invite(f"sip:b@{host}:{port}", flow, body, one.transport._clock(), from_="<sip:a@b>")
                one.transport.perform(wish[1])

            await one.hears(Answered, call)
            assert two.transport.counters.connections_in == 1

    run(test)


def test_message_too_large_for_any_datagram_is_a_send_error_and_no_crash() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            one.call(two, "UDP", SDP + b"a=" + b"y" * 70_000)
            assert one.transport.counters.send_errors == 1
            await one.hears(Answered, lambda: one.call(two, "UDP"))

    run(test)


async def connect(end: End) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*end.transport.address)


def test_bytes_that_trickle_and_messages_that_arrive_together() -> None:
    async def test() -> None:
        async with ends() as (_, two):
            reader, writer = await connect(two)
            caller = Caller(via="SIP/2.0/TCP 127.0.0.1:1;rport")
            data = caller.request("OPTIONS", branch="1") + caller.request("OPTIONS", branch="2")
            for index in range(0, len(data), 7):
                writer.write(data[index : index + 7])
                await writer.drain()
            async with asyncio.timeout(PATIENCE_S):
                got = b""
                while got.count(b"\r\n\r\n") < 2:
                    got += await reader.read(65536)
            assert got.count(b"SIP/2.0 200 OK") == 2
            writer.close()
            await writer.wait_closed()

    run(test)


def test_ping_pong_on_a_connection() -> None:
    async def test() -> None:
        async with ends() as (_, two):
            reader, writer = await connect(two)
            writer.write(b"\r\n\r\n")
            async with asyncio.timeout(PATIENCE_S):
                assert await reader.readexactly(2) == b"\r\n"
            writer.close()
            await writer.wait_closed()

    run(test)


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (Caller(via="SIP/2.0/TCP h").request("OPTIONS").replace(b"Content-Length: 0", b"X: 0"), b"SIP/2.0 400 "),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
        (b"x" * 70_000, b""),
    ],
)
def test_stream_that_cannot_be_followed_is_closed(data: bytes, answer: bytes) -> None:
    async def test() -> None:
        async with ends() as (_, two):
            reader, writer = await connect(two)
            writer.write(data)
            async with asyncio.timeout(PATIENCE_S):
                try:
                    got = await reader.read()
                except ConnectionResetError:
                    got = b""
            assert got.startswith(answer)
            assert bool(got) == bool(answer)
            writer.close()
            assert two.transport.counters.streams_broken == 1

    run(test)


def test_connections_are_limited() -> None:
    async def test() -> None:
        async with ends(max_connections=2) as (_, two):
            opened = [await connect(two) for _ in range(3)]
            async with asyncio.timeout(PATIENCE_S):
                assert await _closed(opened[2][0])
            assert two.transport.connections == 2
            assert two.transport.counters.connections_refused == 1
            for _, writer in opened:
                writer.close()

    run(test)


@pytest.mark.parametrize(
    ("guard", "allowed"),
    [
        (GuardOptions(trusted=()), 2),
        (GuardOptions(trusted=(), allow=("127.0.0.0/8",)), 3),
    ],
)
def test_one_stranger_cannot_take_all_connections(guard: GuardOptions, allowed: int) -> None:
    async def test() -> None:
        async with ends(agent=AgentOptions(guard=guard), max_connections_per_source=2) as (_, two):
            opened = [await connect(two) for _ in range(3)]
            assert [await _served(each) for each in opened] == [number < allowed for number in range(3)]
            assert two.transport.connections == allowed
            assert two.transport.counters.connections_refused == 3 - allowed
            opened[0][1].close()
            # Its place is free for the next, as soon as the server has seen it.
            while not await _served(another := await connect(two)):
                another[1].close()
            for _, writer in (*opened, another):
                writer.close()

    run(test)


async def _served(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    """Whether a connection is answered on, and not closed."""
    reader, writer = connection
    writer.write(Caller(via="SIP/2.0/TCP h").request("OPTIONS", branch=str(id(connection))))
    async with asyncio.timeout(PATIENCE_S):
        try:
            return (await reader.read(12)).startswith(b"SIP/2.0 200")
        except ConnectionResetError:
            return False


def test_a_connection_with_a_call_outlives_those_without() -> None:
    async def test() -> None:
        async with ends(unused_timeout_s=0.3) as (one, two):
            answered = await one.hears(Answered, lambda: one.call(two, "TCP"))
            idle = await connect(two)
            assert await _served(idle)
            async with asyncio.timeout(PATIENCE_S):
                await _drained(idle[0])
            assert two.transport.connections == one.transport.connections == 1
            idle[1].close()
            released = await one.hears(Released, lambda: one.perform(lambda now: one.agent.hang_up(answered.leg, now)))
            assert released.status == 200
            assert one.transport.counters.connections_out == 1

    run(test)


async def _closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionResetError:
        return True


def test_connection_from_outside_the_allow_list_is_closed() -> None:
    async def test() -> None:
        async with ends(agent=AgentOptions(guard=GuardOptions(allow=("192.0.2.0/24",)))) as (_, two):
            reader, writer = await connect(two)
            async with asyncio.timeout(PATIENCE_S):
                assert await _closed(reader)
            assert two.transport.counters.connections_refused == 1
            (told,) = two.events
            assert isinstance(told, Rejected)
            assert (told.source, told.status) == (writer.get_extra_info("sockname"), 0)
            writer.close()

    run(test)


def test_silent_and_idle_connections_are_closed() -> None:
    async def test() -> None:
        async with ends(first_message_timeout_s=0.5, unused_timeout_s=0.3) as (_, two):
            silent = await connect(two)
            spoken = await connect(two)
            spoken[1].write(Caller(via="SIP/2.0/TCP h").request("OPTIONS"))
            async with asyncio.timeout(PATIENCE_S):
                assert (await spoken[0].readuntil(b"\r\n")).startswith(b"SIP/2.0 200")
                await asyncio.gather(_drained(silent[0]), _drained(spoken[0]))
            assert two.transport.connections == 0
            silent[1].close()
            spoken[1].close()

    run(test)


async def _drained(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except ConnectionResetError:
        pass


def test_peer_that_reads_nothing_loses_its_connection() -> None:
    async def test() -> None:
        async with ends(write_buffer_bytes=65536) as (_, two):
            _, writer = await connect(two)
            caller = Caller(via="SIP/2.0/TCP h")
            pad = [f"Via: SIP/2.0/TCP h;branch=z9hG4bK{'x' * 2000}"] * 20
            async with asyncio.timeout(PATIENCE_S):
                try:
                    for number in range(10_000):
                        writer.write(caller.request("OPTIONS", branch=str(number), extra=pad))
                        await writer.drain()
                        if two.transport.counters.streams_broken:
                            break
                except ConnectionError:
                    pass
            assert two.transport.counters.streams_broken == 1
            writer.close()

    run(test)


def test_udp_socket_survives_anything() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for data in (b"", b"\0", b"\xff" * 1000, b"\r\n\r\n", b"x" * 60_000):
                    stranger.sendto(data, two.transport.address)
            await one.hears(Answered, lambda: one.call(two, "UDP"))
            assert two.transport.counters.datagrams_in >= 6

    run(test)


def test_timer_of_the_agent_is_armed() -> None:
    """With T1 of 10 ms an unanswered call ends after 64*T1; how often it repeats exactly is the simulation's to say."""

    async def test() -> None:
        one = End(1, agent=AgentOptions(t1_s=0.01, t2_s=0.04, t4_s=0.05))
        await one.transport.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            flow = one.transport.flow_to(deaf.getsockname())

            def call() -> None:
                wish = one.agent.invite("sip:x@127.0.0.1", flow, SDP, one.transport._clock(), from_="<sip:a@b>")
                one.transport.perform(wish[1])

            refused = await one.hears(Refused, call)
            assert refused.status == 408
            deaf.setblocking(False)
            copies = 0
            while True:
                try:
                    copies += parse_message(deaf.recv(65535)).call_id == refused.leg.call_id
                except BlockingIOError:
                    break
            # On a busy machine Timer B may come due together with the last Timer A, and then there is no seventh copy.
            assert 1 < copies <= 7
        await one.transport.close()

    run(test)


def test_ipv6_call() -> None:
    async def test() -> None:
        one, two = End(1, host="::1"), End(2, host="::1")
        await one.transport.start()
        await two.transport.start()
        for kind in ("UDP", "TCP"):
            flow = one.transport.flow_to(two.transport.address, kind)  # type: ignore[arg-type]

            def call(flow=flow) -> None:  # type: ignore[no-untyped-def]
                wish = one.agent.invite("sip:b@[::1]", flow, SDP, one.transport._clock(), from_="<sip:a@[::1]>")
                one.transport.perform(wish[1])

            await one.hears(Answered, call)
        await one.transport.close()
        await two.transport.close()

    run(test)


def test_udp_and_tcp_share_one_port() -> None:
    udp, tcp = bind_pair("127.0.0.1", 0, 65536)
    with udp, tcp:
        assert udp.getsockname() == tcp.getsockname()
        with pytest.raises(ConfigError) as refused:
            bind_pair("127.0.0.1", udp.getsockname()[1], 65536)
        assert str(udp.getsockname()[1]) in str(refused.value)


def test_taken_port_refuses_to_start() -> None:
    async def test() -> None:
        async with ends() as (one, _):
            taken = End(3, port=one.transport.address[1])
            with pytest.raises(ConfigError):
                await taken.transport.start()

    run(test)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", None),
        ("198.51.100.7", ("198.51.100.7", 0)),
        ("198.51.100.7:5070", ("198.51.100.7", 5070)),
        ("sip.example.com:5070", ("sip.example.com", 5070)),
        ("[2001:db8::1]:5070", ("2001:db8::1", 5070)),
        ("[2001:db8::1]", ("2001:db8::1", 0)),
        ("2001:db8::1", ("2001:db8::1", 0)),
    ],
)
def test_public_address(text: str, parsed: tuple[str, int] | None) -> None:
    assert parse_public_address(text) == parsed


@pytest.mark.parametrize("text", ["a b", "h:0", "h:x", "h:70000", "[::1", "[::1]x", ":5060", "sip:h@x;y"])
def test_bad_public_address(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_public_address(text)


def test_public_address_is_what_peers_are_told() -> None:
    async def test() -> None:
        async with ends(public_address="198.51.100.7:5999") as (one, two):
            assert two.transport.flow_to(("192.0.2.1", 5060)).local == ("198.51.100.7", 5999)
            answered = await one.hears(Answered, lambda: one.call(two, "UDP"))
            assert answered.response.get("contact") == "<sip:198.51.100.7:5999>"

    run(test)


def test_wildcard_tells_the_address_of_the_route() -> None:
    async def test() -> None:
        end = End(1, host="0.0.0.0")
        await end.transport.start()
        assert end.transport.flow_to(("127.0.0.1", 5060)).local == ("127.0.0.1", end.transport.address[1])
        await end.transport.close()

    run(test)
    assert RouteFinder().local_host("127.0.0.5") == "127.0.0.1"
    assert RouteFinder().local_host("not an address") is None


def test_closed_transport_is_quiet() -> None:
    async def test() -> None:
        async with ends() as (one, two):
            one.call(two, "UDP")
            one.call(two, "TCP")
            await one.transport.close()
            one.perform(one.agent.advance)
            one.call(two, "UDP")

    run(test)


def test_agent_is_the_one_given() -> None:
    agent = new_agent()
    assert SipTransport(agent, SipTransportOptions(port=0), lambda _: None).agent is agent
