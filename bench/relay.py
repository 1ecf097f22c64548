"""S12: calls whose model is an upstream realtime socket: CPU of a call here, and what the way adds to an answer.

    python bench/relay.py [--calls 100] [--seconds 30] [--rounds 1]

The callers are those of ``voice.py``. Upstream is ``upstream.py``, whose answers are made beforehand: with a real model
on the callers' core the callers would be late. Each round has the same conversations once with the scripted model in
the server itself, which answers at once too: the delay that is added is the difference of the answers' times. How late
upstream was by itself is shown and makes a run invalid as the callers' lateness does.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np

from harness import BENCH, LOAD_CORE, ONSET_MS, ROOT, Process, Server, Table, median, options
from talk import percentile
from voice import Talk, talk

FLAGS = ("--vad-onset-ms", str(ONSET_MS))


class Upstream(Process):
    """``upstream.py``."""

    def __init__(self) -> None:
        command = [sys.executable, str(BENCH / "upstream.py")]
        super().__init__(command, LOAD_CORE, {"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"})
        self.url = f"ws://127.0.0.1:{self.line().strip()}"

    def report(self) -> dict[str, Any]:
        """What it did since it was asked last."""
        assert self.popen.stdin is not None
        self.popen.stdin.write("report\n")
        self.popen.stdin.flush()
        return dict(json.loads(self.line()))


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=100, seconds=30, rounds=1)
    table = Table(f"S12: {args.calls} conversations that are relayed, {args.seconds} s")
    direct: list[Talk] = []
    relayed: list[Talk] = []
    upstream_core: list[float] = []
    upstream_late_ms: list[float] = []
    with Upstream() as upstream, Server(*FLAGS) as alone, Server(*FLAGS, "--relay-url", upstream.url) as relay:
        for _ in range(args.rounds):
            direct.append(talk(alone, args.calls, args.seconds))
            time.sleep(1)
            upstream.report()
            began, cpu_s = time.monotonic(), upstream.cpu_s()
            relayed.append(talk(relay, args.calls, args.seconds))
            upstream_core.append((upstream.cpu_s() - cpu_s) / (time.monotonic() - began) * 100)
            upstream_late_ms.append(upstream.report()["late_p99_ms"])
            time.sleep(1)
        lost = relay.health()["models"]["lost"]
    if lost:
        table.invalid.append(f"{lost} connections to the upstream were lost")
    for run in direct + relayed:
        table.check({"late_p99_ms": run.late_ms})
    for late_ms in upstream_late_ms:
        table.check({"late_p99_ms": late_ms})
    before = np.concatenate([run.heard.turns for run in direct])
    turns = np.concatenate([run.heard.turns for run in relayed])
    own, whole = (median(run.cpu_share for run in runs) for runs in (direct, relayed))
    table.add("CPU of a relayed call", whole, 0.25, "%", beside=f"{own:.3f} without")
    table.add("   the relay's part of it", whole - own, None, "%")
    for share, bar in ((50, None), (99, 10)):
        took, took_before = percentile(turns, share), percentile(before, share)
        beside = f"{took:.0f} of {len(turns)} turns, {took_before:.0f} without"
        table.add(f"delay that is added to an answer, p{share}", took - took_before, bar, "ms", beside=beside)
    table.add("turns without an answer", sum(run.heard.missed_turns for run in relayed), 0)
    table.add("interruptions not obeyed", sum(run.heard.missed_barges for run in relayed), 0)
    table.add("memory of a call (RSS)", relayed[0].mb, None, "MB", beside=f"{direct[0].mb:.2f} without")
    table.add("generator's lateness p99", max(run.late_ms for run in direct + relayed), 10, "ms")
    table.add("upstream's lateness p99", max(upstream_late_ms), 10, "ms")
    table.add("upstream's share of the callers' core", median(upstream_core), None, "%")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
