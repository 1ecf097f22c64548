"""From bytes of a remote party to a checked structure of the API, or to an ``ApiProblem`` that names the fault."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from offhook.errors import ApiProblem
from offhook.wire import limits
from offhook.wire.calls import ReferParams, RejectParams
from offhook.wire.client_events import (
    ClientEvent,
    ConversationItemCreate,
    ResponseCreate,
    ResponseParams,
    SessionUpdate,
)
from offhook.wire.items import InputItem, McpListTools
from offhook.wire.own import OwnParams, check_own
from offhook.wire.problem import find_problem, invalid, missing_parameter, unsupported_value
from offhook.wire.secrets import SecretParams, TranscriptionSecretParams
from offhook.wire.session import FunctionTool, McpTool, SessionParams, Tool, Tracing
from offhook.wire.target import is_target
from offhook.wire.transcription import TranscriptionEvents, TranscriptionUpdate, as_update

T = TypeVar("T")

_session_decoder = msgspec.json.Decoder(SessionParams)
_reject_decoder = msgspec.json.Decoder(RejectParams)
_refer_decoder = msgspec.json.Decoder(ReferParams)
_event_decoder: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)
_transcription_decoder: msgspec.json.Decoder[TranscriptionEvents] = msgspec.json.Decoder(TranscriptionEvents)
_secret_decoder = msgspec.json.Decoder(SecretParams)
_transcription_secret_decoder = msgspec.json.Decoder(TranscriptionSecretParams)
_any_decoder = msgspec.json.Decoder()

SESSION_TYPES = ("realtime", "transcription")
TARGET_SCHEMES = ("tel:", "sip:", "sips:")


def decode_session(body: bytes) -> SessionParams:
    """Return the session of an ``accept`` body, checked in full.

    Raises ApiProblem 400; ``param`` begins with ``session.`` although the body is the session, as the API's own does.
    """
    params = _decode(body, _session_decoder, SessionParams, "session")
    _check_session(params, "session", may_nest=_may_nest(body))
    return params


def decode_body(body: bytes, wanted: type[T]) -> T:
    """Return a body of any other route, as its type says. Raises ApiProblem 400; no body is an empty object."""
    return _decode(body.strip() or b"{}", msgspec.json.Decoder(wanted), wanted, "")


def decode_secret(body: bytes) -> SecretParams | TranscriptionSecretParams:
    """Return the body of ``client_secrets``, checked in full. Raises ApiProblem 400."""
    body = body.strip() or b"{}"
    kind = _session_type(body)
    if isinstance(kind, str) and kind not in SESSION_TYPES:
        raise unsupported_value("session.type", kind, SESSION_TYPES)
    if kind == "transcription":
        return _decode(body, _transcription_secret_decoder, TranscriptionSecretParams, "")
    params = _decode(body, _secret_decoder, SecretParams, "")
    if params.session is not UNSET:
        _check_session(params.session, "session", may_nest=_may_nest(body))
    return params


def _session_type(body: bytes) -> object:
    try:
        value = _any_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None  # What is wrong with it is said by the decoder of the whole.
    session = value.get("session") if isinstance(value, dict) else None
    return session.get("type") if isinstance(session, dict) else None


def decode_reject(body: bytes) -> RejectParams:
    """Return the body of a ``reject``; no body and ``null`` mean the default. Raises ApiProblem 400."""
    if not body.strip() or body.strip() == b"null":
        return RejectParams()
    return _decode(body, _reject_decoder, RejectParams, "")


def decode_refer(body: bytes) -> ReferParams:
    """Return the body of a ``refer``. Raises ApiProblem 400 for what is no ``tel:``, ``sip:`` or ``sips:`` URI."""
    params = _decode(body, _refer_decoder, ReferParams, "")
    target = params.target_uri
    if not target.lower().startswith(TARGET_SCHEMES):
        raise invalid("target_uri", "Invalid 'target_uri': expected a 'tel:', 'sip:' or 'sips:' URI.")
    # A line break would end the Refer-To header; blanks and angle brackets would end the URI in it.
    if not target.isascii() or not target.isprintable() or any(char in target for char in ' <>"'):
        raise invalid("target_uri", "Invalid 'target_uri': it holds a character that no URI may hold.")
    if not is_target(target):
        raise invalid("target_uri", "Invalid 'target_uri': it cannot be read as a URI that names somebody.")
    return params


def decode_client_event(text: str | bytes) -> ClientEvent:
    """Return the event of one socket message. Raises ApiProblem with the code that its ``error`` event carries."""
    event = _decode(text, _event_decoder, ClientEvent, "")
    match event:
        case SessionUpdate(session=session):
            _check_session(session, "session", may_nest=_may_nest(text))
        case ResponseCreate(response=response) if response is not UNSET:
            _check_response(response, may_nest=_may_nest(text))
        case ConversationItemCreate(item=item):
            _check_item(item, "item")
        case _:
            pass
    return event


def decode_transcription_event(text: str | bytes) -> ClientEvent:
    """Return the event of one message on the socket of a transcription session. Raises ApiProblem."""
    event = _decode(text, _transcription_decoder, TranscriptionEvents, "")
    if isinstance(event, TranscriptionUpdate):
        return SessionUpdate(session=as_update(event.session), event_id=event.event_id)
    return decode_client_event(text) if isinstance(event, ConversationItemCreate | ResponseCreate) else event


def event_id_of(text: str | bytes) -> str | None:
    """Return the ``event_id`` of a message that could not be decoded as an event, as far as one may go."""
    try:
        value = _any_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    event_id = value.get("event_id") if isinstance(value, dict) else None
    return (event_id[: limits.MAX_EVENT_ID_CHARS] or None) if isinstance(event_id, str) else None


def _decode(data: str | bytes, decoder: msgspec.json.Decoder[T], wanted: object, path: str) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as refused:
        raise _explain(data, wanted, path, refused) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as broken:
        message = f"We could not parse the JSON body of your request: {broken}."
        raise ApiProblem(400, "invalid_json", message) from None


def _explain(data: str | bytes, wanted: object, path: str, refused: Exception) -> ApiProblem:
    try:
        value: Any = _any_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as broken:
        return ApiProblem(400, "invalid_json", f"We could not parse the JSON body of your request: {broken}.")
    problem = find_problem(value, wanted, path)
    if problem is not None:
        return problem
    # A member that stands twice is read by its first value and walked by its last; the decoder knows where it stopped.
    fault, _, place = str(refused).partition(" - at `$")
    param = _known_place(path, place) or "body"
    return invalid(param, f"Invalid '{param}': {fault}.")


def _known_place(path: str, place: str) -> str:
    """Return the decoder's path in the API's words, up to where it names keys of free-form objects."""
    return (path + place.partition("[...]")[0].removesuffix("`")).lstrip(".")


def _may_nest(text: str | bytes) -> bool:
    """Whether something in a text of JSON may be nested too deep: what has no more brackets than that cannot be."""
    if isinstance(text, str):
        return text.count("{") + text.count("[") > limits.MAX_NESTING
    return text.count(b"{") + text.count(b"[") > limits.MAX_NESTING


def _check_session(params: SessionParams, path: str, *, may_nest: bool) -> None:
    """Check what types cannot say. Raises ApiProblem 400 with the path in ``param``."""
    if params.tools is not UNSET:
        _check_tools(params.tools, f"{path}.tools", may_nest=may_nest)
    if isinstance(params.offhook, OwnParams):
        check_own(params.offhook, f"{path}.offhook")
    if may_nest and isinstance(params.tracing, Tracing):
        check_nesting(params.tracing.metadata, f"{path}.tracing.metadata")


def _check_response(response: ResponseParams, *, may_nest: bool) -> None:
    if response.tools is not UNSET:
        _check_tools(response.tools, "response.tools", may_nest=may_nest)
    for index, item in enumerate(response.input or ()):
        _check_item(item, f"response.input[{index}]")


def _check_item(item: InputItem, path: str) -> None:
    if isinstance(item, McpListTools):
        for index, tool in enumerate(item.tools):
            check_nesting(tool.input_schema, f"{path}.tools[{index}].input_schema")
            check_nesting(tool.annotations, f"{path}.tools[{index}].annotations")


def check_nesting(value: object, path: str) -> None:
    """Raise ApiProblem 400 for JSON of no fixed shape that is nested too deep to be written back."""
    if value is UNSET or value is None:
        return
    with suppress(RecursionError):
        written = msgspec.json.encode(value)
        if written.count(b"{") + written.count(b"[") <= limits.MAX_NESTING:
            return  # So nearly everything, and there is no need to walk it.
    level = [value]
    for _ in range(limits.MAX_NESTING + 1):
        members = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not members:
            return
        level = [member for each in members for member in each]
    raise invalid(path, f"Invalid '{path}': nested more than {limits.MAX_NESTING} deep.")


def _check_tools(tools: tuple[Tool, ...], path: str, *, may_nest: bool) -> None:
    labels: set[str] = set()
    names: set[str] = set()
    for index, tool in enumerate(tools):
        if isinstance(tool, FunctionTool):
            name = tool.name
            if may_nest:
                check_nesting(tool.parameters, f"{path}[{index}].parameters")
            if name in names:
                where = f"{path}[{index}].name"
                raise invalid(where, f"Invalid '{where}': there is already a function '{name}'.")
            names.add(name)
        else:
            _check_mcp(tool, f"{path}[{index}]")
            if tool.server_label in labels:
                where = f"{path}[{index}].server_label"
                raise invalid(where, f"Invalid '{where}': '{tool.server_label}' is used twice.")
            labels.add(tool.server_label)


def _check_mcp(tool: McpTool, here: str) -> None:
    ways = [each for each in (tool.server_url, tool.connector_id, tool.tunnel_id) if each is not UNSET]
    if not ways:
        raise missing_parameter(f"{here}.server_url")
    if len(ways) > 1:
        raise invalid(here, f"Invalid '{here}': give only one of server_url, connector_id and tunnel_id.")
    headers = tool.headers
    has_header = isinstance(headers, dict) and any(name.lower() == "authorization" for name in headers)
    if has_header and tool.authorization is not UNSET:
        where = f"{here}.authorization"
        raise invalid(where, f"Invalid '{where}': there is an Authorization header too.")
