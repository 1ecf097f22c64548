"""Session descriptions: reading them tolerantly, and answering them (RFC 8866, RFC 3264).

One audio stream of G.711 with telephone-event is what a call has. Every m-line of an offer is answered, those we do not
use with port 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from offhook.sip.errors import NoCommonCodec, SdpError
from offhook.sip.limits import MAX_SDP_BYTES, MAX_SDP_LINES, MAX_SDP_MEDIA
from offhook.sip.uri import literal_address

Codec = Literal["PCMU", "PCMA"]
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Address = tuple[str, int]

_CODECS: Final[dict[str, Codec]] = {"PCMU": "PCMU", "PCMA": "PCMA"}
_NAMES: Final = frozenset({*_CODECS, "TELEPHONE-EVENT"})
"""The encodings that mean something to us; all have a clock of 8000 Hz."""
_STATIC: Final = {"0": "PCMU", "8": "PCMA"}
"""Payload types that need no rtpmap (RFC 3551 6), as far as we have the codec."""

# A description that contradicts itself is taken at its most reluctant.
_DIRECTIONS: Final[tuple[Direction, ...]] = ("inactive", "sendonly", "recvonly", "sendrecv")
_DEFAULT_EVENT_TYPE = 101
EVENTS = "0-16"
_USUAL_CHARS: Final = 1024
"""What is remembered of offers is small: formats that take more are read anew each time."""
_LONGEST_LITERAL = 45
"""Characters of the longest way to write an IPv6 address (RFC 4291 2.2)."""


class Media(msgspec.Struct):
    """One m-line and what belongs to it. ``address`` is its own c= or the session's, None when neither is there.

    ``attributes`` holds the first of each name ("" for a flag), but for the rtpmaps, which are in ``encodings``.
    """

    kind: str
    port: int
    profile: str
    formats: tuple[str, ...]
    address: str | None = None
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    encodings: list[str] = msgspec.field(default_factory=list)


class SessionDescription(msgspec.Struct):
    """A description as read: the first of each of the session's attributes, the m-lines in order."""

    attributes: dict[str, str]
    media: list[Media]


class LocalMedia(msgspec.Struct, frozen=True):
    """Our end of the audio stream: where it listens, what it speaks, and the identity of the description.

    ``codecs`` in order of preference. ``session_id`` and ``version`` go into o=; the version goes up by one for every
    description that differs from the last (RFC 3264 8), which ``negotiate`` and ``make_offer`` see from ``last``.
    """

    address: Address
    rtcp_port: int = 0
    """0 for the port after ``address``; offers and answers name another one with a=rtcp (RFC 3605)."""
    codecs: tuple[Codec, ...] = ("PCMU", "PCMA")
    ptime_ms: int = 20
    direction: Direction = "sendrecv"
    """What we want to do: answers never go beyond what the offer allows."""
    session_id: int = 1
    version: int = 1
    last: bytes = b""
    """The description we sent last in this dialog, if any; see ``after``."""
    rtcp_mux: bool = True

    def after(self, sent: bytes) -> LocalMedia:
        """Our end once ``sent``, an answer or offer made here, has gone out: the next one counts on from it."""
        origin = sent.partition(b"\no=")[2].split(b" ", 3)
        return replace(self, last=sent, version=int(origin[2]))


class Negotiated(msgspec.Struct, frozen=True):
    """What both ends agreed on.

    ``answer`` is our description (empty when we offered). ``payload_type`` is what we send and ``receive_payload_type``
    what the peer sends for ``codec``. ``remote_rtp`` is a literal address, or None when the peer gave none that we
    could send to: then its first packet shows where it is. ``send`` and ``receive`` say what may flow.
    """

    answer: bytes
    codec: Codec
    payload_type: int
    receive_payload_type: int
    event_payload_type: int | None
    remote_rtp: Address | None
    remote_rtcp: Address | None
    send: bool
    receive: bool
    rtcp_mux: bool
    version: int

    @property
    def held(self) -> bool:
        """Whether the peer wants to hear nothing from us, as on hold (RFC 3264 8.4)."""
        return not self.send


