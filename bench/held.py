"""Calls that are only held, without media, and calls over a bad network.

    python bench/held.py [--calls 2000] [--lossy 400]

2,000 calls stand whose callers want no sound either way (``a=inactive``): what each weighs in the whole server, and in
the SIP agent alone. Then 400 calls of which the network drops 15 % of all datagrams, each way: all have to come about
and end well.
"""

from __future__ import annotations

import subprocess
import sys
import time

from harness import BENCH, ROOT, SERVER_CORE, Caller, Server, Table, call, options


def held(server: Server, calls: int) -> tuple[float, float, float, float]:
    """Set calls up and hold them; returns KB a call (RSS and PSS), the share of the core, and how many stand."""
    call(server.sip_port, calls=300, parallel=8)
    time.sleep(6)
    before = server.memory_kb()
    callers, up, deadline = [], 0, time.monotonic() + 90
    while up < calls and time.monotonic() < deadline:
        # The server learns what these calls cost while they come; what it admits at a time grows with that.
        room = min(server.health()["calls"]["limit"] * 9 // 10 - up, calls - up, 400)
        if room < 20 and room < calls - up:
            time.sleep(1)
            continue
        caller = Caller(server.sip_port, calls=room, parallel=room, rate=200, hold=-1, wait=1, direction="inactive")
        caller.line()
        callers.append(caller)
        up += room
    time.sleep(3)
    cpu_s, began = server.cpu_s(), time.monotonic()
    time.sleep(5)
    share = (server.cpu_s() - cpu_s) / (time.monotonic() - began) * 100
    during = server.memory_kb()
    for caller in callers:
        assert caller.popen.stdin is not None
        caller.popen.stdin.write("\n")
        caller.popen.stdin.flush()
    for caller in callers:
        caller.result()
    return (during["Rss"] - before["Rss"]) / up, (during["Pss"] - before["Pss"]) / up, share, up


def agent_kb() -> float:
    """What the agent alone needs for a held dialog."""
    command = [sys.executable, str(BENCH / "sip_agent.py"), "--calls", "200", "--runs", "1", "--held", "2000"]
    done = subprocess.run(
        ["taskset", "-c", str(SERVER_CORE), *command],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if "transactions alive" in line)
    return float(line.split("|")[2])


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=2000, lossy=400, seed=7)
    table = Table("Held calls, and calls over a bad network")
    with Server("--media-seconds", "0") as server:
        rss_kb, pss_kb, share, up = held(server, args.calls)
    table.add("calls held", up, args.calls, most=False)
    table.add("a held dialog in the agent", agent_kb(), 10, "KB")
    table.add("a held call in the whole server, RSS", rss_kb, 60, "KB", beside=f"PSS {pss_kb:.0f}")
    table.add("their CPU, all together", share, None, "% of a core")
    with Server() as server:
        result = call(server.sip_port, calls=args.lossy, parallel=100, rate=40, hold=1, loss=0.15, seed=args.seed)
    good = result["started"] - result["failed"] - result["refused"]
    beside = f"{result['dropped']} datagrams dropped, {result['repeats']} repeated by callers"
    table.add("calls that came about and ended well at 15 % loss", good, args.lossy, most=False, beside=beside)
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
