"""A stand-in for the engine of GGUF models: a chat server in the worker that says one word, without llama.cpp."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from offhook.errors import ConfigError


class Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    key = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        allowed = self.headers["authorization"] == f"Bearer {self.key}"
        self.send_response(200 if allowed else 401)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self._say({"content": f" tools={[tool['function']['name'] for tool in asked.get('tools', [])]}"})
        self._say({"content": f" choice={asked.get('tool_choice')}"})
        if "Say it again and again." in json.dumps(asked):
            try:
                while True:
                    self._say({"content": " yes"})
                    time.sleep(0.02)
            except OSError:
                return
        self._say({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _say(self, delta: dict[str, str], finish: str | None = None) -> None:
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


class Engine:
    def __init__(self, key: str) -> None:
        Chat.key = key
        server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.about: dict[str, Any] = {"url": f"http://127.0.0.1:{server.server_port}/v1"}

    def serve(self, task: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        yield {}


def load(options: dict[str, Any]) -> Engine:
    if options["threads"] == 13:
        raise ConfigError("--llm-gguf", "cannot load it", "is the file whole?")
    return Engine(options["key"])