def parse_sdp(data: bytes) -> SessionDescription:
    """Read a description: lines we do not know are skipped, line ends may be LF. Raises SdpError."""
    if len(data) > MAX_SDP_BYTES:
        raise SdpError("session description too large")
    lines = data.decode("utf-8", "surrogateescape").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if len(lines) > MAX_SDP_LINES:
        raise SdpError("session description with too many lines")
    if lines[0].strip() != "v=0":
        raise SdpError("session description without v=0")
    address: str | None = None
    session = SessionDescription({}, [])
    media: Media | None = None
    attributes = session.attributes
    for line in lines:
        kind = line[:2]
        if kind == "a=":
            name, _, value = line[2:].partition(":")
            name = name.strip().lower()
            if name != "rtpmap":
                attributes.setdefault(name, value.strip())
            elif media is not None:
                media.encodings.append(value)
        elif kind == "m=":
            if len(session.media) >= MAX_SDP_MEDIA:
                raise SdpError("session description with too many m-lines")
            media = _read_media(line[2:], address)
            session.media.append(media)
            attributes = media.attributes
        elif kind == "c=":
            if media is not None:
                media.address = _read_connection(line[2:])
            else:
                address = _read_connection(line[2:])
    return session


def _read_media(value: str, address: str | None) -> Media:
    words = value.split()
    if len(words) < 3:
        raise SdpError("unreadable m-line")
    port = _number(words[1].partition("/")[0], 65535)
    if port is None:
        raise SdpError("m-line without a port")
    return Media(words[0].lower(), port, words[2].upper(), tuple(words[3:]), address)


def _read_connection(value: str) -> str | None:
    words = value.split()
    if len(words) < 3 or words[0].upper() != "IN" or words[1].upper() not in ("IP4", "IP6"):
        return None
    return words[2].partition("/")[0] or None


def _number(text: str, highest: int) -> int | None:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        return None
    return int(text) if int(text) <= highest else None


# -- what an audio m-line means ----------------------------------------------------------------------------------------


class Audio(msgspec.Struct, frozen=True):
    """An audio m-line understood: payload types of our codecs in the peer's order, its events, how it wants to talk."""

    codecs: tuple[tuple[Codec, int], ...]
    event: int | None
    direction: Direction
    rtp: Address | None
    rtcp: Address | None
    rtcp_mux: bool


def _read_audio(session: SessionDescription, media: Media) -> Audio:
    encodings = tuple(media.encodings)
    usual = sum(map(len, (*encodings, *media.formats))) <= _USUAL_CHARS
    read = _remembered_formats if usual else _read_formats
    codecs, event = read(encodings, media.formats)
    rtp, rtcp = _addresses(media)
    return Audio(
        codecs=codecs,
        event=event,
        direction=_read_direction(session, media),
        rtp=rtp,
        rtcp=rtcp,
        rtcp_mux="rtcp-mux" in media.attributes,
    )


def _read_formats(
    encodings: tuple[str, ...], formats: tuple[str, ...]
) -> tuple[tuple[tuple[Codec, int], ...], int | None]:
    """Return the payload types of our codecs, in the peer's order, and that of its events."""
    known = dict(_STATIC)
    for value in encodings:
        number, _, encoding = value.strip().partition(" ")
        name, _, clock = encoding.partition("/")
        name = name.strip().upper()
        # What we do not know may still take a static number away.
        known[number] = name if name in _NAMES and clock.partition("/")[0].strip() in ("8000", "") else ""
    codecs: list[tuple[Codec, int]] = []
    event: int | None = None
    for text in formats:
        name = known.get(text, "")
        payload_type = _number(text, 127) if name else None
        if payload_type is None:
            continue
        if (codec := _CODECS.get(name)) is not None:
            codecs.append((codec, payload_type))
        elif event is None:
            event = payload_type
    return tuple(codecs), event


_remembered_formats = lru_cache(maxsize=256)(_read_formats)  # A trunk offers the same formats in every call.


def _read_direction(session: SessionDescription, media: Media) -> Direction:
    # The media's attribute wins over the session's (RFC 8866 6.7).
    direction = _first_direction(media.attributes) or _first_direction(session.attributes) or "sendrecv"
    if media.address in ("0.0.0.0", "::"):  # noqa: S104 - the hold of RFC 2543, not an address to bind
        # Nothing may be sent to the peer (RFC 3264 8.4).
        return "sendonly" if direction in ("sendrecv", "sendonly") else "inactive"
    return direction


def _first_direction(attributes: dict[str, str]) -> Direction | None:
    for direction in _DIRECTIONS:
        if direction in attributes:
            return direction
    return None


