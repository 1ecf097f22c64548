"""The examples of docs/moving.md find the server, and the versions that it names are those that are tried."""

from __future__ import annotations

import asyncio
import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.node_program import FOLDER, node
from tests.docs.test_docs import blocks
from tests.socket.live import KEY, Live, run

from offhook.testing.handset import AsyncHandset
from offhook.testing.sync import JumpingTime

PAGE = Path(__file__).parents[2] / "docs" / "moving.md"
PATIENCE_S = 60


def test_the_versions_are_those_that_are_tried() -> None:
    named = dict(re.findall(r"^\| (.*?) \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    tried = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert named == {
        "`openai` for Python": version("openai"),
        "`openai-agents` for Python": version("openai-agents"),
        "`openai` for Node": tried["openai"],
        "`@openai/agents` for Node": tried["@openai/agents"],
    }


def test_the_agents_of_the_page_attend_a_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    (block,) = [each for each in blocks(PAGE, "python") if "agents.realtime" in each]
    clock = JumpingTime()

    async def whole() -> None:
        async with AsyncHandset() as phone:
            names: dict[str, Any] = {}
            url = phone.access.base_url.removeprefix("http://")
            exec(block.replace("127.0.0.1:8080/v1", url).replace("sk-...", phone.access.api_key), names)

            phone.model.otherwise("Good day.")
            call = await phone.dial()
            attending = asyncio.ensure_future(names["attend"](call.id))
            await call.says("Hello there")
            await call.hears("good day")
            await call.hangup()
            await attending
            assert phone.model.requests[-1].instructions == "You are the reception."

    try:
        clock.run(whole())
    finally:
        clock.close()
    assert "history_added" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["@openai/agents/realtime", "openai/realtime/ws"])
@pytest.mark.usefixtures("node_peers")
def test_the_examples_for_node_open_a_session(package: str) -> None:
    (block,) = [each for each in blocks(PAGE, "js") if f"'{package}'" in each]

    async def test(one: Live) -> None:
        assert one.ready.certificate is not None
        program = await asyncio.create_subprocess_exec(
            node(),
            "--input-type=module",
            stdin=asyncio.subprocess.PIPE,
            cwd=FOLDER,
            env={"PATH": os.environ["PATH"], "NODE_EXTRA_CA_CERTS": one.ready.certificate},
        )
        try:
            assert program.stdin is not None
            address = one.ready.http.removeprefix("http://")
            program.stdin.write(block.replace("127.0.0.1:8080", address).replace("sk-...", KEY).encode())
            program.stdin.close()
            async with asyncio.timeout(PATIENCE_S):
                while not len(one.server.sessions):
                    assert program.returncode is None, "it ended without a session"
                    await asyncio.sleep(0.01)
        finally:
            if program.returncode is None:
                program.kill()
            await program.wait()

    run(test, tls_self_signed=True)
