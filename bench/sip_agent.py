"""The SIP agent alone, in memory: CPU of one call as the called side, and memory of a held dialog.

    PYTHONPATH=src python bench/sip_agent.py [--calls 20000] [--held 2000] [--profile]

A call is INVITE, 180, 200, ACK, BYE, 200. Time passes as at 1,000 calls a second, so that the tables and the deadlines
are as full as they would be; ``advance`` runs every 10 ms of it and is counted. The caller's messages are made before
the clock starts.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offhook.sip.agent import UserAgent
from offhook.sip.flow import Flow
from offhook.sip.options import AgentOptions
from offhook.sip.output import Invited, Transmit

if TYPE_CHECKING:
    from offhook.sip.leg import Leg

FLOW = Flow("UDP", ("127.0.0.1", 5062), ("127.0.0.1", 5060))
OFFER = (
    "v=0\r\no=- 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
    "a=fmtp:101 0-16\r\na=ptime:20\r\n"
)
ANSWER = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0 101\r\n"
    b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
)
CALLS_PER_S = 1000


@dataclass(slots=True)
class Script:
    """What one caller sends; the To tag is filled in as soon as it is known."""

    invite: bytes
    rest: Callable[[str], tuple[bytes, bytes]]


def script(number: int) -> Script:
    """The messages of call ``number``, as a trunk writes them."""
    common = (
        f'From: "+1555{number:07}" <sip:+1555{number:07}@127.0.0.1:5062>;tag=gK{number:08x}\r\n'
        f"Call-ID: {number:08x}-7d2f-4a1b@127.0.0.1\r\n"
    )
    extras = (
        "Contact: <sip:+1555@127.0.0.1:5062;transport=udp>\r\nMax-Forwards: 69\r\nUser-Agent: bench trunk\r\n"
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY, REFER\r\nSupported: timer, replaces\r\n"
        f"P-Asserted-Identity: <sip:+1555{number:07}@127.0.0.1>\r\n"
    )
    invite = (
        "INVITE sip:proj_bench@127.0.0.1:5060 SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK-{number:08x}-1;rport\r\n"
        f"{common}To: <sip:proj_bench@127.0.0.1:5060>\r\nCSeq: 1 INVITE\r\n{extras}"
        f"Content-Type: application/sdp\r\nContent-Length: {len(OFFER)}\r\n\r\n{OFFER}"
    )

    def rest(tag: str) -> tuple[bytes, bytes]:
        def request(method: str, cseq: int, branch: int) -> bytes:
            return (
                f"{method} sip:127.0.0.1:5060 SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP 127.0.0.1:5062;branch=z9hG4bK-{number:08x}-{branch};rport\r\n"
                f"{common}To: <sip:proj_bench@127.0.0.1:5060>;tag={tag}\r\nCSeq: {cseq} {method}\r\n"
                "Max-Forwards: 69\r\nContent-Length: 0\r\n\r\n"
            ).encode()

        return request("ACK", 1, 2), request("BYE", 2, 3)

    return Script(invite.encode(), rest)


def new_agent(seed: int) -> UserAgent:
    """An agent whose ids are random but the same in every run."""
    bits = random.Random(seed).getrandbits
    options = AgentOptions(max_legs=1_000_000, max_transactions=1_000_000)
    return UserAgent(options, lambda n: f"{bits(4 * n):0{n}x}")


def receive_call(agent: UserAgent, caller: Script, now: float) -> Leg:
    """INVITE, 180, 200."""
    for output in agent.receive(caller.invite, FLOW, now):
        if isinstance(output, Invited):
            agent.ring(output.leg, now)
            answered = agent.answer(output.leg, ANSWER, now)
            assert isinstance(answered[0], Transmit)
            return output.leg
    raise AssertionError("the agent did not take the call")


def measure_calls(count: int) -> tuple[float, float]:
    """CPU seconds of one call, all of the agent included: the mean, and the fastest tenth (a core left alone)."""
    agent = new_agent(1)
    callers = [script(number) for number in range(count)]
    # The caller's ACK and BYE need the tag the agent will choose; knowing the seed, the first run tells.
    rehearsal = new_agent(1)
    tags = []
    for number, caller in enumerate(callers):
        tags.append(receive_call(rehearsal, caller, number / CALLS_PER_S).id)
    endings = [caller.rest(tag) for caller, tag in zip(callers, tags, strict=True)]
    del rehearsal
    gc.collect()
    gc.freeze()
    single: list[float] = []
    started = before = time.process_time()
    for number, caller in enumerate(callers):
        now = number / CALLS_PER_S
        leg = receive_call(agent, caller, now)
        ack, bye = endings[number]
        agent.receive(ack, FLOW, now + 0.001)
        agent.receive(bye, FLOW, now + 0.002)
        assert leg.id == tags[number]
        if number % 10 == 0:
            agent.advance(now)
            agent.next_deadline()
        if number % 50 == 49:
            after = time.process_time()
            single.append((after - before) / 50)
            before = after
    spent = time.process_time() - started
    gc.unfreeze()
    assert not agent.legs
    agent.advance(count / CALLS_PER_S + 100)
    assert agent.is_idle
    return spent / count, statistics.quantiles(single, n=10)[0]


def measure_held(count: int) -> tuple[float, float]:
    """KB of one held dialog: right after the ACK, and when its transactions are over."""
    agent = new_agent(2)
    receive_held(agent, 0, 100)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    receive_held(agent, 100, count)
    gc.collect()
    fresh = tracemalloc.get_traced_memory()[0] - before
    agent.advance(100.0)
    agent.next_deadline()
    gc.collect()
    settled = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(agent.legs) == count + 100
    return fresh / count / 1024, settled / count / 1024


def receive_held(agent: UserAgent, start: int, count: int) -> None:
    """Calls that are answered and stay up."""
    for number in range(start, start + count):
        caller = script(number)
        leg = receive_call(agent, caller, 0.0)
        agent.receive(caller.rest(leg.id)[0], FLOW, 0.001)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--held", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="profile one run instead")
    args = parser.parse_args()
    if args.profile:
        import cProfile
        import pstats

        with cProfile.Profile() as profile:
            measure_calls(args.calls)
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    runs = [measure_calls(args.calls) for _ in range(args.runs)]
    fresh_kb, settled_kb = measure_held(args.held)
    cost_s = statistics.median(mean for mean, _ in runs)
    alone_s = min(fast for _, fast in runs)
    print(f"Python {sys.version.split()[0]}, {args.calls} calls x {args.runs} runs, {args.held} held dialogs")
    print(f"| {'figure':<44} | {'value':>10} | {'bar':>8} |")
    print(f"|{'-' * 46}|{'-' * 12}|{'-' * 10}|")
    for name, value, bar in (
        ("CPU a call, INVITE to BYE (ms, median)", f"{cost_s * 1000:.3f}", "0.200"),
        ("CPU a call, undisturbed (ms, best tenth)", f"{alone_s * 1000:.3f}", ""),
        ("set-ups a second on one core", f"{1 / cost_s:,.0f}", "5,000"),
        ("held dialog, transactions alive (KB)", f"{fresh_kb:.1f}", "10"),
        ("held dialog, settled (KB)", f"{settled_kb:.1f}", "6"),
    ):
        print(f"| {name:<44} | {value:>10} | {bar:>8} |")


if __name__ == "__main__":
    main()
