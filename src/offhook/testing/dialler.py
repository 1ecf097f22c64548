"""``offhook call``: a SIP caller in a terminal. It speaks, listens, measures, and ends with a summary."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import get_terminal_size, which
from typing import Any, Final, TextIO

import numpy as np

from offhook.audio.pcm import Samples, from_bytes
from offhook.audio.resample import resample_whole
from offhook.audio.wav import read_wav, write_wav
from offhook.errors import LocalError
from offhook.model.local.voices import assets
from offhook.testing.hearing import Conversation, understand
from offhook.testing.ladder import printable, sip_summary
from offhook.testing.phone import RATE_HZ, CallFailedError, Phone, PhoneCall

# The other side has said what it wanted to say when it was silent for so long.
ANSWERED_MS: Final = 700
# It is known, and told, when that time is over.
SILENT: Final = f"has been silent for {ANSWERED_MS / 1000:g} s"
# A person does not speak the moment the line opens.
BREATH_S: Final = 0.3
PATIENCE_S: Final = 30.0
WHO_WIDTH: Final = 12
# A terminal narrower than this wraps by itself.
LEAST_ROOM: Final = 20
PLAIN: Final = "\x1b[0m"
DIM: Final = "\x1b[2m"
COLOURS: Final = {"caller": "\x1b[36m", "agent": "\x1b[32m", "application": "\x1b[33m"}


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say, and what to call it.

    ``interrupts_after_s``: it is said into the answer to the line before it, so long after that has begun; None waits
    for its end.
    """

    name: str
    samples: Samples
    interrupts_after_s: float | None = None

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE_HZ


def load_line(text: str) -> Line:
    """Return a WAV file, or a text spoken by the voice of ``offhook[local]``, else by espeak-ng. Raises LocalError."""
    path = Path(text).expanduser()
    if path.suffix.lower() == ".wav" or path.is_file():
        try:
            data = path.read_bytes()
        except OSError as failure:
            raise LocalError(f"cannot read {path}: {failure.strerror}") from None
        return Line(path.name, _at_8_khz(data))
    return Line(f'"{text}"', _spoken(text))


def _spoken(text: str) -> Samples:
    if assets.is_installed():
        from offhook.model.local.voices.speaker import Speaker  # and with it the packages of offhook[local]

        pieces = [resample_whole(from_bytes(each.pcm), each.rate_hz, RATE_HZ) for each in Speaker().speak(text)]
        return np.concatenate([np.zeros(0, np.int16), *pieces])
    espeak = which("espeak-ng")
    if espeak is None:
        raise LocalError(
            f"there is no voice to say '{text}': {assets.INSTALL}, or install espeak-ng, or give a WAV file"
        )
    return _at_8_khz(subprocess.run([espeak, "--stdout", "--", text], check=True, capture_output=True).stdout)  # noqa: S603 - no shell


def _at_8_khz(data: bytes) -> Samples:
    wav = read_wav(data)
    return resample_whole(wav.mono, wav.rate_hz, RATE_HZ)


@dataclass(frozen=True, slots=True)
class Script:
    """What the caller does: say these, one after or into each answer, then hang up.

    ``listen_first``: wait until the other side has said something before the first line.
    """

    lines: tuple[Line, ...]
    listen_first: bool = False
    keys: str | None = None
    hang_up_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Paper:
    """What is written on: so many columns (0 for any number), in colours or not."""

    columns: int = 0
    coloured: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Paper:
        """A terminal has a width, and colours unless NO_COLOR is set; a file takes lines of any length, as they are."""
        if not stream.isatty():
            return cls()
        coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(get_terminal_size().columns, coloured)


class Teller:
    """Prints what happens, with the time since the call was dialled."""

    def __init__(self, write: Callable[[str], Any], paper: Paper = Paper()) -> None:
        self._write = write
        self._paper = paper
        self._began = time.monotonic()

    def begin(self) -> None:
        """The call is being dialled now."""
        self._began = time.monotonic()

    def tell(self, who: str, what: str) -> None:
        """Somebody did something."""
        seconds = time.monotonic() - self._began
        self._write(entry(f"{seconds:8.3f} s  ", who, what, self._paper))

    def sip(self, data: bytes, incoming: bool) -> None:
        """A SIP message came in, or went out."""
        self.tell("caller <---" if incoming else "caller --->", sip_summary(data))


def entry(when: str, who: str, what: str, paper: Paper) -> str:
    """Return the lines that say it; what goes on is below where it began."""
    margin = len(when) + WHO_WIDTH + 1
    room = paper.columns - margin
    text = printable(" ".join(what.splitlines()))
    lines = textwrap.wrap(text, room) if room >= LEAST_ROOM else [text]
    name = f"{who:<{WHO_WIDTH}}"
    if paper.coloured and (colour := COLOURS.get(who.split(maxsplit=1)[0])):
        when, name = f"{DIM}{when}{PLAIN}", f"{colour}{name}{PLAIN}"
    return f"{when}{name} " + f"\n{' ' * margin}".join(lines or [""]) + "\n"


