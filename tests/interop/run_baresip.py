"""Runs baresip (Debian ``baresip``, BSD), a softphone that is steered over its control socket.

It has no sound card here: what it says comes from a WAV file, what it hears goes into one (its ``sndfile`` module).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.interop.run_sipp import free_port

from offhook.audio.pcm import Samples, silence
from offhook.audio.wav import read_wav, write_wav

BARESIP = shutil.which("baresip")
MODULES = next((path for path in sorted(Path("/usr/lib").glob("**/baresip/modules")) if path.is_dir()), None)
PATIENCE_S = 30
TRIES = 5
RATE_HZ = 8000
# baresip hangs up when its file is at its end: no test lasts so long.
AFTERWARDS_S = 120

needs_baresip = pytest.mark.skipif(
    BARESIP is None or MODULES is None, reason="baresip is not installed: apt-get install baresip"
)

CONFIG = """
sip_listen 127.0.0.1:{sip_port}
net_interface 127.0.0.1
rtp_ports 40000-48998
call_max_calls 4
audio_source aufile,{folder}/say.wav
audio_player aubridge,nobody
audio_alert aubridge,nobody
ausrc_srate 8000
auplay_srate 8000
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
audio_buffer 20-160
jitter_buffer_delay 1-5
statmode_default off
snd_path {folder}
module_path {modules}
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control_port}
"""


@dataclass
class Baresip:
    """A running baresip. ``uri`` is where it is called at; ``events`` is everything that it told."""

    folder: Path
    uri: str
    _writer: asyncio.StreamWriter
    events: list[dict[str, Any]] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _responses: dict[str, dict[str, Any]] = field(default_factory=dict)
    _tokens: itertools.count[int] = field(default_factory=itertools.count)

    async def do(self, command: str, params: str = "") -> str:
        """Give a command of baresip's menu, and return what it printed."""
        token = str(next(self._tokens))
        text = json.dumps({"command": command, "params": params, "token": token}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        await self._until(lambda: token in self._responses, command)
        response = self._responses.pop(token)
        assert response["ok"], response
        return str(response.get("data", ""))

    async def told(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait until it told of something for the nth time."""

        def found() -> list[dict[str, Any]]:
            return [event for event in self.events if event["type"] == kind]

        await self._until(lambda: len(found()) >= count, f"{kind} {count}")
        return found()[count - 1]

    def heard(self) -> list[Samples]:
        """What it heard, one for each call; read it when baresip is gone."""
        return [read_wav(path.read_bytes()).mono for path in sorted(self.folder.glob("dump-*-dec.wav"))]

    async def _until(self, condition: Any, what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            told = [(event["type"], event.get("param")) for event in self.events]
            raise AssertionError(f"baresip: no {what}; it told {told}\n{_log(self.folder)}") from None

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Take what the control socket says, until it closes."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(size + 1))[:-1])
                async with self._news:
                    if message.get("response"):
                        self._responses[message["token"]] = message
                    else:
                        self.events.append(message)
                    self._news.notify_all()


@contextlib.asynccontextmanager
async def baresip(
    folder: Path,
    says: Samples | None = None,
    *,
    codecs: str = "PCMU/8000/1,PCMA/8000/1",
    transport: str = "udp",
    answers: bool = False,
) -> AsyncIterator[Baresip]:
    """Start a baresip that says ``says`` in every call, and stop it. ``answers``: it picks up by itself."""
    assert BARESIP is not None
    account = f"<sip:softphone@127.0.0.1;transport={transport}>;regint=0;audio_codecs={codecs}"
    account += f";answermode={'auto' if answers else 'manual'}\n"
    for left in reversed(range(TRIES)):
        sip_port, control_port = free_port(), free_port()
        _furnish(folder, says, account, sip_port, control_port)
        with (folder / "baresip.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                BARESIP, "-f", str(folder), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            reader, writer = await _connect(process, control_port, folder)
            break
        except AssertionError:
            # Somebody else took one of the ports meanwhile; it needs the one above for TLS, too.
            if not left:
                raise
    try:
        phone = Baresip(folder, f"sip:softphone@127.0.0.1:{sip_port}", writer)
        listening = asyncio.ensure_future(phone.listen(reader))
        try:
            yield phone
        finally:
            await _stop(process)
            await listening
            writer.close()
    finally:
        await _stop(process)


def _furnish(folder: Path, says: Samples | None, account: str, sip_port: int, control_port: int) -> None:
    folder.mkdir(exist_ok=True)
    said = np.concatenate([silence(0) if says is None else says, silence(AFTERWARDS_S * RATE_HZ)])
    (folder / "say.wav").write_bytes(write_wav(said, RATE_HZ))
    config = CONFIG.format(sip_port=sip_port, folder=folder, modules=MODULES, control_port=control_port)
    (folder / "config").write_text(config)
    (folder / "accounts").write_text(account)
    (folder / "contacts").write_text("")


async def _connect(
    process: asyncio.subprocess.Process, port: int, folder: Path
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the control socket, which is there when baresip has started."""
    async with asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
    raise AssertionError(f"baresip did not start\n{_log(folder)}")


def _log(folder: Path) -> str:
    return (folder / "baresip.log").read_text(errors="replace")[-4000:]


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
