"""SIPp calls an agent that answers by itself: the same scenarios over UDP and TCP."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.interop.run_sipp import Ran, needs_sipp, run_sipp
from tests.sip_peer import ALPHABET

from offhook.net.sip import SipTransport, SipTransportOptions
from offhook.sip.agent import UserAgent
from offhook.sip.options import AgentOptions
from offhook.sip.output import Invited, LegLost, Output, Reoffered
from offhook.sip.sdp import LocalMedia, make_offer, negotiate

pytestmark = needs_sipp


class Answerer:
    """Rings and answers every call, except one that asks to be left ringing; answers every offer."""

    def __init__(self, options: AgentOptions) -> None:
        rng = random.Random(5)
        self.agent = UserAgent(options, lambda n: "".join(rng.choices(ALPHABET, k=n)))
        self.transport = SipTransport(self.agent, SipTransportOptions(port=0), self.told)
        self.media: dict[str, LocalMedia] = {}
        self.events: list[Output] = []

    def told(self, output: Output) -> None:
        self.events.append(output)
        now = self.transport._clock()
        if isinstance(output, Invited):
            self.media[output.leg.id] = LocalMedia(("127.0.0.1", 4000))
            self.transport.perform(self.agent.ring(output.leg, now))
            if output.request.get("x-answer") != "no":
                self.transport.perform(self.agent.answer(output.leg, self.describe(output.leg.id, output.offer), now))
        elif isinstance(output, Reoffered):
            answer = self.describe(output.leg.id, output.body)
            self.transport.perform(self.agent.answer_offer(output.leg, answer, now))

    def describe(self, leg_id: str, offer: bytes | None) -> bytes:
        local = self.media[leg_id]
        sent = negotiate(offer, local).answer if offer else make_offer(local)
        self.media[leg_id] = local.after(sent)
        return sent


async def called(
    scenario: str, transport: str, calls: int, folder: Path, options: AgentOptions
) -> tuple[Ran, Answerer]:
    server = Answerer(options)
    await server.transport.start()
    try:
        return await run_sipp(server.transport.address, scenario, folder, transport=transport, calls=calls), server
    finally:
        await server.transport.close()


@pytest.mark.parametrize("transport", ["u1", "t1"])
@pytest.mark.parametrize("scenario", ["call", "hold", "cancel", "options"])
def test_sipp_scenario_passes(scenario: str, transport: str, tmp_path: Path) -> None:
    _, server = asyncio.run(called(scenario, transport, 20, tmp_path, AgentOptions()))
    assert not server.agent.legs
    assert server.agent.counters.malformed == 0
    if scenario != "options":
        assert server.agent.counters.calls_in == 20


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_lost_ack_ends_in_bye(transport: str, tmp_path: Path) -> None:
    """With T1 of 50 ms instead of 500 the callee gives up after 3.2 s."""
    options = AgentOptions(t1_s=0.05, t2_s=0.4)
    _, server = asyncio.run(called("lost_ack", transport, 3, tmp_path, options))
    assert sum(isinstance(event, LegLost) for event in server.events) == 3
