"""Conversation items and their content parts.

Items are immutable: a change makes a new one, so an event that was sent can never change afterwards.
Source: API reference, "Conversation items".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from offhook.wire import limits
from offhook.wire.session import Name, Text, Wire

ItemId = Annotated[str, Meta(min_length=1, max_length=limits.MAX_ITEM_ID_CHARS)]
ItemStatus = Literal["completed", "incomplete", "in_progress"]
Role = Literal["system", "user", "assistant"]


class InputText(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_text"):
    """Text of the system or the user."""

    text: Text


class InputAudio(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_audio"):
    """Audio of the user. ``audio`` is base64 and only present when a client sends or retrieves it."""

    audio: str | UnsetType = UNSET
    transcript: Text | None | UnsetType = UNSET


class InputImage(Wire, frozen=True, kw_only=True, tag_field="type", tag="input_image"):
    """An image as a data URI."""

    image_url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class OutputText(Wire, frozen=True, kw_only=True, tag_field="type", tag="output_text"):
    """Text of the assistant."""

    text: Text


class OutputAudio(Wire, frozen=True, kw_only=True, tag_field="type", tag="output_audio"):
    """Speech of the assistant; ``transcript`` is what was said."""

    audio: str | UnsetType = UNSET
    transcript: Text | UnsetType = UNSET


ContentPart = InputText | InputAudio | InputImage | OutputText | OutputAudio


class Message(Wire, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """Something that the system, the user or the assistant said."""

    role: Role
    content: tuple[ContentPart, ...]
    id: ItemId | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: ItemStatus | UnsetType = UNSET
    phase: str | UnsetType = UNSET


class FunctionCall(Wire, frozen=True, kw_only=True, tag_field="type", tag="function_call"):
    """The model asks the application to run a function. ``arguments`` is JSON text."""

    name: Name
    arguments: Text
    call_id: Name | UnsetType = UNSET
    id: ItemId | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: ItemStatus | UnsetType = UNSET


class FunctionCallOutput(Wire, frozen=True, kw_only=True, tag_field="type", tag="function_call_output"):
    """What a function returned."""

    call_id: Name
    output: Text
    id: ItemId | UnsetType = UNSET
    object: Literal["realtime.item"] | UnsetType = UNSET
    status: ItemStatus | UnsetType = UNSET


class McpListedTool(Wire, frozen=True, kw_only=True):
    """A tool that an MCP server offers."""

    name: Name
    input_schema: dict[str, Any]
    description: Text | None | UnsetType = UNSET
    annotations: dict[str, Any] | None | UnsetType = UNSET


class McpListTools(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp_list_tools"):
    """The tools of one MCP server."""

    server_label: Name
    tools: tuple[McpListedTool, ...]
    id: ItemId | UnsetType = UNSET


class McpApprovalRequest(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp_approval_request"):
    """The server asks the client whether a tool may run."""

    id: ItemId
    server_label: Name
    name: Name
    arguments: Text


class McpApprovalResponse(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp_approval_response"):
    """The client's answer to an approval request."""

    approval_request_id: Name
    approve: bool
    id: ItemId | UnsetType = UNSET
    reason: Text | None | UnsetType = UNSET


class McpProtocolError(Wire, frozen=True, kw_only=True, tag_field="type", tag="protocol_error"):
    """An MCP server broke the protocol."""

    code: int
    message: str


class McpToolExecutionError(Wire, frozen=True, kw_only=True, tag_field="type", tag="tool_execution_error"):
    """A tool of an MCP server failed."""

    message: str


class McpHttpError(Wire, frozen=True, kw_only=True, tag_field="type", tag="http_error"):
    """An MCP server answered with an HTTP error."""

    code: int
    message: str


class McpCall(Wire, frozen=True, kw_only=True, tag_field="type", tag="mcp_call"):
    """A tool call that the server runs on an MCP server."""

    id: ItemId
    server_label: Name
    name: Name
    arguments: Text
    approval_request_id: Name | None | UnsetType = UNSET
    output: Text | None | UnsetType = UNSET
    error: McpProtocolError | McpToolExecutionError | McpHttpError | None | UnsetType = UNSET


Item = Message | FunctionCall | FunctionCallOutput | McpListTools | McpApprovalRequest | McpApprovalResponse | McpCall


class ItemReference(Wire, frozen=True, kw_only=True, tag_field="type", tag="item_reference"):
    """An item of the conversation, named in the input of an out-of-band response."""

    id: ItemId


InputItem = Item | ItemReference


class LogProb(Struct, frozen=True):
    """The log-probability of one token of a transcript, with the token's bytes."""

    token: str
    logprob: float
    bytes: tuple[int, ...]