def _addresses(media: Media) -> tuple[Address | None, Address | None]:
    """Where the peer wants RTP and RTCP; None where it named no literal address of one host."""
    host, port = _one_host(media.address), media.port
    if host is None or port == 0:
        return None, None
    rtcp: Address = (host, port + 1 if port < 65535 else port)
    words = media.attributes.get("rtcp", "").split()
    rtcp_port = _number(words[0], 65535) if words else None
    if rtcp_port:
        own = _one_host(_read_connection(" ".join(words[1:4]))) if len(words) >= 4 else None
        rtcp = (own if own is not None and (":" in own) == (":" in host) else host, rtcp_port)
    if "rtcp-mux" in media.attributes:
        rtcp = (host, port)
    return (host, port), rtcp


def _one_host(text: str | None) -> str | None:
    return _literal_unicast(text) if text is not None and len(text) <= _LONGEST_LITERAL else None


@lru_cache(maxsize=1024)  # The media gateways of a trunk are a handful.
def _literal_unicast(text: str) -> str | None:
    """The address as a socket tells it, or None.

    A name is none: whoever sends to it looks it up, twenty milliseconds after twenty milliseconds.
    """
    address = literal_address(text)
    if address is None or address.is_multicast or address.is_unspecified or "%" in text:
        return None
    return str(address)


def _reachable(address: Address | None, local: LocalMedia) -> Address | None:
    """The peer's address, if it is of the family that our end sends from."""
    return address if address is not None and (":" in address[0]) == (":" in local.address[0]) else None


# -- offer and answer --------------------------------------------------------------------------------------------------

