"""Events about what a call plays; a socket of its own has none."""

from __future__ import annotations

from offhook.wire.server_events.common import ServerEventBase


class OutputBufferStarted(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.started"
):
    """The first sample of a response was played."""

    response_id: str


class OutputBufferStopped(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.stopped"
):
    """The last sample of a response was played."""

    response_id: str


class OutputBufferCleared(
    ServerEventBase, frozen=True, kw_only=True, tag_field="type", tag="output_audio_buffer.cleared"
):
    """What was still to be played was dropped."""

    response_id: str
