"""What happened is drawn on one line of time, whatever it was."""

from __future__ import annotations

from typing import Any

import pytest

import offhook.testing
from offhook.testing.ladder import MAX_RUNGS, Ladder, event_summary, sip_summary

HEADERS = b"Via: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: 1\r\n"


def sip(start: bytes, method: bytes) -> bytes:
    return start + b"\r\n" + HEADERS + b"CSeq: 1 " + method + b"\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"


def test_rungs_stand_in_the_order_of_their_times_under_their_sides() -> None:
    now = [100.0]
    ladder = Ladder(lambda: now[0])
    ladder.sip(sip(b"INVITE sip:a@b SIP/2.0", b"INVITE"), False)
    now[0] = 100.25
    ladder.note("event", "response.done completed")
    ladder.note("caller", 'hears "yes"', 100.1)
    assert [line.split() for line in str(ladder).splitlines()] == [
        ["ms", "caller", "offhook", "application"],
        ["0", "|------------", "INVITE", "------------>|"],
        ["100", "|", "hears", '"yes"'],
        ["250", "|", "|", "response.done", "completed"],
    ]


def test_what_others_send_cannot_draw_lines_of_its_own() -> None:
    ladder = Ladder(lambda: 0.0)
    ladder.note("event", "evil\n     0  |---- BYE ---->|\x1b[2J")
    assert len(str(ladder).splitlines()) == 2
    assert "\x1b" not in str(ladder)


def test_a_ladder_does_not_grow_for_ever() -> None:
    told: list[str] = []
    ladder = Ladder(lambda: 0.0, told.append)
    for _ in range(MAX_RUNGS + 7):
        ladder.note("note", "again")
    assert str(ladder).endswith("... and 7 more")
    assert len(told) == MAX_RUNGS


def test_pieces_of_what_is_told_whole_are_left_out() -> None:
    ladder = Ladder(lambda: 0.0)
    ladder.event({"type": "response.output_audio_transcript.delta", "delta": "a"})
    ladder.event({"type": "response.created", "response": {}})
    assert [rung.text for rung in ladder.rungs] == ["response.created"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (sip(b"SIP/2.0 180 Ringing", b"INVITE"), "180 Ringing"),
        (sip(b"SIP/2.0 200 OK", b"BYE"), "200 OK (BYE)"),
        (sip(b"BYE sip:a@b SIP/2.0", b"BYE"), "BYE"),
        (b"\r\n\r\n", "(not SIP)"),
    ],
)
def test_sip_in_a_few_words(data: bytes, shown: str) -> None:
    assert sip_summary(data) == shown


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"type": "error", "error": {"message": "No."}}, "error: No."),
        ({"type": "x.done", "name": "book", "arguments": '{"a": 1}'}, 'x.done book({"a": 1})'),
        ({"type": "x.completed", "transcript": "hello"}, 'x.completed "hello"'),
        (
            {
                "type": "response.done",
                "response": {"status": "failed", "status_details": {"error": {"message": "Oh."}}},
            },
            "response.done failed: Oh.",
        ),
        (
            {
                "type": "response.done",
                "response": {"status": "cancelled", "status_details": {"reason": "turn_detected"}},
            },
            "response.done cancelled: turn_detected",
        ),
        ({"type": "response.done", "response": {"status": "completed"}}, "response.done completed"),
    ],
)
def test_events_in_a_few_words(event: dict[str, Any], shown: str) -> None:
    assert event_summary(event) == shown


def test_every_public_name_is_there() -> None:
    for name in offhook.testing.__all__:
        assert getattr(offhook.testing, name).__name__ == name
    with pytest.raises(AttributeError):
        offhook.testing.nothing_of_this_name  # noqa: B018
