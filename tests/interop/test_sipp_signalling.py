"""SIPp calls an agent that answers by itself: the same scenarios over UDP and TCP.

SIPp (Debian ``sip-tester``, GPL) is only run, never linked or shipped.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
from pathlib import Path

import pytest
from tests.sip_peer import ALPHABET

from offhook.net.sip import SipTransport, SipTransportOptions
from offhook.sip.agent import UserAgent
from offhook.sip.options import AgentOptions
from offhook.sip.output import Invited, LegLost, Output, Reoffered
from offhook.sip.sdp import LocalMedia, make_offer, negotiate

SIPP = shutil.which("sipp")
SCENARIOS = Path(__file__).parent / "sipp"
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(SIPP is None, reason="sipp is not installed: apt-get install sip-tester")


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


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run_sipp(
    scenario: str, transport: str, calls: int, folder: Path, options: AgentOptions
) -> tuple[int, str, Answerer]:
    server = Answerer(options)
    await server.transport.start()
    host, port = server.transport.address
    assert SIPP is not None
    command = [SIPP, f"{host}:{port}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-m", str(calls), "-r", "50"]
    command += ["-i", "127.0.0.1", "-p", str(free_port()), "-t", transport, "-nostdin", "-timeout", "50s"]
    command += ["-timeout_error", "-trace_err", "-error_file", str(folder / "errors.log")]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await server.transport.close()
    log = folder / "errors.log"
    text = printed.decode(errors="replace")[-2000:] + (log.read_text()[-4000:] if log.exists() else "")
    return process.returncode or 0, text, server


@pytest.mark.parametrize("transport", ["u1", "t1"])
@pytest.mark.parametrize("scenario", ["call", "hold", "cancel", "options"])
def test_sipp_scenario_passes(scenario: str, transport: str, tmp_path: Path) -> None:
    code, text, server = asyncio.run(run_sipp(scenario, transport, 20, tmp_path, AgentOptions()))
    assert code == 0, text
    assert not server.agent.legs
    assert server.agent.counters.malformed == 0
    if scenario != "options":
        assert server.agent.counters.calls_in == 20


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_lost_ack_ends_in_bye(transport: str, tmp_path: Path) -> None:
    """With T1 of 50 ms instead of 500 the callee gives up after 3.2 s."""
    options = AgentOptions(t1_s=0.05, t2_s=0.4)
    code, text, server = asyncio.run(run_sipp("lost_ack", transport, 3, tmp_path, options))
    assert code == 0, text
    assert sum(isinstance(event, LegLost) for event in server.events) == 3
