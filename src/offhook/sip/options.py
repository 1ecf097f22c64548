"""What a host may set on the user agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

LOOPBACK = ("127.0.0.0/8", "::1/128")

SCANNER_AGENTS = (
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sip-scan",
    "sipscan",
    "sipcli",
    "pplsip",
    "sundayddr",
    "iwar",
    "siparmyknife",
    "sip vicious",
    "vaxsipuseragent",
    "vaxipuseragent",
    "eyebeam release 3006o",
    "smap 0.",
    "cxs-scan",
    "scanning for sip",
    "sipptk",
    "custom-sip-scanner",
)
"""What attack tools write into User-Agent, in lower case; found anywhere in the value."""

SCANNER_FROMS = ('"sipvicious"', "sip:sipvicious@", "sip:100@1.1.1.1", "sip:nm@nm", "sip:sipsscuser@")
"""What attack tools write into From, in lower case; found anywhere in the value (SIPVicious, nmap, sipscan)."""


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """Who may talk to the agent, and how often.

    ``allow``: networks in CIDR notation that may send anything; empty means everybody, others are dropped without a
    word. ``trusted``: networks whose new requests are not counted; everything in a non-empty ``allow`` is trusted too.
    ``new_requests_per_s`` and ``burst``: the token bucket of each other source, for requests outside dialogs; 0
    switches it off. ``scanner_agents`` and ``scanner_froms``: lower-case marks of attack tools; their requests are
    dropped without a word.
    """

    allow: tuple[str, ...] = ()
    trusted: tuple[str, ...] = LOOPBACK
    new_requests_per_s: float = 50.0
    burst: int = 100
    scanner_agents: tuple[str, ...] = SCANNER_AGENTS
    scanner_froms: tuple[str, ...] = SCANNER_FROMS


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """The settings of one user agent.

    ``product`` goes into Server and User-Agent; "" leaves them out. ``contact_user`` is the user part of our Contact.
    ``trying_after_s``: a 100 goes out when nothing else did for so long (RFC 3261 17.2.1); 0 sends it at once.
    ``t1_s``, ``t2_s``, ``t4_s``: RFC 3261 17.1.1.1. ``route_by`` "flow" sends requests in a dialog where the last
    message came from and ignores Contact and Record-Route addresses; "auto" does so only where they cannot be right
    (see ``Dialog.next_hop``). ``large_requests``: a request above 1,300 bytes goes over TCP (and over UDP when that
    fails) or stays on UDP. ``retry_after_s`` is told to callers that are refused with 503. ``refer_patience_s`` ends a
    transfer without news.
    """

    product: str = "offhook"
    contact_user: str = ""
    trying_after_s: float = 0.2
    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    route_by: Literal["auto", "flow"] = "auto"
    large_requests: Literal["tcp", "udp"] = "tcp"
    max_transactions: int = 100_000
    """Each costs about 1 KB for up to 32 s; 1,000 calls/s need 64,000. Above it new requests get a stateless 503."""
    max_legs: int = 10_000
    """Held calls cost under 10 KB each here. Above it new INVITEs get 503 with Retry-After."""
    retry_after_s: int = 30
    refer_patience_s: float = 180.0
    guard: GuardOptions = field(default_factory=GuardOptions)

    @property
    def give_up_s(self) -> float:
        """64*T1: how long anything is repeated or waited for (RFC 3261 17.1.1.2, timers B, F, H, L, M)."""
        return 64 * self.t1_s
