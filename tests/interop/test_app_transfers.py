"""An application of `offhook.App` transfers callers on a SIP program of somebody else's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.interop.run_sipp import needs_sipp, run_sipp
from tests.socket.app_host import Scene, play
from tests.socket.live import PATIENCE_S, until

import offhook

pytestmark = needs_sipp

TARGET = "sip:operator@127.0.0.1:5999"


@pytest.mark.parametrize("scenario", ["refer_answered", "refer_taken"])
def test_a_transfer_that_succeeds_is_told_to_the_application(scenario: str, tmp_path: Path) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                # SIPp gives up on a request that comes while it still wants to send.
                await until(lambda: not any(leg.unacknowledged for leg in scene.one.server.agent.legs))
                scene.log.append(await session.transfer(TARGET))
                scene.log.append((await session.wait_ended()).result)
            scene.over.set()

    async def test(scene: Scene) -> None:
        await run_sipp(scene.one.server.sip.address, scenario, tmp_path)
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    assert play(build, test, real=True).log == [True, "transferred"]


@pytest.mark.parametrize("scenario", ["refer_declined", "refer_405"])
def test_a_transfer_that_is_declined_is_told_at_once_and_the_agent_goes_on(scenario: str, tmp_path: Path) -> None:
    def build(scene: Scene) -> None:
        @scene.app.incoming
        async def answer(call: offhook.IncomingCall) -> None:
            async with call.accept() as session:
                await until(lambda: not any(leg.unacknowledged for leg in scene.one.server.agent.legs))
                scene.log += [await session.transfer(TARGET, within_s=60), session.end]
            scene.over.set()

    async def test(scene: Scene) -> None:
        await run_sipp(scene.one.server.sip.address, scenario, tmp_path)
        await asyncio.wait_for(scene.over.wait(), PATIENCE_S)

    assert play(build, test, real=True).log == [False, None]
