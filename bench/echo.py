"""S7: the delay that the server adds to a packet, with the jitter buffer out of the way (``--answer echo``).

    python bench/echo.py [--calls 100] [--seconds 20] [--rounds 3]

Every caller sends a packet each 20 ms with the time in it; the kernel stamps its echo. That is the server's delay and
twice the loopback's, so the figure is a little too large.
"""

from __future__ import annotations

import sys

import numpy as np

from harness import Caller, Server, Table, median, options, scratch, spending
from talk import ECHOED, RECORD, percentile


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, calls=100, seconds=20, rounds=3)
    table = Table(f"S7: echo of {args.calls} calls on one core")
    delays, shares = [], []
    lost = 0
    with Server(answer="echo") as server:
        for _ in range(args.rounds):
            dump = scratch() / "echo.bin"
            with spending(server) as spent:
                caller = Caller(
                    server.sip_port,
                    calls=args.calls,
                    parallel=args.calls,
                    hold=args.seconds,
                    rate=50,
                    echo=1,
                    dump=dump,
                )
                result = table.check(caller.result())
            shares.append(spent.cpu_s / args.seconds * 100 / args.calls)
            records = np.fromfile(dump, RECORD)
            delays.append(records[records["kind"] == ECHOED]["extra"] / 1e4)
            lost += result["rtp_out"] - result["rtp_in"]
    p50 = [percentile(each, 50) for each in delays]
    p99 = [percentile(each, 99) for each in delays]
    table.add("S7 delay of an echo, p50", median(p50), 1, "ms", beside=", ".join(f"{each:.2f}" for each in p50))
    table.add("S7 delay of an echo, p99", median(p99), 5, "ms", beside=", ".join(f"{each:.2f}" for each in p99))
    # The last packets of a call may be on their way when it ends.
    table.add("packets not echoed", lost, args.calls * args.rounds * 2, beside=f"of {sum(map(len, delays)):,}")
    table.add("CPU of a call", median(shares), None, "%")
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
