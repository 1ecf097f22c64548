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
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from offhook.audio.pcm import Samples
from offhook.audio.resample import resample_whole
from offhook.audio.wav import write_wav
from offhook.errors import OffhookError
from offhook.model.local.voice import VoiceOptions, local_voice
from offhook.testing.dialler import Line, Paper, Script, Teller, follow, load_line, summary, table
from offhook.testing.hearing import understand
from offhook.testing.phone import RATE_HZ, CallFailedError, Phone
from offhook.testing.voice import voice

HERE = Path(__file__).parent
KEPT = HERE.parent / ".demo"
VOICES = KEPT / "voices/usr/share/asterisk/sounds/en_US_f_Allison"
RECORDING = KEPT / "call.wav"
SECRET = "whsec_b2ZmaG9vayBkZW1vbnN0cmF0aW9u"
BETWEEN_WORDS_MS = 100


class Part(NamedTuple):
    """What the caller says next: the words, and the recordings that hold them."""

    words: str
    files: tuple[str, ...]
    interrupts_after_s: float | None = None


# The second is said into the answer to the first, into a word of it and not between two, and asks for what the
# application has a function for.
PARTS = (
    Part("Weasels have eaten our phone system.", ("tt-weasels.wav",)),
    Part("Hours, Tuesday?", ("hours.wav", "digits/day-2.wav"), interrupts_after_s=1.2),
    Part("Thank you. Goodbye.", ("auth-thankyou.wav", "vm-goodbye.wav")),
)


# -- the caller's voice


def recorded() -> tuple[Line, ...] | None:
    """Return what the caller says as a person has recorded it; None where that could not be fetched."""
    if not all((VOICES / file).is_file() for part in PARTS for file in part.files):
        return None
    return tuple(
        Line(
            f'"{part.words}"',
            joined([load_line(str(VOICES / file)).samples for file in part.files]),
            part.interrupts_after_s,
        )
        for part in PARTS
    )


