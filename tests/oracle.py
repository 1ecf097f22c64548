"""Two judges of what the server says that were not written here: the public schema, and the official SDK's types."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "realtime"


@functools.cache
def document() -> dict[str, Any]:
    text = (DATA / "openai-realtime.corrected.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


@functools.cache
def schema_names(union: str) -> dict[str, str]:
    """Map an event type to the name of its schema."""
    schemas = document()["components"]["schemas"]
    names = {}
    for reference in schemas[union]["anyOf"]:
        name = reference["$ref"].rsplit("/", 1)[1]
        kind = schemas[name]["properties"]["type"]
        names[kind.get("const") or kind["enum"][0]] = name
    return names


@functools.cache
def validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    resource = Resource(contents=document(), specification=DRAFT202012)
    registry = Registry().with_resource("urn:spec", resource)
    return Draft202012Validator({"$ref": f"urn:spec#/components/schemas/{schema}"}, registry=registry)


def schema_errors(schema: str, value: object) -> list[str]:
    return [
        f"/{'/'.join(map(str, error.absolute_path))}: {error.message}" for error in validator(schema).iter_errors(value)
    ]


@functools.cache
def sdk_adapter() -> Any:
    from openai.types.realtime import RealtimeServerEvent
    from pydantic import TypeAdapter

    return TypeAdapter(RealtimeServerEvent)


def assert_server_event(event: bytes | str | dict[str, Any]) -> dict[str, Any]:
    """Fail unless the schema of the event's own type and the SDK's strict union take it; return it as a dict."""
    value: dict[str, Any] = event if isinstance(event, dict) else json.loads(event)
    kind = value["type"]
    names = schema_names("RealtimeServerEvent")
    assert kind in names, f"no such server event: {kind}"
    assert not (found := schema_errors(names[kind], value)), (kind, found, value)
    sdk_adapter().validate_python(value)
    return value


def samples(direction: str) -> list[dict[str, Any]]:
    lines = (DATA / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["event"] for row in rows if row["direction"] == direction]
