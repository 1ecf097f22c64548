"""From what session descriptions settled to what the plane wants to know."""

from __future__ import annotations

from typing import Final

from offhook.audio.g711 import Codec
from offhook.media.command import Direction, Negotiated
from offhook.sip import sdp

_CODECS: Final = {"PCMU": Codec.PCMU, "PCMA": Codec.PCMA}
_DIRECTIONS: Final = {
    (True, True): Direction.SENDRECV,
    (True, False): Direction.SENDONLY,
    (False, True): Direction.RECVONLY,
    (False, False): Direction.INACTIVE,
}


def agreed(settled: sdp.Negotiated) -> Negotiated:
    """Return an offer and its answer as the plane takes them; the codec to send with comes first."""
    codec = _CODECS[settled.codec]
    return Negotiated(
        remote=settled.remote_rtp,
        codecs=tuple({settled.payload_type: codec, settled.receive_payload_type: codec}.items()),
        telephone_event_type=settled.event_payload_type,
        direction=_DIRECTIONS[settled.send, settled.receive],
        rtcp_remote=settled.remote_rtcp,
        rtcp_mux=settled.rtcp_mux,
    )
