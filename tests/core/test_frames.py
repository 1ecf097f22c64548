"""Frames against the frame parser of the websockets package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, State

from offhook.net.frames import ClientFrames, text_frames

MOST_BYTES = 70_000


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
def test_messages_of_every_length_are_read_as_they_were_written(size_bytes: int) -> None:
    texts = [b"a" * size_bytes, "\u00e4\u20ac\U0001f600".encode() * 7, b"z" * size_bytes]
    client = Protocol(CLIENT)
    client.receive_data(text_frames(texts))
    frames = client.events_received()
    assert [(frame.opcode, frame.fin, frame.data) for frame in frames] == [(Opcode.TEXT, True, text) for text in texts]


payloads = st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536, MOST_BYTES]).map(lambda size: b"ab"[: size % 3] * size)
frames = st.tuples(
    st.sampled_from([Opcode.TEXT] * 4 + [Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG]),
    payloads,
    st.booleans(),
)


def sent(opcode: Opcode, payload: bytes, fin: bool) -> bytes:
    if opcode in {Opcode.PING, Opcode.PONG}:
        return Frame(opcode, payload[:125]).serialize(mask=True)
    return Frame(opcode, payload[:MOST_BYTES], fin).serialize(mask=True)


faults = st.sampled_from(
    [
        b"",
        b"\x81\x01a",  # not masked
        b"\x83\x80\0\0\0\0",  # an opcode that is none
        b"\xc1\x80\0\0\0\0",  # a bit of an extension that was not agreed on
        b"\x81\xff" + (MOST_BYTES + 1).to_bytes(8, "big"),
        b"\x81\xff" + bytes([255] * 8) + bytes(4),
        Frame(Opcode.CLOSE, (1000).to_bytes(2, "big")).serialize(mask=True),
        b"\x81\xfe\x01",  # not all of a header
    ]
)


def told(parser: Protocol) -> list[tuple[Opcode, bytes, bool]]:
    return [(event.opcode, bytes(event.data), event.fin) for event in parser.events_received()]


@given(st.lists(frames, max_size=6), faults, st.lists(frames, max_size=2), st.data())
def test_however_it_is_cut_a_stream_is_read_as_the_parser_of_all_frames_reads_it(
    before: list[tuple[Opcode, bytes, bool]], fault: bytes, after: list[tuple[Opcode, bytes, bool]], data: st.DataObject
) -> None:
    stream = b"".join([*(sent(*each) for each in before), fault, *(sent(*each) for each in after)])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    whole, rest = Protocol(SERVER, max_size=MOST_BYTES), Protocol(SERVER, max_size=MOST_BYTES)
    whole.receive_data(stream)
    reader = ClientFrames(MOST_BYTES)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        for is_text, piece in reader.feed(stream[start:end]):
            if not is_text:
                rest.receive_data(piece)
                found += told(rest)
            elif rest.state is State.OPEN:
                found.append((Opcode.TEXT, piece, True))
    assert found == told(whole)
    assert (rest.state, rest.close_sent, rest.close_rcvd) == (whole.state, whole.close_sent, whole.close_rcvd)


def test_what_the_most_clients_send_needs_no_other_parser() -> None:
    texts = [b"a" * size_bytes for size_bytes in (0, 1, 125, 126, 65_535, 65_536, MOST_BYTES)]
    stream = b"".join(Frame(Opcode.TEXT, text).serialize(mask=True) for text in texts)
    assert list(ClientFrames(MOST_BYTES).feed(stream)) == [(True, text) for text in texts]
