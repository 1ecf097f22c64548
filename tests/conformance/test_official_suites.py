"""The official package's own tests of this API against a running server: with its client, and with ours.

They are taken from its source distribution, unchanged, and stay out of this repository. They send the literal call id
``call_id`` over and over; here, and only here, every such request meets a call that really rings.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.socket.live import KEY, Live, live

from offhook import server as wiring

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).parent / "shim"
CACHE = ROOT / ".cache" / "official"
THEIR_KEY = "My API Key"
CALLS = "tests/api_resources/realtime/test_calls.py"
SECRETS = "tests/api_resources/realtime/test_client_secrets.py"
WEBHOOKS = "tests/lib/test_webhooks.py"
# Their third HTTP library says nothing about a server that the second has not said, and is not installed with them.
NOT_RUN = "not aiohttp"
PATIENCE_S = 20
ACTION = re.compile(r"((?:/v1)?/realtime/calls/)call_id/(accept|hangup|refer|reject)")
VERSION = re.compile(rb'("version"\s*:\s*)"version"')


def unpack(archive: tarfile.TarFile, below: str) -> None:
    """Write the files of one folder to the cache. Python has its filter for this from 3.11.4 on only."""
    for member in archive:
        path = CACHE / member.name
        if member.isfile() and member.name.startswith(below) and ".." not in path.parts:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())


@pytest.fixture(scope="session")
def suites() -> Path:
    """The unpacked source distribution of the installed version."""
    name = f"openai-{version('openai')}"
    if not (CACHE / name / "tests").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-binary", "openai"]
        for python in (sys.executable, "python3"):
            done = subprocess.run(
                [python, "-m", *command, "--dest", CACHE, name.replace("-", "==")],
                capture_output=True,
                timeout=300,
                check=False,
            )
            if done.returncode == 0:
                break
        else:
            pytest.skip(f"the official suites are not here: the source distribution of {name} could not be had")
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            unpack(archive, f"{name}/tests/")
    return CACHE / name


class RingingCalls:
    """In front of the server's own routes: puts the id of a call that rings just now in the place of ``call_id``.

    And a version of the prompt that is there in the place of ``version``: versions are numbers here.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self.live: Live | None = None
        self.bound = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def receive_bound() -> Any:
            message = await receive()
            if message.get("body"):
                message["body"] = VERSION.sub(rb'\1"1"', message["body"])
            return message

        found = ACTION.fullmatch(scope.get("path", ""))
        if found is None or self.live is None:
            await self.app(scope, receive_bound, send)
            return
        prefix, action = found.groups()
        caller, call_id = await self.live.ring()
        if action == "refer":
            await self.live.calls.accept(call_id, type="realtime")
            await caller.answered()
        self.bound += 1
        path = f"{prefix}{call_id}/{action}"
        await self.app({**scope, "path": path, "raw_path": path.encode()}, receive_bound, send)
        if action in {"accept", "refer"}:
            await self.live.calls.hangup(call_id)
        await caller.ended(PATIENCE_S)


async def run_suites(suites: Path, files: list[str], url: str, *, ours: bool) -> str:
    """Run their files in a pytest of its own; returns what it printed. It fails when one of its tests does."""
    command = [sys.executable, "-m", "pytest", "-c", str(SHIM / "pytest.ini"), "--rootdir", str(suites), "-q"]
    command += [*shlex.split("-p no:cacheprovider -p no:hypothesispytest -k"), NOT_RUN]
    command += [*(["-p", "offhook_shim"] if ours else []), *files]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))}
    environment |= {"TEST_API_BASE_URL": url, "PYTHONPATH": os.pathsep.join([str(suites), str(SHIM), *sys.path])}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=suites, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    assert process.returncode == 0, text[-6000:]
    return text


@pytest.mark.parametrize("ours", [False, True], ids=["the official client", "offhook's client"])
def test_the_official_suites_pass(suites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool) -> None:
    # The stored prompt that their sessions name.
    (tmp_path / "id").mkdir()
    (tmp_path / "id" / "1.md").write_text("You answer {{foo}}.")
    built: list[RingingCalls] = []
    usual = wiring.build_app

    def build(*args: Any) -> Any:
        built.append(RingingCalls(usual(*args)))
        return built[0]

    monkeypatch.setattr(wiring, "build_app", build)

    async def test() -> str:
        async with asyncio.timeout(400), live(api_key=[KEY, THEIR_KEY], prompts=str(tmp_path)) as one:
            built[0].live = one
            return await run_suites(suites, [CALLS, SECRETS, WEBHOOKS], one.ready.http, ours=ours)

    printed = asyncio.run(test())
    passed = re.search(r"(\d+) passed", printed)
    assert passed is not None, printed
    assert int(passed[1]) >= 200
    assert ("offhook's client was made" in printed) == ours
    assert built[0].bound >= 48, "every action of theirs met a call that rang"
