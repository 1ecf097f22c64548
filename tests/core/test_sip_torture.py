"""The messages of RFC 4475: what the parser makes of each, and what a user agent answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sip_peer import new_agent

from offhook.sip.errors import SipParseError
from offhook.sip.flow import Flow
from offhook.sip.message import Response, parse_message
from offhook.sip.output import Invited, Transmit

MESSAGES = Path(__file__).parent.parent / "data" / "rfc4475"
INVITED = "call"
"""The host is told of a call and nothing is answered yet."""
SILENCE = "silence"
"""No answer and no call: a response to nothing we sent, or nothing that can be answered."""

# name -> (does the parser take it, what the agent does, why)
EXPECTED: dict[str, tuple[bool, int | str, str]] = {
    "wsinv": (True, 481, "3.1.1.1: valid; it has a To tag, and we know no such dialog"),
    "intmeth": (True, 501, "3.1.1.2: valid, of a method nobody knows"),
    "esc01": (True, INVITED, "3.1.1.3: valid"),
    "escnull": (True, 405, "3.1.1.4: valid REGISTER; we are no registrar"),
    "esc02": (True, 501, "3.1.1.5: the method is RE%47IST%45R, escapes mean nothing there"),
    "lwsdisp": (True, 200, "3.1.1.6: no blank between display name and bracket"),
    "longreq": (True, INVITED, "3.1.1.7: long values everywhere"),
    "dblreq": (True, 405, "3.1.1.8: bytes after the body of a datagram are ignored"),
    "semiuri": (True, 200, "3.1.1.9: the user part holds a semicolon"),
    "transports": (True, 200, "3.1.1.10: Via of every transport"),
    "mpart01": (True, 405, "3.1.1.11: MESSAGE"),
    "unreason": (True, SILENCE, "3.1.1.12: a response with a UTF-8 reason"),
    "noreason": (True, SILENCE, "3.1.1.13: a response with an empty reason"),
    "badinv01": (False, 400, "3.1.2.1: extraneous separators"),
    "clerr": (False, 400, "3.1.2.2: Content-Length larger than the datagram"),
    "ncl": (False, 400, "3.1.2.3: negative Content-Length"),
    "scalar02": (False, 400, "3.1.2.4: CSeq and Max-Forwards out of range"),
    "scalarlg": (False, SILENCE, "3.1.2.5: a response with scalars out of range"),
    "quotbal": (False, 400, "3.1.2.6: a quote that is never closed"),
    "ltgtruri": (False, 400, "3.1.2.7: brackets around the Request-URI"),
    "lwsruri": (False, 400, "3.1.2.8: blanks in the Request-URI"),
    "lwsstart": (False, 400, "3.1.2.9: two blanks in the request line"),
    "trws": (False, 400, "3.1.2.10: blanks after the request line"),
    "escruri": (True, 400, "3.1.2.11: headers in the Request-URI"),
    "baddate": (True, INVITED, "3.1.2.12: a Date in the wrong zone; nothing of ours depends on it"),
    "regbadct": (True, 405, "3.1.2.13: REGISTER"),
    "badaspec": (True, 200, "3.1.2.14: blanks within the brackets, let through"),
    "baddn": (True, 200, "3.1.2.15: a display name without quotes, let through"),
    "badvers": (False, 505, "3.1.2.16: SIP/7.0"),
    "mismatch01": (False, 400, "3.1.2.17: the CSeq names another method"),
    "mismatch02": (False, 400, "3.1.2.18: the same with an unknown method"),
    "bigcode": (False, SILENCE, "3.1.2.19: a status code beyond all bounds"),
    "badbranch": (True, 200, "3.2.1: the cookie and nothing more: matched by the RFC 2543 rules"),
    "insuf": (False, 400, "3.3.1: Call-ID, From and To are missing"),
    "unkscm": (True, 416, "3.3.2: a Request-URI of no known scheme"),
    "novelsc": (True, 416, "3.3.3: soap.beep"),
    "unksm2": (True, 405, "3.3.4: REGISTER with odd schemes in To and Contact"),
    "bext01": (True, 420, "3.3.5: extensions nobody supports"),
    "invut": (True, 415, "3.3.6: a body of unknown type"),
    "regaut01": (True, 405, "3.3.7: REGISTER with an unknown authorization scheme"),
    "multi01": (False, 400, "3.3.8: header fields that may come once come twice"),
    "mcl01": (False, 400, "3.3.9: two different Content-Lengths"),
    "bcast": (True, SILENCE, "3.3.10: a response with two Via"),
    "zeromf": (True, 200, "3.3.11: Max-Forwards 0 is no matter to the one who is called"),
    "cparam01": (True, 405, "3.3.12: REGISTER"),
    "cparam02": (True, 405, "3.3.13: REGISTER"),
    "regescrt": (True, 405, "3.3.14: REGISTER"),
    "sdp01": (True, 406, "3.3.15: the caller accepts no session description"),
    "inv2543": (True, INVITED, "3.4.1: an INVITE of an RFC 2543 caller"),
}


def read(name: str) -> bytes:
    return (MESSAGES / f"{name}.dat").read_bytes()


def test_every_message_of_the_rfc_has_an_expected_answer() -> None:
    assert {path.stem for path in MESSAGES.glob("*.dat")} == set(EXPECTED)
    assert len(EXPECTED) == 49


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_parser_takes_or_refuses(name: str) -> None:
    taken, answer, _ = EXPECTED[name]
    if taken:
        parse_message(read(name))
        return
    with pytest.raises(SipParseError) as refused:
        parse_message(read(name))
    assert refused.value.status == (0 if answer == SILENCE else answer)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_agent_answers(name: str) -> None:
    _, answer, why = EXPECTED[name]
    agent = new_agent()
    flow = Flow("UDP", ("127.0.0.1", 5062), ("127.0.0.1", 5060))
    outputs = agent.receive(read(name), flow, 0.0)
    raw = [output.data for output in outputs if isinstance(output, Transmit)]
    sent = [parse_message(data) for data in raw] if answer not in (400, 505) else []
    if answer == INVITED:
        assert any(isinstance(output, Invited) for output in outputs), why
        assert not sent
    elif answer == SILENCE:
        assert outputs == [], why
    elif answer in (400, 505):
        [data] = raw
        assert data.startswith(f"SIP/2.0 {answer} ".encode()), why
        assert b"Via: " in data
        assert not agent.legs
    else:
        [response] = sent
        assert isinstance(response, Response)
        assert response.status == answer, why
        assert response.to_tag, "every final response has a To tag"


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("bext01", "unsupported", "nothingSupportsThis, nothingSupportsThisEither"),
        ("invut", "accept", "application/sdp"),
        ("escnull", "allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"),
        ("intmeth", "allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"),
    ],
)
def test_refusals_say_what_would_do(name: str, header: str, value: str) -> None:
    flow = Flow("UDP", ("127.0.0.1", 5062), ("127.0.0.1", 5060))
    [transmit] = [o for o in new_agent().receive(read(name), flow, 0.0) if isinstance(o, Transmit)]
    assert parse_message(transmit.data).get(header) == value


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("insuf", b"Missing Call-ID header"),
        ("multi01", b"Multiple From headers"),
        ("ncl", b"Malformed Content-Length header"),
        ("scalar02", b"CSeq number out of range"),
        ("quotbal", b"Malformed To header"),
        ("badinv01", b"Malformed Via header"),
    ],
)
def test_bad_request_names_the_header(name: str, phrase: bytes) -> None:
    flow = Flow("UDP", ("127.0.0.1", 5062), ("127.0.0.1", 5060))
    [transmit] = [o for o in new_agent().receive(read(name), flow, 0.0) if isinstance(o, Transmit)]
    assert transmit.data.split(b"\r\n")[0] == b"SIP/2.0 400 " + phrase


def test_valid_messages_keep_every_byte_of_their_headers() -> None:
    for name in ("intmeth", "unreason", "longreq", "esc01"):
        message = parse_message(read(name))
        again = parse_message(message.encode())
        assert again.headers == message.headers
        assert again.body == message.body
