"""What a server stands on: clocks, chance, a network, something that drives its sound.

Everything that is not decided by inputs comes from here. The default is this machine; `offhook.testing` has a network
in memory with a clock that jumps.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from offhook.media.plane import MediaPlane
from offhook.media.ports import Poller, PortSource
from offhook.media.thread import MediaThread
from offhook.model.interface import Backend
from offhook.model.registry import ModelOptions, choose_backend
from offhook.net.address import RouteFinder
from offhook.net.rtp import PortRange, SocketPoller
from offhook.net.sip import SipTransport
from offhook.webhook.delivery import WebhookSender


class MediaDriver(Protocol):
    """Steps a media plane at its deadlines."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Close all legs and end."""


class Routes(Protocol):
    """Knows from which address of ours a peer is reached."""

    def local_host(self, remote_host: str) -> str | None:
        """Return it; None when no way leads there."""


def _unchanged(app: Any) -> Any:
    return app


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Clocks, chance, network and drivers; each member is what a server or a telephone calls for one of its parts.

    ``clock`` is monotonic seconds, ``wall_s`` Unix time, ``cpu_clock`` this process's seconds of work. ``chance``
    returns so many unguessable bytes, ``share`` a number from 0 to 1. ``surround`` puts something around the HTTP
    application.
    """

    clock: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    cpu_clock: Callable[[], float] = time.process_time
    chance: Callable[[int], bytes] = os.urandom
    randbits: Callable[[int], int] = secrets.randbits
    share: Callable[[], float] = random.random
    pollers: Callable[[], Poller] = SocketPoller
    ports: Callable[[str, int, int], PortSource] = PortRange
    routes: Callable[[], Routes] = RouteFinder
    drive: Callable[[MediaPlane], MediaDriver] = MediaThread
    sip: Callable[..., SipTransport] = SipTransport
    backend: Callable[[ModelOptions], Backend] = choose_backend
    webhooks: Callable[..., WebhookSender] = WebhookSender
    surround: Callable[[Any], Any] = _unchanged


THIS_MACHINE = Surroundings()
