"""S13: how long the server takes to be ready, what that costs, and what it weighs idle.

    python bench/start.py [--starts 10]

From the start of the process to its ``--ready-json`` line, Silero loaded. Beside it Python's own start.
"""

from __future__ import annotations

import sys
import time

from harness import SERVER_CORE, Process, Server, Table, median, options


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, starts=10)
    table = Table(f"S13: {args.starts} starts on one core")
    ready, cpu, rss, pss, bare = [], [], [], [], []
    with Server():
        print("modules are compiled", file=sys.stderr)
    for _ in range(args.starts):
        began = time.monotonic()
        with Process([sys.executable, "-c", "print()"], SERVER_CORE) as python:
            python.line()
            bare.append(time.monotonic() - began)
        began = time.monotonic()
        with Server() as server:
            ready.append(time.monotonic() - began)
            cpu.append(server.cpu_s())
            time.sleep(1)
            memory = server.memory_kb()
            rss.append(memory["Rss"] / 1024)
            pss.append(memory["Pss"] / 1024)
    beside = f"{min(ready):.2f} to {max(ready):.2f}; bare Python {median(bare):.2f}"
    table.add("S13 ready after, median", median(ready), 0.6, "s", beside=beside)
    table.add("S13 processor time until then", median(cpu), None, "s")
    table.add("idle memory, RSS", median(rss), 100, "MB")
    table.add("idle memory, PSS", median(pss), 100, "MB")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