async def follow(call: PhoneCall, script: Script, teller: Teller) -> None:
    """Speak and listen as the script says, until it is done or the call ends. Raises CallFailedError."""
    await call.answered()
    answered_at = time.monotonic()
    teller.tell("caller", "hears that somebody picks up")
    if script.keys:
        call.press(script.keys)
        teller.tell("caller", f"presses {script.keys}")
        await call.pressed()
    if script.listen_first:
        await call.hears_sound(PATIENCE_S)
        teller.tell("agent", "speaks")
        await call.hears_silence(ANSWERED_MS, PATIENCE_S)
        teller.tell("agent", SILENT)
    await asyncio.sleep(BREATH_S)
    for index, line in enumerate(script.lines):
        following = script.lines[index + 1] if index + 1 < len(script.lines) else None
        teller.tell("caller", f"says {line.name} ({line.seconds:.1f} s)")
        await call.say(line.samples)
        teller.tell("caller", "is silent")
        await call.hears_sound(PATIENCE_S)
        teller.tell("agent", "answers")
        if following is not None and following.interrupts_after_s is not None:
            await asyncio.sleep(following.interrupts_after_s)
            teller.tell("caller", "interrupts")
            continue
        await call.hears_silence(ANSWERED_MS, PATIENCE_S)
        teller.tell("agent", SILENT)
    if script.hang_up_after_s is not None:
        left_s = answered_at + script.hang_up_after_s - time.monotonic()
        if left_s > 0 and call.end is None:
            try:
                await call.ended(left_s)
            except TimeoutError:
                pass


def summary(call: PhoneCall, conversation: Conversation) -> dict[str, Any]:
    """Return the figures of a call; times in milliseconds."""
    stats = call.stats
    answer_ms = None if call.answered_at is None else round((call.answered_at - call.dialled_at) * 1000, 1)
    gaps = [each.longest_gap_ms for each in conversation.heard]
    return {
        "end": None if call.end is None else {"by": call.end.by, "status": call.end.status, "reason": call.end.reason},
        "time_to_answer_ms": answer_ms,
        "first_audio_ms": conversation.first_heard_ms,
        "turn_ms": [turn.delay_ms for turn in conversation.turns],
        "barge_in_ms": [barge_in.delay_ms for barge_in in conversation.barge_ins],
        "heard_s": round(sum(each.end_ms - each.start_ms for each in conversation.heard) / 1000, 2),
        "said_s": round(sum(each.end_ms - each.start_ms for each in conversation.said) / 1000, 2),
        "longest_gap_ms": max(gaps, default=0),
        "packets_received": stats.received if stats else None,
        "packets_lost": stats.lost if stats else None,
        "jitter_ms": round(stats.jitter_ms, 2) if stats else None,
        "keys_heard": call.keys_heard,
    }


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""

    def times(values: list[int]) -> str:
        return ", ".join(f"{value} ms" for value in values) or "-"

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"

    end = figures["end"] or {"by": "nobody", "reason": "it goes on"}
    rows = [
        ("ended by", f"{end['by']} ({printable(end['reason'])})"),
        ("time to answer", ms(figures["time_to_answer_ms"])),
        ("first audio after the answer", ms(figures["first_audio_ms"])),
        ("answers, after the caller's last sound", times(figures["turn_ms"])),
        ("silence, after the caller interrupts", times(figures["barge_in_ms"])),
        ("heard / said", f"{figures['heard_s']:.1f} s / {figures['said_s']:.1f} s"),
        ("longest pause while the agent speaks", f"{figures['longest_gap_ms']} ms"),
        ("packets received / lost", f"{figures['packets_received']} / {figures['packets_lost']}"),
        ("jitter", ms(figures["jitter_ms"])),
    ]
    if figures["keys_heard"]:
        rows.append(("keys heard", figures["keys_heard"]))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def place_call(arguments: argparse.Namespace) -> int:
    """Make the call that the command line asks for; the exit status is 0 when it was answered and ended well."""
    lines = tuple(
        replace(load_line(text), interrupts_after_s=arguments.interrupt_after) for text in arguments.say or ()
    )
    script = Script(
        lines,
        listen_first=arguments.listen_first,
        keys=arguments.dtmf,
        hang_up_after_s=arguments.hangup_after,
    )
    return asyncio.run(_place(arguments, script))


async def _place(arguments: argparse.Namespace, script: Script) -> int:
    quiet = arguments.json
    teller = Teller((lambda _: None) if quiet else sys.stdout.write, Paper.of(sys.stdout))
    headers = [_header(text) for text in arguments.header or ()]
    failure: str | None = None
    async with Phone(host=arguments.bind or None) as phone:
        phone.watch = teller.sip
        teller.begin()
        teller.tell("caller", f"dials {arguments.target}")
        call = await phone.dial(
            arguments.target,
            caller=arguments.caller,
            headers=headers,
            transport="TCP" if arguments.tcp else "UDP",
        )
        try:
            await follow(call, script, teller)
        except (CallFailedError, LocalError) as failed:
            failure = str(failed)
            teller.tell("call", f"failed: {failure}")
        await call.hang_up()
        teller.tell("caller", "hangs up" if call.end is None or call.end.by == "us" else "hears that the line is dead")
        await call.settled()
    recording = call.recording
    figures = summary(call, understand(recording))
    if arguments.hear is not None:
        arguments.hear.write_bytes(write_wav(recording, RATE_HZ))
    sys.stdout.write(json.dumps(figures) + "\n" if quiet else f"\n{table(figures)}\n")
    return 0 if failure is None else 1


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise LocalError(f"'{text}' is not a header: write it as 'Name: value'")
    return name.strip(), value.strip()
