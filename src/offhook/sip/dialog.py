"""The dialog: what both ends remember of each other (RFC 3261 12)."""

from __future__ import annotations

import re
from collections.abc import Callable

from offhook.sip.errors import SipParseError
from offhook.sip.flow import Flow, Transport, hostport
from offhook.sip.header import parse_name_addr
from offhook.sip.limits import MAX_ROUTES
from offhook.sip.message import Request, Response
from offhook.sip.options import AgentOptions
from offhook.sip.uri import SipUri, literal_address, parse_uri

_LOOSE = re.compile(r";[ \t]*+lr(?=[ \t=;>?]|$)", re.IGNORECASE)
_METHOD_PARAM = re.compile(r";[ \t]*+method=[^;?]*+", re.IGNORECASE)

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, NOTIFY"
"""The methods that we take. REFER is not among them: a stranger's transfer is toll fraud."""


class Dialog:
    """One dialog as seen from our end.

    ``local`` and ``remote`` are the From and To values of our requests, tags included. ``routes`` is fixed when the
    dialog is made (RFC 3261 12.1); ``target`` follows the peer's Contact. ``remote_seq`` is -1 until the peer has sent
    a request.
    """

    __slots__ = (
        "behind_nat",
        "call_id",
        "flow",
        "local",
        "local_seq",
        "local_tag",
        "remote",
        "remote_seq",
        "remote_tag",
        "routes",
        "target",
    )

    def __init__(
        self, call_id: str, local_tag: str, remote_tag: str, local: str, remote: str, target: str, flow: Flow
    ) -> None:
        self.call_id = call_id
        self.local_tag = local_tag
        self.remote_tag = remote_tag
        self.local = local
        self.remote = remote
        self.target = target
        self.flow = flow
        self.routes: tuple[str, ...] = ()
        self.local_seq = 0
        self.remote_seq = -1
        self.behind_nat = False

    @classmethod
    def of_callee(cls, invite: Request, local_tag: str, flow: Flow) -> Dialog:
        """The dialog an INVITE asks for, at the called end (RFC 3261 12.1.1)."""
        dialog = cls(
            invite.call_id,
            local_tag,
            invite.from_tag,
            f"{invite.get('to')};tag={local_tag}",
            invite.get("from") or "",
            "",
            flow,
        )
        if invite.get("record-route"):
            dialog.routes = tuple(_bracketed(value) for value in invite.values("record-route")[:MAX_ROUTES])
        dialog.remote_seq = invite.cseq
        dialog.refresh_target(invite)
        if not dialog.target:
            # No usable Contact must not kill the call as long as the flow leads back to the caller.
            dialog.target = f"sip:{hostport(flow.remote)}"
        dialog.behind_nat = _behind_nat(invite, flow)
        return dialog

    @classmethod
    def of_caller(cls, local: str, local_tag: str, cseq: int, response: Response, target: str, flow: Flow) -> Dialog:
        """The dialog a response to our INVITE makes, at the calling end (RFC 3261 12.1.2)."""
        dialog = cls(response.call_id, local_tag, response.to_tag, local, response.get("to") or "", target, flow)
        dialog.routes = tuple(_bracketed(value) for value in response.values("record-route")[:MAX_ROUTES])[::-1]
        dialog.local_seq = cseq
        dialog.refresh_target(response)
        return dialog

    def refresh_target(self, message: Request | Response) -> None:
        """Take the peer's Contact as the new target (RFC 3261 12.2); one that cannot be read leaves the old one."""
        uri = message.contact_uri
        if uri is not None and len(uri) > 5 and uri[:4].lower() in ("sip:", "sips"):
            # Headers in a Contact are not for the Request-URI (RFC 3261 19.1.1).
            self.target = uri if "?" not in uri else _without_headers(uri)

    def request(
        self,
        method: str,
        cseq: int,
        branch: str,
        options: AgentOptions,
        extra: str = "",
        body: bytes = b"",
    ) -> Callable[[Flow], bytes]:
        """A function that writes a request in this dialog for a flow (RFC 3261 12.2.1.1)."""
        uri, routes = self._addressing()
        lines = [f"Route: {route}\r\n" for route in routes]
        if body:
            extra += "Content-Type: application/sdp\r\n"
        agent = f"User-Agent: {options.product}\r\n" if options.product else ""

        def build(flow: Flow) -> bytes:
            contact = contact_line(options, flow) if method in ("INVITE", "UPDATE", "REFER") else ""
            text = (
                f"{method} {uri} SIP/2.0\r\n{via_line(flow, branch)}{''.join(lines)}Max-Forwards: 70\r\n"
                f"From: {self.local}\r\nTo: {self.remote}\r\nCall-ID: {self.call_id}\r\nCSeq: {cseq} {method}\r\n"
                f"{contact}{agent}{extra}Content-Length: {len(body)}\r\n\r\n"
            )
            return text.encode("utf-8", "surrogateescape") + body

        return build

    def _addressing(self) -> tuple[str, tuple[str, ...]]:
        """Request-URI and Route values; a first hop without ``lr`` is a strict router and gets the old treatment."""
        if not self.routes:
            return self.target, ()
        first = self.routes[0]
        if _LOOSE.search(first):
            return self.target, self.routes
        uri = _METHOD_PARAM.sub("", first[1:].partition(">")[0].partition("?")[0])
        return uri, (*self.routes[1:], f"<{self.target}>")

    def next_hop(self, options: AgentOptions, is_open: Callable[[Flow], bool]) -> Flow:
        """Where the next request goes.

        The first route, or without routes the target (RFC 3261 8.1.2), when that is a literal address the peer can be
        reached at. The flow of the dialog instead when the hop is a name (resolving is not done here), when the peer is
        behind a NAT, or when the address is private or of this host and the flow's is not. A connection that is open is
        used again for its own peer (RFC 5923).
        """
        flow = self.flow
        alive = is_open(flow)
        back = flow if alive else Flow(flow.transport, flow.remote, flow.local)
        hop = None if options.route_by == "flow" or self.behind_nat else self._literal_hop()
        if hop is None:
            return back
        remote, transport = hop
        if _unreachable(remote[0], flow.remote[0]):
            return back
        if (
            alive
            and transport == flow.transport
            and (remote == flow.remote or (flow.connection and remote[0] == flow.remote[0]))
        ):
            return flow
        return Flow(transport, remote, flow.local)

    def large_hop(self, flow: Flow, options: AgentOptions) -> Flow | None:
        """The flow for a request too large for a datagram, None when it has to stay on UDP (RFC 3261 18.1.1)."""
        if flow.transport != "UDP" or options.large_requests == "udp" or self.behind_nat:
            return None
        uri = self._hop_uri()
        if isinstance(uri, SipUri) and uri.param("transport") is None:
            return Flow("TCP", flow.remote, flow.local)
        return None

    def _hop_uri(self) -> object:
        text = self.routes[0][1:].partition(">")[0] if self.routes else self.target
        try:
            return parse_uri(text)
        except SipParseError:
            return None

    def _literal_hop(self) -> tuple[tuple[str, int], Transport] | None:
        uri = self._hop_uri()
        if not isinstance(uri, SipUri) or uri.scheme == "sips" or literal_address(uri.host) is None:
            return None
        wanted = (uri.param("transport") or "").lower()
        if wanted in ("udp", "tcp"):
            transport: Transport = "UDP" if wanted == "udp" else "TCP"
        elif wanted:
            return None
        else:
            transport = self.flow.transport
        return (uri.host, uri.port or 5060), transport


