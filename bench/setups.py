"""S8 and S10: setting calls up and ending them, beside a Sofia-SIP server of ours in the same run.

    python bench/setups.py [--rounds 3] [--calls 4000]

offhook answers every call itself (``--answer always``, scripted models, Silero loaded): its call includes two RTP
sockets, a leg of the audio plane, the session and the record of the call. The Sofia program answers with a fixed
description and opens nothing. Three loads, each round both servers in turn: 100 calls a second (S8's latency), 500 a
second (processor time of a call at the same load), and sixteen dialogs at a time as fast as they go (S10).
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from harness import LATE_MS, SERVER_CORE, Process, Server, Table, built, call, median, options, spending

SOFIA_PORT = 15899


def sofia() -> Process:
    """The reference, listening."""
    found = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "sofia-sip-ua"], check=False, capture_output=True, text=True
    )
    if found.returncode:
        sys.exit("Sofia-SIP is missing: apt-get install libsofia-sip-ua-dev pkg-config gcc")
    program: Path = built("sofia_uas.c", *found.stdout.split())
    process = Process([str(program), f"sip:127.0.0.1:{SOFIA_PORT};transport=udp"], SERVER_CORE)
    process.line()
    return process


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, rounds=3, calls=4000, rate_seconds=8)
    table = Table("S8, S10: INVITE to BYE, one core")
    loads = {
        "100/s": {"calls": 100 * args.rate_seconds, "parallel": 200, "rate": 100},
        "500/s": {"calls": 500 * args.rate_seconds, "parallel": 1000, "rate": 500},
        "closed": {"calls": args.calls, "parallel": 16},
    }
    cost: dict[tuple[str, str], list[float]] = {}
    seen: dict[tuple[str, str], list[dict[str, float]]] = {}
    with Server() as server, sofia() as reference:
        ports = {"offhook": server.sip_port, "Sofia": SOFIA_PORT}
        processes: dict[str, Process] = {"offhook": server, "Sofia": reference}
        for name, port in ports.items():
            call(port, calls=500, parallel=8)
            print(f"{name} is warm", file=sys.stderr)
        with spending(server) as idle:
            time.sleep(3)
        for number in range(args.rounds):
            for load, settings in loads.items():
                for name, process in processes.items():
                    with spending(process) as spent:
                        result = table.check(call(ports[name], **settings))
                    cost.setdefault((name, load), []).append(spent.cpu_s / settings["calls"] * 1e6)
                    seen.setdefault((name, load), []).append(result)
                    print(f"round {number + 1}: {name:8} {load:7} {cost[name, load][-1]:6.0f} us/call", file=sys.stderr)
                    if name == "offhook":
                        time.sleep(1)

    def figure(name: str, load: str, what: str) -> float:
        return median(each[what] for each in seen[name, load])

    latency = ("offhook", "100/s")
    table.add("S8 INVITE to 200 at 100/s, p50", figure(*latency, "invite_p50_ms"), 1.2, "ms",
              beside=f"Sofia {figure('Sofia', '100/s', 'invite_p50_ms'):.2f}")  # fmt: skip
    table.add("S8 INVITE to 200 at 100/s, p99", figure(*latency, "invite_p99_ms"), 8, "ms",
              beside=f"Sofia {figure('Sofia', '100/s', 'invite_p99_ms'):.2f}")  # fmt: skip
    rates = {name: median(each["answered"] / each["seconds"] for each in seen[name, "closed"]) for name in ports}
    beside = f"Sofia {rates['Sofia']:,.0f}"
    table.add("S10 calls a second, closed loop", rates["offhook"], 1000, most=False, beside=beside)
    ours_all = [each for (name, _), runs in seen.items() if name == "offhook" for each in runs]
    table.add("S10 calls that failed, all loads", sum(each["failed"] + each["refused"] for each in ours_all), 0)
    for load in ("500/s", "closed", "100/s"):
        ours, theirs = median(cost["offhook", load]), median(cost["Sofia", load])
        bar = theirs if load != "100/s" else None
        table.add(f"S10 CPU of a call, {load}", ours, bar, "us", beside=f"{ours / theirs:.1f} x Sofia's {theirs:.0f}")
    table.add("CPU of the idle server", idle.cpu_s / idle.seconds * 100, None, "%")
    late_ms = max(each["late_p99_ms"] for runs in seen.values() for each in runs)
    table.add("generator's lateness p99 (worst)", late_ms, LATE_MS, "ms")
    own_us = figure("offhook", "closed", "cpu_s") / args.calls * 1e6
    table.add("generator's own CPU of a call, closed", own_us, None, "us")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
