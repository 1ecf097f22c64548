"""S1, S3, S4, S5 and S6: conversations, with voice detection on and a model that costs nothing.

    python bench/voice.py [--calls 100] [--seconds 60] [--rounds 1]

Each caller says 2.6 s, waits for the answer, and speaks again one second into it, which interrupts it; and so on. The
server waits for 200 ms of silence and needs 200 ms of speech; the figures are what it adds to them. Arrival times are
the kernel's on the callers' side.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

from harness import ONSET_MS, Caller, Server, Table, median, options, scratch
from talk import Heard, evaluate, percentile, speech_file

# The calls are up and have all had their first turn by then.
SETTLE_S = 6


@dataclass(slots=True)
class Talk:
    """One run: cost and memory a call, and what callers heard."""

    cpu_share: float
    cpu_core: float
    mb: float
    pss_mb: float
    heard: Heard
    late_ms: float
    own_share: float
    refused: int
    media: dict[str, float]


def talk(server: Server, calls: int, seconds: float) -> Talk:
    """Let so many callers talk for so long."""
    dump = scratch() / "talk.bin"
    before = server.memory_kb()
    caller = Caller(
        server.sip_port, calls=calls, parallel=calls, hold=seconds + SETTLE_S, rate=max(calls / 3, 20),
        talk=speech_file(), dump=dump, start_gap=2.5,
    )  # fmt: skip
    time.sleep(SETTLE_S)
    began, cpu_s, own_s = time.monotonic(), server.cpu_s(), caller.cpu_s()
    time.sleep(seconds - 2)
    spent_s, own_spent_s = server.cpu_s() - cpu_s, caller.cpu_s() - own_s
    took_s = time.monotonic() - began
    during = server.memory_kb()
    health = server.health()
    result = caller.result()
    heard = evaluate(dump, after_s=SETTLE_S - 3)
    dump.unlink()
    answered = max(result["answered"], 1)
    return Talk(
        cpu_share=spent_s / took_s * 100 / answered,
        cpu_core=spent_s / took_s * 100,
        mb=(during["Rss"] - before["Rss"]) / 1024 / answered,
        pss_mb=(during["Pss"] - before["Pss"]) / 1024 / answered,
        heard=heard,
        late_ms=result["late_p99_ms"],
        own_share=own_spent_s / took_s * 100,
        refused=result["refused"],
        media=health["media"],
    )


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=100, seconds=60, rounds=1)
    table = Table(f"S1, S3 to S6: {args.calls} conversations on one core, {args.seconds} s")
    with Server("--vad-onset-ms", str(ONSET_MS)) as server:
        base = server.memory_kb()
        runs = []
        for number in range(args.rounds):
            runs.append(run := talk(server, args.calls, args.seconds))
            table.check({"late_p99_ms": run.late_ms})
            print(f"round {number + 1}: {run.cpu_share:.3f} % a call, media {run.media}", file=sys.stderr)
            time.sleep(1)
    turns = np.concatenate([run.heard.turns for run in runs])
    barges = np.concatenate([run.heard.barges for run in runs])
    quiet = np.concatenate([run.heard.quiet for run in runs])
    gaps = np.concatenate([run.heard.gaps for run in runs])
    core = median(run.cpu_core for run in runs)
    table.add("S1 CPU of a call", median(run.cpu_share for run in runs), 0.45, "%", beside=f"{core:.0f} % of the core")
    # Later rounds find what the first one left: the first is what a call adds.
    table.add("S3 memory of a call (RSS)", runs[0].mb, 0.3, "MB", beside=f"PSS {runs[0].pss_mb:.2f}")
    table.add("S3 memory of the server before", base["Rss"] / 1024, 100, "MB", beside=f"PSS {base['Pss'] / 1024:.0f}")
    table.add("S4 answer after the silence, p50", percentile(turns, 50), 35, "ms", beside=f"{len(turns)} turns")
    table.add("S4 answer after the silence, p99", percentile(turns, 99), 90, "ms", beside=f"most {turns.max():.0f}")
    table.add("S4 turns without an answer", sum(run.heard.missed_turns for run in runs), 0)
    table.add("S5 agent stops after the onset, p50", percentile(barges, 50), 15, "ms", beside=f"{len(barges)} times")
    table.add(
        "S5 agent stops after the onset, p99", percentile(barges, 99), 45, "ms", beside=f"most {barges.max():.0f}"
    )
    table.add("   first silent packet instead, p50", percentile(quiet, 50), None, "ms")
    table.add("   first silent packet instead, p99", percentile(quiet, 99), None, "ms")
    table.add("S5 interruptions not obeyed", sum(run.heard.missed_barges for run in runs), 0)
    table.add("S6 spacing of packets, p99", percentile(gaps, 99), 25, "ms", beside=f"most {gaps.max():.0f}")
    table.add("S6 jitter (RFC 3550), p99 of calls", max(run.heard.jitter_ms for run in runs), 2, "ms")
    packets = sum(run.heard.packets for run in runs)
    table.add("S6 packets lost", sum(run.heard.lost for run in runs), 0, beside=f"of {packets:,}")
    table.add("calls refused", sum(run.refused for run in runs), 0)
    table.add("generator's lateness p99", max(run.late_ms for run in runs), 10, "ms")
    table.add("generator's core", median(run.own_share for run in runs), None, "%")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
