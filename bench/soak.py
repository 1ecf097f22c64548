"""S16: many short calls, and then nothing may be left of them.

    python bench/soak.py [--calls 10000] [--batch 1000] [--rate 100]

Calls are set up and ended in batches, 100 a second, and the server is looked at between them: memory, descriptors,
threads, ports. The last 1,000 ended calls are remembered by design; the growth that counts begins after them. A debug
socket would see tasks; here the wrapper ``counting_server.py`` answers with their number on SIGUSR1.

The rate matters for the memory: RFC 3261 keeps the transactions of an ended call for 32 s, which is 1.3 KB a call, and
the interpreter seldom gives its heap back. ``--rate 0`` sets up 8 calls at a time as fast as they go.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from harness import BENCH, Server, Table, call, options

REST_S = 6.5  # Ports rest five seconds after a call.
SETTLE_S = 34.0  # Timer J and its like: 64*T1.


def state(server: Server) -> dict[str, int]:
    """What the server holds now."""
    os.kill(server.pid, signal.SIGUSR1)
    tasks, timers, objects = (int(word) for word in server.line().split())
    health = server.health()
    return {
        "fds": len(list(Path(f"/proc/{server.pid}/fd").iterdir())),
        "threads": len(list(Path(f"/proc/{server.pid}/task").iterdir())),
        "ports": health["rtp_ports"]["in_use"],
        "calls": health["calls"]["active"],
        "rss_kb": server.memory_kb()["Rss"],
        "tasks": tasks,
        "timers": timers,
        "objects": objects,
    }


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=10_000, batch=1000, rate=100)
    load = {"parallel": 200, "rate": args.rate} if args.rate else {"parallel": 8}
    table = Table(f"S16: {args.calls:,} short calls, {args.rate or 'as many as go'} a second")
    failed = 0
    with Server("--rtp-ports", "10000-39999", entry=(str(BENCH / "counting_server.py"),)) as server:
        call(server.sip_port, calls=20, parallel=4)
        time.sleep(REST_S)
        start = state(server)
        seen = []
        for _ in range(args.calls // args.batch):
            result = call(server.sip_port, calls=args.batch, **load)
            failed += result["failed"] + result["refused"]
            time.sleep(0.5)
            seen.append(state(server))
            print(seen[-1], file=sys.stderr)
        time.sleep(SETTLE_S)
        end = state(server)
        print(end, file=sys.stderr)
    table.add("calls that failed", failed, 0)
    for name in ("fds", "threads", "ports", "tasks", "timers", "calls"):
        table.add(f"{name} left behind", end[name] - start[name], 0, beside=f"{start[name]} before")
    table.add("objects left behind, after call 1,000", end["objects"] - seen[0]["objects"], None)
    growth = (end["rss_kb"] - seen[0]["rss_kb"]) / 1024
    table.add("RSS growth after call 1,000", growth, 5, "MB", beside=f"{seen[0]['rss_kb'] / 1024:.0f} MB then")
    table.add("RSS growth from the start", (end["rss_kb"] - start["rss_kb"]) / 1024, None, "MB")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
