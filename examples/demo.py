"""The demonstration: a server, the example application, and a SIP call into it, as it happens."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from offhook.testing.dialler import Line, Script, Teller, follow, load_line, summary, table
from offhook.testing.phone import CallFailedError, Phone
from offhook.testing.voice import voice

HERE = Path(__file__).parent
VOICES = HERE.parent / ".demo/voices/usr/share/asterisk/sounds/en_US_f_Allison"
LINES = (("tt-weasels.wav", "Weasels have eaten our phone system"), ("one-moment-please.wav", "One moment, please"))
INTERRUPT_AFTER_S = 0.8


def caller_lines() -> tuple[Line, ...]:
    """What the caller says: recorded speech, or, without it, a voice that says vowels."""
    if all((VOICES / name).is_file() for name, _ in LINES):
        return tuple(Line(f'"{words}"', load_line(str(VOICES / name)).samples) for name, words in LINES)
    print("No recorded speech could be fetched: the caller's voice is synthesized and says nothing in particular.\n")
    return tuple(Line(f"something ({seconds} s)", voice(seconds * 1000, seed=seconds)) for seconds in (3, 2))


class Background:
    """A program whose output is told as it comes."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, env=os.environ | (environment or {}), text=True, start_new_session=True
        )

    def first_line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[2]} did not start")  # type: ignore[index]
        return line

    def tell(self, teller: Teller, name: str) -> None:
        def read() -> None:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                teller.tell(name, line.rstrip())

        threading.Thread(target=read, daemon=True).start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def free_port(wanted: int, *kinds: socket.SocketKind) -> int:
    """Return the usual port, or another one when something sits on it, be it on one of the kinds alone."""
    for port in (wanted, *[0] * 20):
        with contextlib.ExitStack() as probes:
            try:
                for kind in kinds:
                    probe = probes.enter_context(socket.socket(socket.AF_INET, kind))
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(kind == socket.SOCK_STREAM))
                    probe.bind(("127.0.0.1", port))
                    port = int(probe.getsockname()[1])
            except OSError:
                continue
            return port
    raise SystemExit("no port is free")


async def call(target: str, lines: tuple[Line, ...], teller: Teller) -> bool:
    """Make the call; return whether the conversation was one."""
    script = Script(lines, listen_first=True, interrupt_after_s=INTERRUPT_AFTER_S)
    failure = None
    async with Phone() as phone:
        teller.tell("caller", f"dials {target}")
        made = await phone.dial(target, caller="sip:ada@127.0.0.1")
        try:
            await follow(made, script, teller)
        except CallFailedError as failed:
            failure = str(failed)
        await made.hang_up()
        teller.tell("caller", "hangs up")
        await made.settled()
    figures = summary(made, made.conversation())
    print(f"\nMeasured from the caller's recording:\n\n{table(figures)}\n")
    if failure:
        print(f"The call failed: {failure}")
    return failure is None and len(figures["turn_ms"]) >= 2 and len(figures["barge_in_ms"]) >= 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the call")
    once = parser.parse_args().once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended too
    app_port = str(free_port(8000, socket.SOCK_STREAM))
    http, sip = free_port(8080, socket.SOCK_STREAM), free_port(5060, socket.SOCK_DGRAM, socket.SOCK_STREAM)
    secret = "whsec_b2ZmaG9vayBkZW1vbnN0cmF0aW9u"
    server = Background(
        [
            sys.executable, "-m", "offhook", "serve", "--ready-json", "--log-level", "warning",
            "--http", f"127.0.0.1:{http}", "--sip", f"127.0.0.1:{sip}",
            "--models", "scripted", "--webhook-secret", secret, "--webhook-url", f"http://127.0.0.1:{app_port}/",
        ]
    )  # fmt: skip
    ready = json.loads(server.first_line())
    app = Background(
        [sys.executable, str(HERE / "receptionist.py"), "--port", app_port],
        {
            "OPENAI_BASE_URL": ready["http"] + "/v1",
            "OPENAI_API_KEY": ready["api_key"],
            "OPENAI_WEBHOOK_SECRET": secret,
        },
    )
    try:
        app.first_line()
        target = ready["sip"].replace("sip:", "sip:clinic@")
        print(f"server        {ready['http']}/v1 and {ready['sip']}, scripted models (tones for a voice)")
        print("application   examples/receptionist.py, on the official openai package\n")
        lines = caller_lines()
        teller = Teller(lambda text: print(text, end="", flush=True))
        app.tell(teller, "application")
        good = asyncio.run(call(target, lines, teller))
        if once:
            print("The call went well." if good else "The call did not go as it should.")
            return 0 if good else 1
        print(f"The server stays up. Call it with a softphone: {target} (no account, no password).")
        print(f"Or from a terminal: .venv/bin/offhook call {target} --say YOUR.wav --hear heard.wav")
        print("^C ends it.")
        app.process.wait()
    except KeyboardInterrupt:
        print()
    finally:
        app.stop()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
