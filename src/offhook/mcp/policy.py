"""Which MCP servers may be reached. A client names them, and this machine connects: it must not be led to its inside.

What can be told from a session alone is refused with the session; where a name leads is looked at with every request.
"""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from msgspec import UNSET

from offhook.errors import ApiProblem, RemoteError
from offhook.wire.problem import invalid
from offhook.wire.session import McpTool

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 9110 5.6.2 and 5.5; the ones of the connection belong to whoever makes it.
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e]{0,8192}")
_NOT_THEIRS: Final = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "accept-encoding")
)
# More are not tried: a name may have hundreds, and each of them may have to time out.
MAX_ADDRESSES: Final = 4
# RFC 6052 2.1: the prefix of IPv4 addresses behind a translator.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class AddressRefusedError(RemoteError):
    """A server's name leads to an address that clients may not have this machine connect to."""


@dataclass(frozen=True, slots=True)
class McpOptions:
    """``allow`` names hosts that may have private addresses, ``connectors`` the URL of each ``connector_id``.

    ``answer_s`` is how long a server may take to connect and answer, or to run a tool.
    """

    allow: frozenset[str] = frozenset()
    connectors: Mapping[str, str] = field(default_factory=dict)
    answer_s: float = 30.0


def is_installed() -> bool:
    """Say whether the client of the protocol is there."""
    return importlib.util.find_spec("mcp") is not None


def check_tool(tool: McpTool, path: str, options: McpOptions) -> None:
    """Raise ApiProblem 400 for a server that can never be reached, ``path`` being where the tool stands."""
    if not is_installed():
        message = f"Invalid '{path}': MCP tools need the package of the protocol. Install offhook[mcp]."
        raise invalid(path, message)
    if tool.tunnel_id is not UNSET:
        raise invalid(f"{path}.tunnel_id", "Invalid value: this server has no tunnels. Give a server_url.")
    if tool.defer_loading is True:
        # No tool of a realtime session searches, so nothing would ever load these.
        message = (
            "Invalid value: true. This server does not search for tools: all tools of a server are loaded at once."
        )
        raise invalid(f"{path}.defer_loading", message)
    if tool.connector_id is not UNSET and tool.connector_id not in options.connectors:
        message = f"Invalid value: '{tool.connector_id}' is not among the [mcp_connectors] of this server."
        raise invalid(f"{path}.connector_id", message)
    if isinstance(tool.server_url, str):
        _check_url(tool.server_url, f"{path}.server_url", options)
    if isinstance(tool.authorization, str) and not _HEADER_VALUE.fullmatch(tool.authorization):
        raise invalid(f"{path}.authorization", "Invalid value: no HTTP header can hold this.")
    for name, value in (tool.headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value) or name.lower() in _NOT_THEIRS:
            where = f"{path}.headers"
            raise invalid(where, f"Invalid '{where}': the header '{name[:100]}' cannot be sent like this.")


def _check_url(url: str, where: str, options: McpOptions) -> None:
    problem = ApiProblem(400, "invalid_value", f"Invalid '{where}': this is no HTTP URL of a server.", param=where)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise problem
    if parts.username is not None:
        raise invalid(where, f"Invalid '{where}': give credentials in 'authorization', not in the URL.")
    address = _literal(host)
    inside = host == "localhost" or (address is not None and not is_public(address))
    if inside and host not in options.allow:
        message = f"Invalid '{where}': '{host[:100]}' is inside of this server's network (--mcp-allow lets it through)."
        raise invalid(where, message)


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_public(address: IPAddress) -> bool:
    """Say whether an address, and the one that may be wrapped in it, is of the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def addresses_of(host: str, port: int, options: McpOptions) -> list[str]:
    """Return the addresses of a name, at least one. Raises AddressRefusedError when any of them is private.

    Raises OSError for a name that leads nowhere.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(each[4][0]).partition("%")[0] for each in found]
    if host.lower() not in options.allow:
        for address in addresses:
            if not is_public(ipaddress.ip_address(address)):
                raise AddressRefusedError(f"'{host[:100]}' leads inside of this server's network")
    return list(dict.fromkeys(addresses))[:MAX_ADDRESSES]
