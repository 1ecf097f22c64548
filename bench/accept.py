"""S11: what ``accept`` costs over HTTP, beside FastAPI.

    python bench/accept.py [--rounds 3] [--requests 2000]

The same body again and again for a call that has been accepted: routed, authorized, validated in full and answered, and
nothing more. The peer is FastAPI on uvicorn with the official package's session model (``fastapi_app.py``), fetched
into a folder that is gone afterwards. Processor time of the server; the generator keeps eight connections busy.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any
from urllib.request import Request, urlopen

from harness import BENCH, SERVER_CORE, SESSION, Caller, Process, Server, Table, median, options, scratch, spending

CONNECTIONS = 8
FULL: dict[str, Any] = SESSION | {
    "instructions": "You are the clinic's receptionist. Be brief. " * 20,
    "output_modalities": ["audio"],
    "max_output_tokens": 1024,
    "include": ["item.input_audio_transcription.logprobs"],
    "tool_choice": "auto",
    "tools": [
        {
            "type": "function",
            "name": f"book_{number}",
            "description": "Books an appointment.",
            "parameters": {
                "type": "object",
                "properties": {"day": {"type": "string"}, "hour": {"type": "integer"}},
                "required": ["day"],
            },
        }
        for number in range(4)
    ],
    "truncation": {"type": "retention_ratio", "retention_ratio": 0.8},
}


def peer_folder() -> str:
    """Fetch FastAPI."""
    folder = str(scratch() / "fastapi")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "fastapi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cannot fetch FastAPI:\n{done.stderr}")
    return folder


def free_port() -> int:
    """A port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post_all(port: int, path: str, key: str, requests: int) -> None:
    """Send the same request again and again on some connections, and demand 200 for each."""
    body = json.dumps(FULL).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    wrong: list[bytes] = []

    def one() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for _ in range(requests // CONNECTIONS):
                connection.sendall(request)
                answer = connection.recv(65536)
                while b"\r\n\r\n" not in answer:
                    answer += connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200"):
                    wrong.append(answer)
                    return

    threads = [threading.Thread(target=one) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        sys.exit(f"the server did not answer 200: {wrong[0][:2000]!r}")


def accepted_call(server: Server) -> tuple[Caller, str]:
    """Let a call come in and accept it; returns its caller and the path of its accept."""
    caller = Caller(server.sip_port, calls=1, parallel=1, hold=-1, wait=1, direction="inactive")
    key = {"authorization": f"Bearer {server.ready['api_key']}", "content-type": "application/json"}
    while True:
        with urlopen(Request(server.ready["http"] + "/offhook/v1/calls", headers=key), timeout=10) as answer:
            calls = json.load(answer)["data"]
        if calls:
            break
        time.sleep(0.05)
    path = f"/v1/realtime/calls/{calls[0]['id']}/accept"
    body = json.dumps(FULL).encode()
    with urlopen(Request(server.ready["http"] + path, data=body, headers=key), timeout=10):
        return caller, path


def main() -> int:
    """Measure and print the table."""
    args = options(__doc__, rounds=3, requests=2000)
    table = Table("S11: processor time of an accept over HTTP")
    paths = os.pathsep.join([peer_folder(), os.environ.get("PYTHONPATH", "")])
    peer_port = free_port()
    cost: dict[str, list[float]] = {"offhook": [], "FastAPI": []}
    command = [sys.executable, str(BENCH / "fastapi_app.py"), str(peer_port)]
    with Server("--media-seconds", "0", answer="webhook") as server:
        caller, path = accepted_call(server)
        with Process(command, SERVER_CORE, {"PYTHONPATH": paths}) as peer:
            peer.line()
            wait_for(peer_port)
            port = int(server.ready["http"].rpartition(":")[2])
            targets: dict[str, tuple[Process, int, str]] = {
                "offhook": (server, port, server.ready["api_key"]),
                "FastAPI": (peer, peer_port, "sk-bench"),
            }
            for _, where, key in targets.values():
                post_all(where, path, key, 400)
            for _ in range(args.rounds):
                for name, (process, where, key) in targets.items():
                    with spending(process) as spent:
                        post_all(where, path, key, args.requests)
                    cost[name].append(spent.cpu_s / args.requests * 1e6)
        caller.stop()
    ours, theirs = median(cost["offhook"]), median(cost["FastAPI"])
    table.add("S11 CPU of an accept, offhook", ours, None, "us")
    table.add("S11 CPU of an accept, FastAPI", theirs, None, "us")
    table.add("S11 of FastAPI's", ours / theirs, 0.5)
    return table.show()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit("FastAPI did not start")


if __name__ == "__main__":
    sys.exit(main())
