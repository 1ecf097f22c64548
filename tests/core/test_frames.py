"""The frames that a server writes, read by the frame parser of the websockets package."""

from __future__ import annotations

import pytest
from websockets.frames import Opcode
from websockets.protocol import CLIENT, Protocol

from offhook.net.frames import text_frames


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
def test_messages_of_every_length_are_read_as_they_were_written(size_bytes: int) -> None:
    texts = [b"a" * size_bytes, "\u00e4\u20ac\U0001f600".encode() * 7, b"z" * size_bytes]
    client = Protocol(CLIENT)
    client.receive_data(text_frames(texts))
    frames = client.events_received()
    assert [(frame.opcode, frame.fin, frame.data) for frame in frames] == [(Opcode.TEXT, True, text) for text in texts]
