"""Whole conversations with the local models: how long a caller waits for the answer, and for silence when interrupting.

    python bench/conversation.py [--callers 1,8,16] [--seconds 60] [--interruptions 30] [--workers 0] [--show]

Callers are telephones in this process, on real SIP and RTP; what they say is recorded human speech (Debian's Asterisk
prompts, fetched when they are not here), 1.5 to 8 s of it, every 3 to 6 s. The server runs as it is installed: two
cores, ``--models local``, ``silence_duration_ms`` 500, and for a brain a chat endpoint here that answers the same at
once. Times are read from each caller's stereo recording: the caller's last sound to the agent's first, less the
configured silence and a round trip to that brain; the caller's first sound to the agent's last.
"""

# ruff: noqa: E402 - the project is found first

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "src"), str(Path(__file__).resolve().parents[1])]

import numpy as np
from tests.recorded import MISSING, Recording, errors, fetch, recordings
from tests.socket.model_server import ModelHost, Received, Reply, serve

from harness import CORES, Server, Table, options, session_file
from offhook.testing.hearing import BargeIn, Turn, find_utterances
from offhook.testing.phone import CallFailedError, Phone
from talk import percentile

SILENCE_MS = 500
LEAST_MS, MOST_MS = 1500, 8000
PAUSE_MS = 380
"""Clips with longer pauses are left out: they would be two turns."""
PACKETS_MS = 40
"""In a telephone's recording a packet begins when it is sent and ends when it has come: from the moment in which the
last one was sent to that in which the first one came it is a packet more on either side."""
SHORT = "All right, I have made a note of that."
LONG = " ".join(f"This is sentence number {number} of a very long answer that somebody will interrupt." for number in (
    "one", "two", "three", "four", "five", "six", "seven", "eight"))  # fmt: skip
SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "audio": {
        "input": {
            "transcription": {"model": "whisper-1"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": SILENCE_MS},
        }
    },
}


