"""An HTTP server on loopback that says byte for byte what a test wants, and sees what it gets.

It lives in a thread of its own, so that blocking clients can be tested by it as well as asynchronous ones.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator

PATIENCE_S = 20.0


class Peer:
    """One connection, as the server sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def request(self) -> bytes:
        """Return the next request, head and body; ``b""`` when the client has closed."""
        while b"\r\n\r\n" not in self._rest:
            if not self._more():
                return b""
        head, _, body = self._rest.partition(b"\r\n\r\n")
        size = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < size:
            if not self._more():
                return b""
            body = self._rest.partition(b"\r\n\r\n")[2]
        self._rest = body[size:]
        return head + b"\r\n\r\n" + body[:size]

    def _more(self) -> bool:
        data = self.connection.recv(65536)
        self._rest += data
        return bool(data)

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def closed_by_client(self) -> bool:
        """Wait until the client closes; False when it says something instead."""
        try:
            return self.connection.recv(1) == b""
        except ConnectionResetError:
            return True


EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-request-id: req_1\r\n\r\n"


class HttpPeer:
    """The server: ``talk`` is run for each connection; what it returns or raises is found in ``ends``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.ends: queue.Queue[object] = queue.Queue()
        self.connections = 0

    def end(self) -> object:
        """Wait for the end of a connection."""
        return self.ends.get(timeout=PATIENCE_S)


@contextlib.contextmanager
def http_peer(talk: Callable[[Peer], object], backlog: int = 128) -> Iterator[HttpPeer]:
    listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    peer = HttpPeer(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                peer.ends.put(talk(Peer(connection)))
            except OSError as failure:
                peer.ends.put(failure)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE_S)
            peer.connections += 1
            sockets.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield peer
    finally:
        # ``shutdown`` wakes those who wait in it; ``close`` alone would not.
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        accepting.join()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
