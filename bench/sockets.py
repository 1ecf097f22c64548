"""Sessions on sockets of their own: CPU, lateness and memory of each, and what a delta costs.

    python bench/sockets.py [--rounds 3] [--sessions 300] [--seconds 20] [--churn 2000]

Every session is a conversation at the pace of speech: the client sends its microphone's audio all the time, in pieces
of 100 ms (two seconds of voice, five of silence), the server finds the turns, and the scripted model answers each with
four seconds in pieces of 100 ms, PCM of 24 kHz both ways. "Late" is a piece from when it was due to when the client had
it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from harness import BENCH, LOAD_CORE, ROOT, Process, Server, Table, median, options, spending

KEY = "sk-bench"
SETTLE_S = 5
DELTAS = 5000
# A server takes more than some at once only when it has seen for a second what they cost.
STEP = 100


class Clients(Process):
    """The generator."""

    def __init__(self, server: Server) -> None:
        port = server.ready["http"].rpartition(":")[2]
        command = [sys.executable, str(BENCH / "socket_clients.py"), port, KEY]
        super().__init__(command, LOAD_CORE, {"PYTHONPATH": f"{ROOT / 'src'}:{BENCH}", "OPENBLAS_NUM_THREADS": "1"})

    def do(self, command: str) -> dict[str, Any]:
        """Give a command, and wait for its answer."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()
        answer = self.line()
        if not answer:
            sys.exit("the clients failed")
        return dict(json.loads(answer))


def delta_us() -> float:
    """Microseconds from 100 ms of the model's audio to the bytes on a socket."""
    from offhook.call.tokens import TokenStream
    from offhook.net.frames import text_frames
    from offhook.session.engine import Engine, EngineOptions
    from offhook.session.inputs import AudioProduced, ClientSent
    from offhook.session.outputs import Send
    from offhook.session.settings import SessionDefaults, start_session
    from offhook.session.socket import SocketDoor
    from offhook.wire.client_events import ResponseCreate
    from offhook.wire.ids import Ids
    from offhook.wire.server_events import encode_event
    from offhook.wire.session import PcmFormat, SessionParams

    session = start_session(
        SessionParams(type="realtime"),
        session_id="sess_1",
        audio_format=PcmFormat(),
        expires_at=0,
        defaults=SessionDefaults(),
        formats_given=True,
    )
    ids = Ids(TokenStream(bytes(16)))
    engine = Engine(session, ids, EngineOptions(needs_transcripts=False), 0.0, model_named=True, door=SocketDoor)
    engine.start()
    engine.handle(ClientSent(ResponseCreate(), 1), 0.0)
    pcm = bytes(range(256)) * 18 + bytes(192)
    engine.handle(AudioProduced(1, pcm, 24000, 100.0), 0.0)
    began = time.process_time()
    for number in range(DELTAS):
        for output in engine.handle(AudioProduced(1, pcm, 24000, 100.0), number / 10):
            assert isinstance(output, Send)
            text_frames([encode_event(output.event)])
    return (time.process_time() - began) / DELTAS * 1e6


def main() -> int:
    """Measure, and print the table."""
    given = options(__doc__, rounds=3, sessions=300, seconds=20, churn=2000)
    table = Table("Sessions on sockets of their own")
    cpu, p99, p50, idle_kb, churn_kb, talk_kb = [], [], [], [], [], []
    for _ in range(given.rounds):
        with (
            Server("--api-key", KEY, entry=(str(BENCH / "paced_server.py"),)) as server,
            Clients(server) as clients,
        ):
            clients.do("churn 50")
            before_kb = server.memory_kb()["Rss"]
            for opened in range(0, given.sessions, STEP):
                clients.do(f"open {min(STEP, given.sessions - opened)}")
                time.sleep(1.5)
            idle_kb.append((server.memory_kb()["Rss"] - before_kb) / given.sessions)
            clients.do(f"talk {SETTLE_S}")
            with spending(server) as spent:
                found = table.check(clients.do(f"talk {given.seconds}"))
            cpu.append(spent.cpu_s / spent.seconds / given.sessions * 100)
            talk_kb.append((server.memory_kb()["Rss"] - before_kb) / given.sessions)
            p50.append(found["delta_p50_ms"])
            p99.append(found["delta_p99_ms"])
            expected = given.sessions * given.seconds * 10 * 4 / 7
            if found["errors"] or found["deltas"] < 0.8 * expected:
                table.invalid.append(f"{found['errors']} errors and {found['deltas']} of about {expected:.0f} deltas")
            clients.do("close")
            clients.do("churn 500")
            before_kb = server.memory_kb()["Rss"]
            clients.do(f"churn {given.churn}")
            churn_kb.append((server.memory_kb()["Rss"] - before_kb) / given.churn)
    table.add("a delta of 100 ms, from PCM to socket bytes", min(delta_us() for _ in range(5)), 15, "us")
    table.add(f"CPU of a session, {given.sessions} talk", median(cpu), 0.23, "% of a core")
    table.add("lateness of deltas, p50", median(p50), None, "ms")
    table.add("lateness of deltas, p99", median(p99), 20, "ms")
    table.add("memory of an idle session", median(idle_kb), 100, "KB")
    table.add("memory of a session that talks, all told", median(talk_kb), None, "KB")
    table.add(f"memory left by a session, {given.churn} opened and closed", median(churn_kb), 1, "KB")
    return table.show()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    sys.exit(main())
