"""S12: calls whose model is an upstream realtime socket: CPU of a call here, and what the way adds to an answer.

    python bench/relay.py [--calls 100] [--seconds 30] [--rounds 1]

The callers are those of ``voice.py``. Upstream is another offhook, a process of its own on the callers' core, with the
scripted model. Each round has the same conversations once with that model in the server itself: the delay that is added
is the difference of the answers' times, upstream's own share included.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from harness import LOAD_CORE, ONSET_MS, Server, Table, median, options
from talk import percentile
from voice import Talk, talk

KEY = "sk-bench"
FLAGS = ("--vad-onset-ms", str(ONSET_MS))


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=100, seconds=30, rounds=1)
    table = Table(f"S12: {args.calls} conversations that are relayed, {args.seconds} s")
    direct: list[Talk] = []
    relayed: list[Talk] = []
    upstream_core: list[float] = []
    with (
        Server("--api-key", KEY, core=LOAD_CORE) as upstream,
        Server(*FLAGS) as alone,
        Server(
            *FLAGS, "--relay-url", upstream.ready["http"], "--relay-dialect", "offhook", "--relay-key", KEY
        ) as relay,
    ):
        for _ in range(args.rounds):
            direct.append(talk(alone, args.calls, args.seconds))
            time.sleep(1)
            began, cpu_s = time.monotonic(), upstream.cpu_s()
            relayed.append(talk(relay, args.calls, args.seconds))
            upstream_core.append((upstream.cpu_s() - cpu_s) / (time.monotonic() - began) * 100)
            time.sleep(1)
        lost = relay.health()["models"]["lost"]
    if lost:
        table.invalid.append(f"{lost} connections were refused by the upstream, which had too much to do, or lost")
    for run in direct + relayed:
        table.check({"late_p99_ms": run.late_ms})
    before = np.concatenate([run.heard.turns for run in direct])
    turns = np.concatenate([run.heard.turns for run in relayed])
    own = median(run.cpu_share for run in direct)
    table.add("CPU of a relayed call", median(run.cpu_share for run in relayed), 0.25, "%", beside=f"{own:.3f} without")
    for share, bar in ((50, None), (99, 10)):
        took, took_before = percentile(turns, share), percentile(before, share)
        beside = f"{took:.0f} of {len(turns)} turns, {took_before:.0f} without"
        table.add(f"delay that is added to an answer, p{share}", took - took_before, bar, "ms", beside=beside)
    table.add("turns without an answer", sum(run.heard.missed_turns for run in relayed), 0)
    table.add("interruptions not obeyed", sum(run.heard.missed_barges for run in relayed), 0)
    table.add("memory of a call (RSS)", relayed[0].mb, None, "MB", beside=f"{direct[0].mb:.2f} without")
    table.add("upstream's share of the callers' core", median(upstream_core), None, "%")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
