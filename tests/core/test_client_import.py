"""What is loaded, and when: importing offhook costs next to nothing, and a client loads what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded by some code."""
    command = [
        sys.executable,
        "-c",
        f"import sys\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return set(done.stdout.split())


def test_importing_offhook_loads_no_library() -> None:
    loaded = loaded_after("import offhook")
    assert "offhook" in loaded
    assert not loaded & {"msgspec", "asyncio", "httptools", "websockets", "ssl", "socket", "offhook.client"}


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("Client", {"asyncio", "websockets", "ssl", "logging", "email", "random", "offhook.wire.session"}),
        ("AsyncClient", {"websockets", "email", "random", "offhook.wire.session"}),
    ],
)
def test_a_client_loads_what_it_needs_and_nothing_of_the_server(name: str, left_out: set[str]) -> None:
    loaded = loaded_after(f"import offhook\noffhook.{name}(api_key='sk-1').realtime.calls.accept")
    assert not loaded & left_out
    layers = {"api", "host", "net", "media", "model", "server", "config", "sip", "session", "call", "audio", "rtp"}
    assert not {each for each in loaded if each.split(".")[:2] in [["offhook", layer] for layer in layers]}
    assert not loaded & {"numpy", "uvicorn", "starlette", "pyreqwest"}
