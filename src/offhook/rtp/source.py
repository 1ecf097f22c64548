"""Whose packets are heard: symmetric RTP with a lock.

Sent to at first is the address of the SDP. The caller's router may have another idea, so the first valid packet decides
(RFC 4961), and after `LOCK_PACKETS` nothing can move it but a new offer or answer, or packets from the very address of
the SDP. A stranger who sprays the port range is neither heard nor sent anything; one who was quicker than the caller is
turned out as soon as the caller speaks.
"""

from __future__ import annotations

import enum
from typing import Any, Final, TypeAlias

import msgspec

LOCK_PACKETS: Final = 5
"""Packets in a row from one address that settle it."""

STALE_SSRC_S: Final = 2.0
"""A synchronisation source that was replaced is not heard again while its packets keep coming closer than this."""

Address: TypeAlias = tuple[Any, ...]
"""A socket address: host and port, and for IPv6 what follows them."""


class _Unheard(msgspec.Struct, frozen=True):
    """Nothing valid has come yet."""


class _Learning(msgspec.Struct, frozen=True):
    """``address`` is heard; ``rival`` has sent ``rival_packets`` since the last of its packets."""

    address: Address
    packets: int
    rival: Address | None = None
    rival_packets: int = 0


class _Locked(msgspec.Struct, frozen=True):
    """Only ``address`` is heard."""

    address: Address


class SourceGuard:
    """Decides for one call which packets are the caller's and where to send.

    `accept` is asked for every packet that has passed the other checks (version, payload type). Signalling calls
    `renegotiated` when a new SDP names where media come from.
    """

    __slots__ = ("_offered", "_state", "settled", "strangers", "target")

    def __init__(self, offered: Address | None) -> None:
        self._offered = offered
        self._state: _Unheard | _Learning | _Locked = _Unheard()
        self.target = offered
        """Where to send; None until an address is known."""
        self.strangers = 0
        """Packets that were refused because of where they came from."""
        self.settled: Address | None = None
        """The one address that is heard, once it is settled."""

    def renegotiated(self, offered: Address | None) -> None:
        """Take the address of a new SDP and learn again where packets really come from.

        The address that was heard stays the target until another proves itself, unless the SDP names a new one.
        """
        moved = offered != self._offered
        self._offered = offered
        self.settled = None
        match self._state:
            case _Locked(address=address) | _Learning(address=address) if not moved:
                self._state = _Learning(address, 0)
            case _:
                self._state = _Unheard()
                self.target = offered

    def accept(self, address: Address) -> bool:
        """Tell whether a packet from this address belongs to the call."""
        state = self._state
        if isinstance(state, _Locked):
            if address == state.address:
                return True
            if self._is_offered(address) and not self._is_offered(state.address):
                return self._learn(address, LOCK_PACKETS)
            self.strangers += 1
            return False
        if isinstance(state, _Unheard) or (self._is_offered(address) and not self._is_offered(state.address)):
            return self._learn(address, 1)
        if address == state.address:
            return self._learn(address, state.packets + 1)
        # An address that is heard and keeps sending stays; one that fell silent after a stray packet is replaced.
        rival_packets = state.rival_packets + 1 if address == state.rival else 1
        if rival_packets == LOCK_PACKETS:
            return self._learn(address, LOCK_PACKETS)
        self._state = _Learning(state.address, state.packets, address, rival_packets)
        self.strangers += 1
        return False

    def _learn(self, address: Address, packets: int) -> bool:
        self.target = address
        if packets >= LOCK_PACKETS:
            self._state = _Locked(address)
            self.settled = address
        else:
            self._state = _Learning(address, packets)
        return True

    def _is_offered(self, address: Address) -> bool:
        return self._offered is not None and address[:2] == self._offered[:2]


class Stream(enum.Enum):
    """What a packet's synchronisation source says about it."""

    SAME = enum.auto()
    NEW = enum.auto()
    STALE = enum.auto()


class SsrcFollower:
    """Follows the caller's synchronisation source when it changes, as it does after a hold or a failover.

    A new one is believed at once, since the address already is. The old one is then ignored as long as it keeps
    sending: two streams side by side must not chop each other up. Where packets of another address are heard from now
    on, `moved` tells so.
    """

    __slots__ = ("_stale", "_stale_at", "changes", "ssrc")

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.changes = 0
        self._stale: int | None = None
        self._stale_at = 0.0

    def moved(self) -> None:
        """Another address is heard than before: whose source was replaced there may be who is heard now."""
        self._stale = None

    def follow(self, ssrc: int, now: float) -> Stream:
        """Take the source of a packet; one that is `Stream.STALE` is to be dropped."""
        if ssrc == self.ssrc:
            return Stream.SAME
        if ssrc == self._stale and now - self._stale_at < STALE_SSRC_S:
            self._stale_at = now
            return Stream.STALE
        self._stale, self._stale_at = self.ssrc, now
        self.changes += self.ssrc is not None
        self.ssrc = ssrc
        return Stream.NEW