@dataclass
class Brain:
    """Answers the same at once, and keeps what it was asked."""

    text: str = SHORT
    heard: list[str] = field(default_factory=list)

    def answer(self, received: Received) -> Reply:
        """Stream the answer."""
        messages: Any = received.json.get("messages", [])
        self.heard.append(str(messages[-1].get("content", "")) if messages else "")
        chunks = [{"choices": [{"index": 0, "delta": {"content": self.text}, "finish_reason": None}]}]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        return Reply([f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"])

    def words_wrong(self, clips: list[Recording]) -> tuple[int, int]:
        """How many words of what it was asked are wrong, and of how many; each is of the clip that it is nearest to."""
        judged = [min((errors(heard, clip.words) for clip in clips), key=lambda each: each[0]) for heard in self.heard]
        return sum(wrong for wrong, _ in judged), sum(words for _, words in judged)


async def round_trip_ms(host: ModelHost) -> float:
    """A question to the brain by itself, over a connection that stands."""
    name, port = host.url.removeprefix("http://").removesuffix("/v1").split(":")
    reader, writer = await asyncio.open_connection(name, int(port))
    taken = []
    for _ in range(50):
        began = time.perf_counter()
        writer.write(b"POST /v1 HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
        await reader.readuntil(b"0\r\n\r\n")
        taken.append((time.perf_counter() - began) * 1000)
    writer.close()
    await writer.wait_closed()
    return statistics.median(taken)


def clips() -> list[Recording]:
    """What callers say: single turns, from the first sound to the last."""
    found = []
    for clip in recordings(200):
        said = find_utterances(clip.samples, bridge_ms=PAUSE_MS)
        if len(said) == 1 and LEAST_MS <= said[0].end_ms - said[0].start_ms <= MOST_MS:
            found.append(Recording(clip.name, clip.words, clip.samples[said[0].start_ms * 8 : said[0].end_ms * 8]))
    return found


@dataclass
class Talk:
    """What callers found."""

    said: int = 0
    turns: list[Turn] = field(default_factory=list)
    barge_ins: list[BargeIn] = field(default_factory=list)
    lost_calls: int = 0
    refused: int = 0

    def waits_ms(self) -> list[float]:
        """What each answer took beyond the silence."""
        return [float(turn.delay_ms - SILENCE_MS) for turn in self.turns]


async def speak(phone: Phone, target: str, said: list[Recording], seconds: float, chance: random.Random) -> Talk:
    """Say something every few seconds, whatever the agent does."""
    await asyncio.sleep(chance.uniform(0, 4))
    call = await phone.dial(target)
    talk = Talk()
    try:
        await call.answered()
    except CallFailedError:
        talk.refused += 1
        return talk
    await asyncio.sleep(0.5)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await call.say(chance.choice(said).samples)
        talk.said += 1
        await asyncio.sleep(chance.uniform(3, 6))
    heard = call.conversation()
    talk.turns += heard.turns
    talk.lost_calls += call.end is not None
    await call.hang_up()
    return talk


async def interrupt(phone: Phone, target: str, said: list[Recording], times: int, chance: random.Random) -> Talk:
    """Wait for the agent to speak, and speak."""
    call = await phone.dial(target)
    await call.answered()
    await asyncio.sleep(0.5)
    talk = Talk(said=times)
    await call.say(chance.choice(said).samples)
    for _ in range(times):
        await call.hears_sound(within_s=20)
        await asyncio.sleep(chance.uniform(0.6, 2.5))
        await call.say(chance.choice(said).samples)
    await asyncio.sleep(1)
    talk.barge_ins += call.conversation().barge_ins
    await call.hang_up()
    return talk


def joined(talks: list[Talk]) -> Talk:
    """All callers together."""
    total = Talk()
    for talk in talks:
        total.said += talk.said
        total.turns += talk.turns
        total.barge_ins += talk.barge_ins
        total.lost_calls += talk.lost_calls
        total.refused += talk.refused
    return total


async def many(server: Server, args: Any, said: list[Recording], callers: int) -> tuple[Talk, float]:
    """Let so many callers talk; return what they found, and how late the telephones' own sound was."""
    async with Phone(host="127.0.0.1") as phone:
        target = f"sip:agent@127.0.0.1:{server.sip_port}"
        ways = [speak(phone, target, said, args.seconds, random.Random(number)) for number in range(callers)]
        talk = joined(list(await asyncio.gather(*ways)))
        return talk, phone.plane.load().late_p99_ms


def show_turns(table: Table, callers: int, talk: Talk, brain_ms: float, base_ms: float) -> float:
    """Add the rows of a number of callers; return the 90th percentile."""
    waits = np.array(talk.waits_ms()) - brain_ms
    name = f"{callers} caller{'s' if callers > 1 else ''}: answer beyond the silence and the brain"
    more = {1: (90.0, 130.0), 8: (None, base_ms + 100), 16: (None, base_ms + 300)}.get(callers, (None, None))
    table.add(f"{name}, p50", percentile(waits, 50), more[0], "ms", beside=f"{len(waits)} turns")
    table.add(f"{name}, p90", percentile(waits, 90), more[1], "ms", beside=f"p99 {percentile(waits, 99):.0f}")
    table.add(
        f"{callers}: the same from last packet to first packet, p50", percentile(waits, 50) + PACKETS_MS, None, "ms"
    )
    table.add(f"{callers}: turns without an answer", talk.said - len(talk.turns), 0, beside=f"of {talk.said}")
    table.add(f"{callers}: calls refused or broken off", talk.refused + talk.lost_calls, 0)
    return percentile(waits, 90)


async def measure(args: Any, table: Table) -> None:
    """Start a server, and let callers talk to it."""
    said = clips()
    if not said:
        sys.exit(MISSING)
    brain = Brain()
    async with serve(brain.answer) as host:
        brain_ms = await round_trip_ms(host)
        flags = ["--models", "local", "--llm-url", host.url, "--stt-workers", str(args.workers)]
        with await asyncio.to_thread(lambda: Server(*flags, core=None)):
            print("modules are compiled", file=sys.stderr)
        began = time.monotonic()
        with await asyncio.to_thread(
            lambda: Server(*flags, answer=f"always:{session_file(SESSION)}", core=None)
        ) as server:
            table.add("ready after", time.monotonic() - began, 3, "s", beside="the server and its models")
            await asyncio.sleep(2)
            idle = server.memory_kb(family=True)
            processes = len(server.family())
            table.add("idle memory of all processes, RSS", idle["Rss"] / 1024, 500, "MB",
                      beside=f"PSS {idle['Pss'] / 1024:.0f} MB, {processes} processes")  # fmt: skip
            table.add("the brain's own time", brain_ms, None, "ms", beside="a round trip to it")
            base_ms = 130.0
            for callers in map(int, str(args.callers).split(",")):
                brain.heard.clear()
                before = server.health()
                talk, late_ms = await many(server, args, said, callers)
                table.check({"late_p99_ms": late_ms})
                last = show_turns(table, callers, talk, brain_ms, base_ms)
                base_ms = last if callers == 1 else base_ms
                wrong, words = brain.words_wrong(said)
                table.add(f"{callers}: words wrong at the brain", 100 * wrong / max(words, 1), None, "%",
                          beside=f"{len(brain.heard)} turns")  # fmt: skip
                work(before, server.health())
                if args.show:
                    print(sorted(map(int, talk.waits_ms())), file=sys.stderr)
            if args.interruptions:
                brain.text = LONG
                async with Phone(host="127.0.0.1") as phone:
                    target = f"sip:agent@127.0.0.1:{server.sip_port}"
                    talk = await interrupt(phone, target, said, args.interruptions, random.Random(1))
                delays = [barge.delay_ms for barge in talk.barge_ins]
                beside = f"{len(delays)} of {talk.said} fell into speech"
                table.add("interruption: onset to the agent's last sound, p50", percentile(delays, 50), 150, "ms",
                          beside=beside)  # fmt: skip
                table.add("interruption: p99", percentile(delays, 99), 250, "ms", beside=f"most {max(delays)}")


def work(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Print what the ear did."""
    one, two = (health["models"]["ear"] for health in (before, after))
    print({name: two[name] - one[name] for name in ("finished", "cancelled", "refused", "failed", "died")},
          f"queue_wait_ms {two['queue_wait_ms']}", after["media"], file=sys.stderr)  # fmt: skip


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, callers="1,8,16", seconds=60, interruptions=30, workers=0, show=False)
    fetch()
    table = Table(f"Conversations with local models on {len(CORES)} cores, {args.seconds} s each")
    asyncio.run(measure(args, table))
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