def joined(words: list[Samples]) -> Samples:
    gap = np.zeros(BETWEEN_WORDS_MS * RATE_HZ // 1000, np.int16)
    return np.concatenate([piece for word in words for piece in (word, gap)][:-1])


async def synthesized() -> tuple[Line, ...]:
    """Return the same, said by the voice that the agent has too, a little different."""
    speaker = local_voice(VoiceOptions())
    await speaker.start()
    lines = []
    try:
        for part in PARTS:
            sounds = [sound async for sound in speaker.speak(part.words, "ash", 1.0)]
            samples = np.frombuffer(b"".join(sound.pcm for sound in sounds), np.int16)
            spoken = resample_whole(samples, sounds[0].rate_hz, RATE_HZ)
            lines.append(Line(f'"{part.words}"', spoken, part.interrupts_after_s))
    finally:
        await speaker.stop()
    return tuple(lines)


def vowels() -> tuple[Line, ...]:
    """Return something that sounds like a voice and says nothing."""
    return tuple(
        Line(f"something ({seconds} s)", voice(seconds * 1000, seed=seconds), part.interrupts_after_s)
        for seconds, part in zip((3, 2, 1), PARTS, strict=True)
    )


def caller_lines(*, talks: bool) -> tuple[Line, ...]:
    """Return what the caller says, and tell with which voice."""
    lines = recorded()
    if lines is not None:
        print("caller        recorded human speech (asterisk-core-sounds-en-wav)")
    elif talks:
        print("caller        a synthesized voice: recorded speech could not be fetched")
        lines = asyncio.run(synthesized())
    else:
        print("caller        a synthesized voice that says nothing in particular: recorded speech could not be fetched")
        lines = vowels()
    return lines


# -- programs in the background


class Background:
    """A program whose output is told as it comes, and kept."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, env=os.environ | (environment or {}), text=True, start_new_session=True
        )
        self.said: list[str] = []

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
                self.said.append(line.rstrip())
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


@contextlib.contextmanager
def patience(what: str) -> Iterator[None]:
    """Show that something goes on, with a dot for every second on a terminal, and how long it took."""
    began = time.monotonic()
    over = threading.Event()

    def dots() -> None:
        while sys.stdout.isatty() and not over.wait(1):
            print(".", end="", flush=True)

    print(f"{what} ...", end="", flush=True)
    shown = threading.Thread(target=dots, daemon=True)
    shown.start()
    try:
        yield
    except BaseException:
        print()
        raise
    finally:
        over.set()
        shown.join()
    print(f" {time.monotonic() - began:.1f} s", flush=True)


def models_of(ready: dict[str, Any]) -> dict[str, Any]:
    """Return what the server says of its models."""
    with urllib.request.urlopen(ready["http"] + "/health", timeout=10) as answer:
        return json.load(answer)["models"]


def tell_models(models: dict[str, Any]) -> None:
    if models["name"] == "scripted":
        print("models        scripted: every turn is answered with a tone of its own, and nobody understands it")
        return
    brain = models["brain"]["name"]
    brain = "the demo brain, a few rules that say so (--llm-url gives a real one)" if brain == "demo" else brain
    print(f"models        hears with {models['ear']['name']}, speaks with {models['voice']['name']}")
    print(f"              thinks with {brain}")


# -- the call


async def call(target: str, lines: tuple[Line, ...], teller: Teller) -> bool:
    """Make the call; return whether the conversation was one."""
    script = Script(lines, listen_first=True)
    failure = None
    async with Phone() as phone:
        teller.begin()
        teller.tell("caller", f"dials {target}")
        made = await phone.dial(target, caller="sip:ada@127.0.0.1")
        try:
            await follow(made, script, teller)
        except CallFailedError as failed:
            failure = str(failed)
        await made.hang_up()
        teller.tell("caller", "hangs up")
        await made.settled()
    recording = made.recording
    figures = summary(made, understand(recording))
    print(f"\nMeasured from the caller's recording:\n\n{table(figures)}\n")
    with contextlib.suppress(OSError):
        RECORDING.parent.mkdir(exist_ok=True)
        RECORDING.write_bytes(write_wav(recording, RATE_HZ))
        print("Hear it: .demo/call.wav (left: what the caller heard, right: what it said)")
    told = complaints(figures, len(lines), failure)
    print(*told, sep="\n", end="\n" if told else "")
    return not told


def complaints(figures: dict[str, Any], spoken: int, failure: str | None) -> list[str]:
    """Return what the recording shows that it should not; nothing when the conversation was one."""
    if failure is not None:
        return [f"The call failed: {failure}"]
    told = []
    if (answered := len(figures["turn_ms"])) < spoken:
        told.append(f"The caller spoke {spoken} times and was answered {answered} times.")
    if not figures["barge_in_ms"]:
        told.append("The caller broke in, and the recording does not show that the agent spoke then.")
    return told


def understood(app: Background) -> bool:
    """Whether the caller's words, among them those of the interruption, did what they ask for."""
    asked = [line for line in app.said if "opening_hours" in line and "Tuesday" in line]
    told = [line for line in app.said if line.startswith("the agent says") and "Tuesday" in line]
    if not asked or not told:
        print("The caller asked for the hours of Tuesday, and was not told them.")
    return bool(asked and told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/demo")
    parser.add_argument("--once", action="store_true", help="end after the call, with a true exit status")
    parser.add_argument(
        "--models",
        choices=("auto", "local", "scripted"),
        default="auto",
        help="local models hear and speak, scripted ones answer with tones; auto is local where they are installed",
    )
    parser.add_argument("--llm-url", metavar="URL", help="an OpenAI-compatible API to think with")
    parser.add_argument("--llm-model", metavar="NAME", help="its model")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended too
    app_port = str(free_port(8000, socket.SOCK_STREAM))
    http, sip = free_port(8080, socket.SOCK_STREAM), free_port(5060, socket.SOCK_DGRAM, socket.SOCK_STREAM)
    brain = [f"--{name}={value}" for name in ("llm-url", "llm-model") if (value := vars(given)[name.replace("-", "_")])]
    server = Background(
        [
            sys.executable, "-m", "offhook", "serve", "--ready-json", "--log-level", "error",
            "--http", f"127.0.0.1:{http}", "--sip", f"127.0.0.1:{sip}",
            "--models", given.models, *brain,
            "--webhook-secret", SECRET, "--webhook-url", f"http://127.0.0.1:{app_port}/",
        ]
    )  # fmt: skip
    app = None
    try:
        with patience("Starting the server and loading its models"):
            ready = json.loads(server.first_line())
        app = Background(
            [sys.executable, str(HERE / "receptionist.py"), "--port", app_port],
            {
                "OPENAI_BASE_URL": ready["http"] + "/v1",
                "OPENAI_API_KEY": ready["api_key"],
                "OPENAI_WEBHOOK_SECRET": SECRET,
            },
        )
        app.first_line()
        target = ready["sip"].replace("sip:", "sip:clinic@")
        models = models_of(ready)
        print(f"\nserver        {ready['http']}/v1 and {ready['sip']}")
        tell_models(models)
        print("application   examples/receptionist.py, on the official openai package")
        talks = models["name"] != "scripted"
        lines = caller_lines(talks=talks)
        print()
        teller = Teller(lambda text: print(text, end="", flush=True), Paper.of(sys.stdout))
        app.tell(teller, "application")
        good = asyncio.run(call(target, lines, teller))
        if talks and not brain:
            good = understood(app) and good
        print("The call went well." if good else "The call did not go as it should.")
        if given.once:
            return 0 if good else 1
        print(f"\nThe server stays up. Call it with a softphone: {target} (no account, no password).")
        print(f"Or from a terminal: .venv/bin/offhook call {target} --say YOUR.wav --hear heard.wav")
        print("^C ends it.", flush=True)
        app.process.wait()
    except KeyboardInterrupt:
        print()
    except OffhookError as problem:
        print(f"The demonstration ended: {problem}")
        return 1
    finally:
        if app is not None:
            app.stop()
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