def _without_headers(uri: str) -> str:
    user, at, rest = uri.partition("@")
    return f"{user}@{rest.partition('?')[0]}" if at else uri.partition("?")[0]


def _bracketed(value: str) -> str:
    """A route value that starts with its bracket: display names and parameters outside are of no use to us."""
    try:
        return f"<{parse_name_addr(value, 'Record-Route').uri}>"
    except SipParseError:
        return value if value.startswith("<") else f"<{value}>"


def _behind_nat(invite: Request, flow: Flow) -> bool:
    """Whether the caller is one hop away and writes an address into Via and Contact that it does not send from."""
    via = invite.via
    if via is None or flow.transport != "UDP":
        return False
    host, seen = via.address[0], flow.remote[0]
    if host == seen or literal_address(host) is None or len(invite.values("via")) > 1:
        return False
    contact = invite.contact_uri
    if contact is None:
        return False
    try:
        uri = parse_uri(contact)
    except SipParseError:
        return False
    return isinstance(uri, SipUri) and uri.host == host


def _unreachable(host: str, source: str) -> bool:
    """Whether an address that a peer at ``source`` wrote cannot be meant for us: of its loopback or private network."""
    address, seen = literal_address(host), literal_address(source)
    if address is None or seen is None:
        return False
    if address.is_unspecified or address.is_multicast:
        return True
    if address.is_loopback:
        return not seen.is_loopback
    return seen.is_global and not address.is_global


def via_line(flow: Flow, branch: str) -> str:
    """Our Via, asking for the answer at the port we send from (RFC 3581)."""
    return f"Via: SIP/2.0/{flow.transport} {hostport(flow.local)};rport;branch={branch}\r\n"


def contact_line(options: AgentOptions, flow: Flow) -> str:
    """Our Contact on a flow."""
    user = f"{options.contact_user}@" if options.contact_user else ""
    transport = ";transport=tcp" if flow.transport == "TCP" else ""
    return f"Contact: <sip:{user}{hostport(flow.local)}{transport}>\r\n"
