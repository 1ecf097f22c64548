"""Runs SIPp (Debian ``sip-tester``, GPL: only run, never linked or shipped) with one of the scenarios beside this file.

The scenarios are plain SIPp: ``sipp -sf tests/interop/sipp/call.xml -m 1 HOST:PORT`` runs one by hand; those that need
``-key`` say so at their top.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SIPP = shutil.which("sipp")
SCENARIOS = Path(__file__).parent / "sipp"
PATIENCE_S = 60
PORTS = range(20_000, 30_000)

needs_sipp = pytest.mark.skipif(SIPP is None, reason="sipp is not installed: apt-get install sip-tester")

# One message of SIPp's message log: when it was, which way it went, and the message. What comes for a call that is over
# stands there without a time.
_LOGGED = re.compile(
    r"^-{40,} [^\n]*\n(?:UDP|TCP) message (sent|received)[^\n]*\n\n(.*?)(?=^-{40,}(?: |$)|\Z)", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Ran:
    """What SIPp saw of its calls: the messages it sent and received, in order, as text."""

    sent: list[str]
    received: list[str]

    def received_with(self, start: str) -> list[str]:
        """The received messages that begin so: ``SIP/2.0 200``, ``BYE``."""
        return [message for message in self.received if message.startswith(start)]


def header(message: str, name: str) -> list[str]:
    """The values of a header in a message, in order."""
    lines = message.partition("\n\n")[0].splitlines()[1:]
    pairs = [line.partition(":") for line in lines]
    return [value.strip() for key, _, value in pairs if key.strip().lower() == name.lower()]


async def run_sipp(
    address: tuple[str, int],
    scenario: str,
    folder: Path,
    *,
    transport: str = "u1",
    calls: int = 1,
    rate: int = 50,
    keys: Mapping[str, str] | None = None,
) -> Ran:
    """Let SIPp make ``calls`` calls to ``address``; AssertionError with SIPp's own words unless all of them pass."""
    assert SIPP is not None
    command = [SIPP, f"{address[0]}:{address[1]}", "-sf", str(SCENARIOS / f"{scenario}.xml"), "-nostdin"]
    command += ["-m", str(calls), "-r", str(rate), "-t", transport]
    command += ["-i", "127.0.0.1", "-p", str(free_port()), "-mi", "127.0.0.1", "-mp", str(free_port())]
    command += ["-timeout", f"{PATIENCE_S - 10}s", "-timeout_error", "-trace_err", "-error_file", "errors.log"]
    command += ["-trace_msg", "-message_file", "messages.log"]
    for name, value in (keys or {}).items():
        command += ["-key", name, value]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = {each: _read(folder / each) for each in ("errors.log", "messages.log")}
    failure = printed.decode(errors="replace")[-2000:] + text["errors.log"][-4000:] + text["messages.log"][-8000:]
    assert process.returncode == 0, failure
    logged = [(way, message.strip("\n")) for way, message in _LOGGED.findall(text["messages.log"])]
    received = [message for way, message in logged if way == "received"]
    assert received, "SIPp's log of messages could not be read"
    for message in received:
        _assert_complete(message)
    return Ran([message for way, message in logged if way == "sent"], received)


def _assert_complete(message: str) -> None:
    """Users' complaint: a 200 OK without Content-Type, at which Asterisk hung up (RFC 3261 20.15)."""
    has_body = bool(message.partition("\n\n")[2])
    assert len(header(message, "Content-Type")) == has_body, message
    (size,) = header(message, "Content-Length")
    assert (size != "0") is has_body, message


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="replace").replace("\r\n", "\n") if path.exists() else ""


def free_port() -> int:
    """A port that nobody has now, nor a connection that has ended: systems give those ports above these."""
    for port in random.sample(PORTS, 100):
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            contextlib.suppress(OSError),
        ):
            datagrams.bind(("127.0.0.1", port))
            stream.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")
