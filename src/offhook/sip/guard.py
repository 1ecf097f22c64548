"""Who is let in: an open SIP port is scanned within minutes, so strangers and attack tools get silence."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from offhook.errors import ConfigError
from offhook.sip.limits import MAX_DROPS_TOLD_PER_MINUTE, MAX_KNOWN_AGENTS, MAX_SOURCES
from offhook.sip.message import Request
from offhook.sip.options import GuardOptions

_Networks = tuple[IPv4Network | IPv6Network, ...]


class _Standing(Enum):
    REFUSED = "refused"
    TRUSTED = "trusted"
    COUNTED = "counted"


class _Source:
    """One address: what it may do, and its token bucket."""

    __slots__ = ("filled_at", "standing", "tokens", "told")

    def __init__(self, standing: _Standing, tokens: float, now: float) -> None:
        self.standing = standing
        self.tokens = tokens
        self.filled_at = now
        self.told = False


class Guard:
    """The source allow-list, the rate of each source, and the marks of scanners.

    Addresses are remembered up to ``MAX_SOURCES``; when full, the one that came first is forgotten.
    """

    def __init__(self, options: GuardOptions) -> None:
        self._options = options
        self._allow = _networks("allow", options.allow)
        self._trusted = _networks("trusted", options.trusted)
        self._sources: dict[str, _Source] = {}
        self._agents: dict[str, bool] = {}
        self._minute_ends_at = float("-inf")
        self._told_this_minute = 0

    def lets_in(self, host: str, now: float) -> bool:
        """Whether the address may talk to us at all."""
        source = self._sources.get(host)
        if source is None:
            source = self._remember(host, now)
        return source.standing is not _Standing.REFUSED

    def trusts(self, host: str, now: float) -> bool:
        """Whether the address is named in the allow-list, or trusted anyway."""
        source = self._sources.get(host) or self._remember(host, now)
        return source.standing is _Standing.TRUSTED

    def lets_request(self, host: str, now: float) -> bool:
        """Whether the address may start one more transaction outside a dialog; takes a token when so."""
        rate = self._options.new_requests_per_s
        source = self._sources.get(host) or self._remember(host, now)
        if source.standing is not _Standing.COUNTED or not rate:
            return source.standing is not _Standing.REFUSED
        source.tokens = min(float(self._options.burst), source.tokens + (now - source.filled_at) * rate)
        source.filled_at = now
        if source.tokens < 1:
            return False
        source.tokens -= 1
        return True

    def is_news(self, host: str, now: float) -> bool:
        """Whether a drop is worth telling: the first of an address, and ``MAX_DROPS_TOLD_PER_MINUTE`` of all."""
        source = self._sources.get(host) or self._remember(host, now)
        if source.told:
            return False
        if now >= self._minute_ends_at:
            self._minute_ends_at = now + 60
            self._told_this_minute = 0
        if self._told_this_minute >= MAX_DROPS_TOLD_PER_MINUTE:
            return False
        self._told_this_minute += 1
        source.told = True
        return True

    def is_scanner(self, request: Request) -> bool:
        """Whether the request bears the mark of an attack tool."""
        agent = request.get("user-agent")
        if agent is not None:
            known = self._agents.get(agent)
            if known is None:
                known = self._judge_agent(agent)
            if known:
                return True
        origin = (request.get("from") or "").lower()
        return any(map(origin.__contains__, self._options.scanner_froms))

    def _judge_agent(self, agent: str) -> bool:
        lower = agent.lower()
        bad = any(mark in lower for mark in self._options.scanner_agents)
        if len(self._agents) < MAX_KNOWN_AGENTS and len(agent) < 200:
            self._agents[agent] = bad
        return bad

    def _remember(self, host: str, now: float) -> _Source:
        if len(self._sources) >= MAX_SOURCES:
            del self._sources[next(iter(self._sources))]
        source = _Source(self._judge(host), float(self._options.burst), now)
        self._sources[host] = source
        return source

    def _judge(self, host: str) -> _Standing:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return _Standing.REFUSED if self._allow else _Standing.COUNTED
        mapped = getattr(address, "ipv4_mapped", None)
        address = mapped or address
        if any(address in network for network in self._allow):
            return _Standing.TRUSTED
        if self._allow:
            return _Standing.REFUSED
        if any(address in network for network in self._trusted):
            return _Standing.TRUSTED
        return _Standing.COUNTED


def _networks(key: str, texts: tuple[str, ...]) -> _Networks:
    networks: list[IPv4Network | IPv6Network] = []
    for text in texts:
        try:
            networks.append(ip_network(text, strict=False))
        except ValueError:
            raise ConfigError(
                f"sip.guard.{key}", f"{text!r} is not a network", "write CIDR, such as 192.0.2.0/24"
            ) from None
    return tuple(networks)
