"""The demonstration finds its way around what runs on the machine already."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.parametrize("taken", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_the_demo_takes_another_sip_port_when_either_transport_is_taken(taken: socket.SocketKind) -> None:
    """Only UDP was tried: with a TCP server on 5060 the demonstration did not start."""
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    with socket.socket(socket.AF_INET, taken) as there:
        there.bind(("127.0.0.1", 0))
        if taken is socket.SOCK_STREAM:
            there.listen()
        usual = there.getsockname()[1]
        port = demo.free_port(usual, socket.SOCK_DGRAM, socket.SOCK_STREAM)
        assert port not in {0, usual}
    assert demo.free_port(port, socket.SOCK_DGRAM, socket.SOCK_STREAM) == port
