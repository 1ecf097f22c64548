"""S9: from INVITE to 200 through the webhook and ``accept``, as an application answers.

    python bench/webhook.py [--rounds 3] [--calls 200]

20 calls a second; the application (``application.py``) runs on the callers' core. Once with the official package, once
with bare sockets.
"""

from __future__ import annotations

import sys

from harness import BENCH, LOAD_CORE, Process, Server, Table, call, median, options


def run(kind: str, calls: int) -> dict[str, float]:
    """Start an application and a server, and call."""
    with Process([sys.executable, str(BENCH / "application.py"), kind], LOAD_CORE) as application:
        url = f"http://127.0.0.1:{int(application.line())}/"
        with Server("--webhook-url", url, answer="webhook") as server:
            ready = server.ready
            assert application.popen.stdin is not None
            application.popen.stdin.write(f"{ready['http']}/v1 {ready['api_key']} {ready['webhook_secret']}\n")
            application.popen.stdin.flush()
            call(server.sip_port, calls=20, parallel=1)
            return call(server.sip_port, calls=calls, parallel=100, rate=20)


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, rounds=3, calls=200)
    table = Table("S9: INVITE to 200 through webhook and accept, 20 calls a second")
    bars = {"sdk": ("official package", 10.0, None), "raw": ("bare sockets", 6.0, 25.0)}
    seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in bars}
    for _ in range(args.rounds):
        for kind in bars:
            seen[kind].append(table.check(run(kind, args.calls)))
            print(f"{kind}: {seen[kind][-1]['invite_p50_ms']:.1f} ms", file=sys.stderr)
    for kind, (name, p50, p99) in bars.items():
        table.add(f"S9 {name}, p50", median(each["invite_p50_ms"] for each in seen[kind]), p50, "ms")
        table.add(f"S9 {name}, p99", median(each["invite_p99_ms"] for each in seen[kind]), p99, "ms")
    failed = sum(each["failed"] + each["refused"] for runs in seen.values() for each in runs)
    table.add("calls that failed", failed, 0)
    return table.show()


if __name__ == "__main__":
    sys.exit(main())
