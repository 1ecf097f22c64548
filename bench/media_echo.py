"""Added delay of an echo leg (jitter buffer off): one packet there and back over loopback, beside the bare sockets.

    python bench/media_echo.py [--calls 1 20 100] [--seconds 5]

The sender waits for each answer of its own call in turn, so nothing queues in it; the floor is a thread that does
nothing but receive and send back. Figures are round trips; the difference of the medians is what the plane adds.
"""

# ruff: noqa: E402 - numpy is imported after its threads are limited

from __future__ import annotations

import argparse
import secrets
import select
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from offhook.media.blas import one_thread

one_thread()

from offhook.media.command import LegOptions, Negotiated
from offhook.media.plane import MediaPlane
from offhook.media.thread import MediaThread
from offhook.net.rtp import PortRange, SocketPoller
from offhook.rtp.packet import voice_packet

PAYLOAD = bytes(160)


def ask_all(phones: list[socket.socket], targets: list[tuple[str, int]], seconds: float) -> list[float]:
    """Send one packet of each call every 20 ms, spread over the time, and measure each way there and back."""
    trips = []
    start = time.monotonic()
    spacing = 0.02 / len(phones)
    index = 0
    while (now := time.monotonic()) < start + seconds:
        due = start + index * spacing
        if due > now:
            time.sleep(due - now)
        phone, target = phones[index % len(phones)], targets[index % len(phones)]
        turn = index // len(phones)
        began = time.perf_counter()
        phone.sendto(voice_packet(0, False, turn & 0xFFFF, turn * 160 & 0xFFFFFFFF, 7, PAYLOAD), target)
        phone.recv(2048)
        trips.append((time.perf_counter() - began) * 1000)
        index += 1
    return trips


def floor(phones: list[socket.socket], seconds: float) -> list[float]:
    """The same against a thread that only receives and sends back."""
    ports = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in phones]
    poller = select.epoll()
    for port in ports:
        port.bind(("127.0.0.1", 0))
        poller.register(port.fileno(), select.EPOLLIN)
    by_descriptor = {port.fileno(): port for port in ports}
    stopping = threading.Event()

    def serve() -> None:
        while not stopping.is_set():
            for descriptor, _ in poller.poll(0.1):
                data, address = by_descriptor[descriptor].recvfrom(2048)
                by_descriptor[descriptor].sendto(data, address)

    thread = threading.Thread(target=serve)
    thread.start()
    trips = ask_all(phones, [port.getsockname() for port in ports], seconds)
    stopping.set()
    thread.join()
    for port in ports:
        port.close()
    return trips


def plane(phones: list[socket.socket], seconds: float) -> list[float]:
    media = MediaPlane(lambda edges: None, detector=None, pollers=SocketPoller, randbits=secrets.randbits)
    thread = MediaThread(media)
    thread.start()
    ports = PortRange("127.0.0.1", 24_000, 24_000 + 2 * len(phones) - 1)
    targets = []
    for index, phone in enumerate(phones):
        pair = ports.open(0.0)
        media.open_leg(str(index), pair, Negotiated(phone.getsockname()), LegOptions(echo=True))
        targets.append(("127.0.0.1", pair.port))
    time.sleep(0.2)
    trips = ask_all(phones, targets, seconds)
    thread.stop()
    return trips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 20, 100])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    print("calls | floor p50/p99 ms | plane p50/p99 ms | added p50/p99 ms")
    for calls in arguments.calls:
        phones = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(calls)]
        for phone in phones:
            phone.bind(("127.0.0.1", 0))
            phone.settimeout(2.0)
        rows = [sorted(measure(phones, arguments.seconds)) for measure in (floor, plane)]
        (low, high), (p50, p99) = [(row[len(row) // 2], row[len(row) * 99 // 100]) for row in rows]
        print(
            f"{calls:5d} | {low:6.3f} / {high:6.3f}  | {p50:6.3f} / {p99:6.3f}  | {p50 - low:6.3f} / {p99 - high:6.3f}"
        )


if __name__ == "__main__":
    main()