_REVERSED: dict[Direction, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class Offer(msgspec.Struct, frozen=True):
    """An offer read and understood: all that it takes to answer it, for whatever end of ours.

    ``refusals`` are its m-lines in order, each as an answer refuses it; ``usable`` are those with a codec of ours, by
    their place in that order. There is at least one.
    """

    refusals: tuple[str, ...]
    usable: tuple[tuple[int, Audio], ...]


def read_offer(data: bytes) -> Offer:
    """Read an offer. Raises SdpError when it cannot be read and NoCommonCodec when no line of it can be used.

    The answer to both is 488.
    """
    session = parse_sdp(data)
    usable: list[tuple[int, Audio]] = []
    for index, media in enumerate(session.media):
        # RTP/AVP only: a line that asks for encryption must not be answered in the clear (RFC 3264 6.1).
        if media.kind == "audio" and media.port and media.profile == "RTP/AVP":
            audio = _read_audio(session, media)
            if audio.codecs:
                usable.append((index, audio))
    if not usable:
        raise NoCommonCodec("no audio line with PCMU or PCMA over RTP/AVP")
    refusals = [f"m={media.kind} 0 {media.profile} {' '.join(media.formats) or '0'}" for media in session.media]
    return Offer(tuple(refusals), tuple(usable))


def answer_offer(offer: Offer, local: LocalMedia) -> Negotiated:
    """Answer an offer (RFC 3264 6): the first usable line is taken, all others get port 0.

    The codec is the first of ``local.codecs`` that the peer offers. Raises NoCommonCodec when it offers none of them.
    """
    taken, audio, codec, payload_type = _choose(offer, local)
    direction = _answer_direction(audio.direction, local.direction)
    mux = audio.rtcp_mux and local.rtcp_mux
    accepted = _audio_lines(local, [(codec, payload_type)], audio.event, direction, mux=mux)
    answer, version = _describe(local, [*offer.refusals[:taken], *accepted, *offer.refusals[taken + 1 :]])
    return Negotiated(
        answer=answer,
        codec=codec,
        payload_type=payload_type,
        receive_payload_type=payload_type,
        event_payload_type=audio.event,
        remote_rtp=_reachable(audio.rtp, local),
        remote_rtcp=_reachable(audio.rtp if mux else audio.rtcp, local),
        send=direction in ("sendrecv", "sendonly"),
        receive=direction in ("sendrecv", "recvonly"),
        rtcp_mux=mux,
        version=version,
    )


def negotiate(offer: bytes, local: LocalMedia) -> Negotiated:
    """Read an offer and answer it. Raises SdpError and NoCommonCodec, for which the answer is 488."""
    return answer_offer(read_offer(offer), local)


def make_offer(local: LocalMedia) -> bytes:
    """Our offer: all our codecs, telephone-event, RTCP on the RTP port if the peer agrees."""
    codecs: list[tuple[Codec, int]] = [(codec, 0 if codec == "PCMU" else 8) for codec in local.codecs]
    lines = _audio_lines(local, codecs, _DEFAULT_EVENT_TYPE, local.direction, mux=local.rtcp_mux)
    return _describe(local, lines)[0]


def read_answer(local: LocalMedia, answer: bytes) -> Negotiated:
    """What an answer to ``make_offer(local)`` settled (RFC 3264 7).

    Raises SdpError, NoCommonCodec when it refuses the stream.
    """
    session = parse_sdp(answer)
    if not session.media:
        raise SdpError("answer without an m-line")
    media = session.media[0]
    if media.kind != "audio" or media.port == 0 or media.profile != "RTP/AVP":
        raise NoCommonCodec("the peer refused the audio stream")
    audio = _read_audio(session, media)
    if not audio.codecs:
        raise NoCommonCodec("the answer has neither PCMU nor PCMA")
    codec, payload_type = next((entry for entry in audio.codecs if entry[0] in local.codecs), audio.codecs[0])
    direction = _answer_direction(audio.direction, local.direction)
    mux = audio.rtcp_mux and local.rtcp_mux
    return Negotiated(
        answer=b"",
        codec=codec,
        payload_type=payload_type,
        receive_payload_type=0 if codec == "PCMU" else 8,
        event_payload_type=audio.event,
        remote_rtp=_reachable(audio.rtp, local),
        remote_rtcp=_reachable(audio.rtp if mux else audio.rtcp, local),
        send=direction in ("sendrecv", "sendonly"),
        receive=direction in ("sendrecv", "recvonly"),
        rtcp_mux=mux,
        version=local.version,
    )


def _choose(offer: Offer, local: LocalMedia) -> tuple[int, Audio, Codec, int]:
    for place, audio in offer.usable:
        for wanted in local.codecs:
            for codec, payload_type in audio.codecs:
                if codec == wanted:
                    return place, audio, codec, payload_type
    raise NoCommonCodec(f"no audio line with {' or '.join(local.codecs)}")


def _answer_direction(offered: Direction, wanted: Direction) -> Direction:
    """The most that both allow: the peer's direction seen from our side, narrowed to what we want (RFC 3264 6.1)."""
    allowed = _REVERSED[offered]
    send = allowed in ("sendrecv", "sendonly") and wanted in ("sendrecv", "sendonly")
    receive = allowed in ("sendrecv", "recvonly") and wanted in ("sendrecv", "recvonly")
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"


def _audio_lines(
    local: LocalMedia,
    codecs: list[tuple[Codec, int]],
    event: int | None,
    direction: Direction,
    *,
    mux: bool,
) -> list[str]:
    host, port = local.address
    formats = [str(payload_type) for _, payload_type in codecs]
    lines = [f"a=rtpmap:{payload_type} {codec}/8000" for codec, payload_type in codecs]
    if event is not None:
        formats.append(str(event))
        lines += [f"a=rtpmap:{event} telephone-event/8000", f"a=fmtp:{event} {EVENTS}"]
    lines.insert(0, f"m=audio {port} RTP/AVP {' '.join(formats)}")
    lines.append(f"a=ptime:{local.ptime_ms}")
    if local.rtcp_port and local.rtcp_port != port + 1 and not mux:
        lines.append(f"a=rtcp:{local.rtcp_port} IN {_family(host)} {host}")
    if mux:
        lines.append("a=rtcp-mux")
    lines.append(f"a={direction}")
    return lines


def _describe(local: LocalMedia, media: list[str]) -> tuple[bytes, int]:
    """The whole description; its version goes up when it says something else than the last one did (RFC 3264 8)."""
    host = local.address[0]
    rest = "\r\n".join(("s=-", f"c=IN {_family(host)} {host}", "t=0 0", *media, ""))

    def written(version: int) -> bytes:
        text = f"v=0\r\no=- {local.session_id} {version} IN {_family(host)} {host}\r\n{rest}"
        return text.encode("utf-8", "surrogateescape")

    version = local.version
    if local.last and local.last != written(version):
        version += 1
    return written(version), version


def _family(host: str) -> str:
    return "IP6" if ":" in host else "IP4"
