"""Which events and fields the tests saw, on which door: what docs/conformance.md may claim.

Every server event that a test judges, and every client event that a test sends, leaves its fields here. A field of a
server event is *sent* when two different values of it were seen, so that a fixed or zero figure is not. A field of a
client event is *obeyed* when a test that is marked with ``obeys`` sent it and passed, and *refused* when one that is
marked with ``refuses`` did. The fields are those of the machine-readable contract in tests/data.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.oracle import document, schema_names

TESTS = Path(__file__).parent
# The matrix stands on these: what they see is the same every time.
FOLDERS = (TESTS / "core", TESTS / "sim")
DOORS = ("call", "socket", "transcription")
# As many different values as are kept of a field and a test.
_KEPT = 2
# A client that adds one of these is refused, whatever is in it.
MADE_BY_SERVERS = ("item(mcp_list_tools)", "item(mcp_call)", "item(mcp_approval_request)")
Schema = dict[str, Any]
T = TypeVar("T")
_ANY: Schema = {}
Place = tuple[str, str]
"""A kind of event or object, and the path of a field in it."""


def obeys(kind: str, *paths: str) -> pytest.MarkDecorator:
    """Mark a test that proves that these fields of a client event do what they say."""
    return pytest.mark.obeys(kind, *paths)


def refuses(kind: str, *paths: str) -> pytest.MarkDecorator:
    """Mark a test that proves that a client event with one of these fields is refused by name and changes nothing."""
    return pytest.mark.obeys(kind, *paths, refused=True)


# -- the fields that there are


def by_identity(find: Callable[[Schema], T]) -> Callable[[Schema], T]:
    """Remember what was found of each schema; it is kept with it, so that no other gets its id."""
    known: dict[int, tuple[Schema, T]] = {}

    @functools.wraps(find)
    def look(schema: Schema) -> T:
        if id(schema) not in known:
            known[id(schema)] = (schema, find(schema))
        return known[id(schema)][1]

    return look


@by_identity
def branches(schema: Schema) -> list[Schema]:
    """Return what a schema may be, without references and unions."""
    if "$ref" in schema:
        return branches(document()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return [branch for each in schema[union] for branch in branches(each)]
    if isinstance(kinds := schema.get("type"), list):
        return [schema | {"type": kind} for kind in kinds]
    if schema.get("nullable"):
        return [{name: value for name, value in schema.items() if name != "nullable"}, {"type": "null"}]
    return [schema]


@by_identity
def constant(schema: Schema) -> Any:
    """Return the only value that a schema allows, if there is only one."""
    found = branches(schema)
    if len(found) != 1:
        return None
    allowed = found[0].get("enum", [found[0]["const"]] if "const" in found[0] else [])
    return allowed[0] if len(allowed) == 1 else None


def is_object(schema: Schema) -> bool:
    return bool(schema.get("properties"))


@by_identity
def label(schema: Schema) -> str:
    """Return what tells an object from the others of its union."""
    constants = (constant(schema["properties"].get(name, _ANY)) for name in ("role", "type"))
    return next((str(value) for value in constants if value is not None), "")


def fields(schema: Schema, path: str = "", closed: Collection[str] = ()) -> Iterator[str]:
    """Yield the paths of all fields whose value is not given by the schema itself.

    ``(user)`` behind a path is one of several forms of what stands there, ``(null)`` that it may be null. Of ``closed``
    forms the members do not matter.
    """
    found = branches(schema)
    objects = [each for each in found if is_object(each)]
    lists = [each for each in found if is_list(each)]
    if path and any(not is_object(each) and not is_list(each) and each.get("type") != "null" for each in found):
        yield path
    if (objects or lists) and any(each.get("type") == "null" for each in found):
        yield f"{path}(null)"
    for each in objects:
        inner = f"{path}({label(each)})" if len(objects) > 1 else path
        if inner != path:
            yield inner
        if path == "response.input[]" or inner in closed:
            continue
        for name, member in each["properties"].items():
            if constant(member) is None:
                yield from fields(member, f"{inner}.{name}" if inner else name, closed)
    for each in lists:
        yield from fields(each.get("items", _ANY), f"{path}[]", closed)


def is_list(schema: Schema) -> bool:
    return bool(schema.get("type") == "array")


def values(schema: Schema, value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a value, each with what stands there."""
    found = branches(schema)
    objects = [each for each in found if is_object(each)]
    lists = [each for each in found if is_list(each)]
    if value is None and (objects or lists):
        yield f"{path}(null)", None
    elif isinstance(value, dict) and objects:
        chosen = [each for each in objects if _is_one(each, value)]
        if not chosen:
            return
        inner = f"{path}({label(chosen[0])})" if len(objects) > 1 else path
        if inner != path:
            yield inner, None
        if path == "response.input[]":
            return
        for name, member in value.items():
            known = chosen[0]["properties"].get(name)
            if known is not None and constant(known) is None:
                yield from values(known, member, f"{inner}.{name}" if inner else name)
    elif isinstance(value, list) and lists:
        for each in value:
            yield from values(lists[0].get("items", _ANY), each, f"{path}[]")
    else:
        yield path, value


def _is_one(schema: Schema, value: dict[str, Any]) -> bool:
    for name, member in schema["properties"].items():
        only = constant(member)
        if only is not None and value.get(name) != only and (name in value or name in schema.get("required", ())):
            return False
    return True


def place(kind: str, path: str) -> Place:
    """Say where a field of a server event is told: objects that many events carry have a table of their own."""
    for start, shared in (
        ("item(", "the items"),
        ("response.output[](", "the items"),
        ("response.", "the response"),
        ("session(realtime).", "the session"),
        ("session(transcription).", "the transcription session"),
    ):
        if path.startswith(start):
            rest = path[len(start) :]
            return shared, f"({rest}" if start.endswith("(") else rest
    return kind, path


def _schema(union: str, kind: str) -> Schema:
    found: Schema = document()["components"]["schemas"][schema_names(union)[kind]]
    return found


def server_places() -> dict[str, list[str]]:
    """Return the fields of all server events, by event or shared object."""
    found: dict[str, dict[str, None]] = {}
    for kind in schema_names("RealtimeServerEvent"):
        found.setdefault(kind, {})
        for path in fields(_schema("RealtimeServerEvent", kind)):
            if path != "event_id":
                where, rest = place(kind, path)
                found.setdefault(where, {})[rest] = None
    return {kind: list(paths) for kind, paths in found.items()}


def client_places() -> dict[str, list[str]]:
    """Return the fields of all client events."""
    kinds = schema_names("RealtimeClientEvent")
    schemas = {kind: _schema("RealtimeClientEvent", kind) for kind in kinds}
    return {kind: list(dict.fromkeys(fields(each, closed=MADE_BY_SERVERS))) for kind, each in schemas.items()}


# -- what was seen


@dataclass
class Sightings:
    """What the tests of one run saw. ``whole``: all tests that the matrix stands on are in the run."""

    whole: bool = False
    sent: dict[tuple[str, str, str], dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))
    asked: dict[tuple[str, str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    marked: dict[str, list[Place]] = field(default_factory=dict)
    against: dict[str, list[Place]] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)

    def begin(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Look at which tests will run, and what they prove."""
        given = [Path(config.invocation_params.dir, arg) for arg in config.args]
        chosen = any(config.getoption(name, None) for name in ("keyword", "markexpr", "deselect", "ignore", "lf"))
        shared = hasattr(config, "workerinput")
        self.whole = (
            not chosen
            and not shared
            and all(any(path in (folder, *folder.parents) for path in given) for folder in FOLDERS)
        )
        for item in items:
            for mark in item.iter_markers("obeys"):
                kind, *paths = mark.args
                if mark.kwargs.get("refused"):
                    self.against.setdefault(item.nodeid, []).extend((kind, path) for path in paths)
                else:
                    self.marked.setdefault(item.nodeid, []).extend((kind, path) for path in ("", *paths))

    def server_event(self, door: str, event: dict[str, Any]) -> None:
        """A test saw an event of the server."""
        kind, test = event["type"], _test()
        if test is None:
            return
        self._keep(kind, "", door, test, "sent")
        for path, value in values(_schema("RealtimeServerEvent", kind), event):
            where, rest = place(kind, path)
            self._keep(where, rest, door, test, json.dumps(value, sort_keys=True))

    def _keep(self, kind: str, path: str, door: str, test: str, value: str) -> None:
        kept = self.sent[kind, path, door].setdefault(test, set())
        if len(kept) < _KEPT:
            kept.add(value)

    def client_event(self, door: str, event: dict[str, Any]) -> None:
        """A test sent an event of a client."""
        kind, test = event.get("type"), _test()
        if test is None or kind not in schema_names("RealtimeClientEvent"):
            return
        self.asked[str(kind), "", door].add(test)
        for path, _ in values(_schema("RealtimeClientEvent", str(kind)), event):
            self.asked[str(kind), path, door].add(test)

    def sent_by(self, kind: str, path: str, door: str) -> tuple[str | None, set[str]]:
        """Return a test that saw a field, and some of its values; of a field that varies, two at least."""
        tests = self.sent.get((kind, path, door), {})
        seen = set().union(*tests.values()) if tests else set()
        # A test that saw two values itself says more than one that saw only one of them.
        best = min(tests, key=lambda test: (-len(tests[test]), test), default=None)
        return best, seen

    def obeyed_by(self, kind: str, path: str, door: str) -> str | None:
        """Return a test that proves a field of a client event."""
        return self._proof(self.marked, kind, path, door)

    def refused_by(self, kind: str, path: str, door: str) -> str | None:
        """Return a test that proves that a field of a client event is refused."""
        return self._proof(self.against, kind, path, door)

    def _proof(self, marked: dict[str, list[Place]], kind: str, path: str, door: str) -> str | None:
        asked = self.asked.get((kind, path, door), set())
        proofs = (test for test in asked if test in self.passed and (kind, path) in marked.get(test, ()))
        return min(proofs, default=None)


SEEN = Sightings()


def _test() -> str | None:
    """Return the test that runs, if the matrix stands on it."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rsplit(" ", 1)[0]
    return test if test.startswith(("tests/core/", "tests/sim/")) else None


# -- the page

YES, REFUSED = "yes", "refused"
# In brackets behind others, a form would be a link.
_WRITTEN, _READ = str.maketrans("()", "<>"), str.maketrans("<>", "()")
_NOT_SENT = {
    "conversation.created": "It is in the schema and not in live traffic, so it is not sent.",
    "conversation.item.created": "The beta's name of `conversation.item.added`; it is not sent.",
    "conversation.item.input_audio_transcription.segment": "It tells speakers apart, which is not built.",
}
_ONLY_ON: dict[str, tuple[str, ...]] = {
    "output_audio_buffer.": ("call",),
    "input_audio_buffer.dtmf_event_received": ("call",),
    "input_audio_buffer.append": ("socket", "transcription"),
    "session.created": ("socket", "transcription"),
    "response.output_audio.delta": ("socket",),
    "the transcription session": ("transcription",),
    "the session": ("call", "socket"),
    "response.": ("call", "socket"),
    "the response": ("call", "socket"),
    "rate_limits.": ("call", "socket"),
    "mcp_list_tools.": ("call", "socket"),
    "conversation.item.truncate": ("call", "socket"),
    "conversation.item.create": ("call", "socket"),
    "input_audio_buffer.timeout_triggered": ("call", "socket"),
}


# What is in messages that a client adds; a transcription session takes none.
_ONLY_OF_CLIENTS = tuple(f"(user).content[].{name}" for name in ("text", "image_url", "detail"))


def doors_of(kind: str, path: str = "") -> tuple[str, ...]:
    """Return the doors on which an event belongs (contract of the API)."""
    if kind == "the items" and not path.startswith("(user)"):
        return ("call", "socket")
    if kind == "the items" and path.startswith(_ONLY_OF_CLIENTS):
        return ("call", "socket")
    if kind.startswith("session.") and path:
        ours = ("transcription",) if path.startswith("session(transcription)") else ("call", "socket")
        return tuple(door for door in ours if door in doors_of(kind))
    return next((doors for start, doors in _ONLY_ON.items() if kind.startswith(start)), DOORS)


def rows() -> Iterator[tuple[str, str, str, dict[str, str], str]]:
    """Yield section, kind, field, what is to be said for each door, and the test."""
    for kind, paths in client_places().items():
        for path in ["", *paths]:
            cells, test = {}, ""
            for door in doors_of(kind, path):
                proof, refusal = SEEN.obeyed_by(kind, path, door), SEEN.refused_by(kind, path, door)
                sent = "sent" if (kind, path, door) in SEEN.asked else "-"
                cells[door] = YES if proof else REFUSED if refusal else sent
                test = test or proof or refusal or ""
            yield "client", kind, path, cells, test
    for kind, paths in server_places().items():
        for path in ["", *paths] if "." in kind or kind == "error" else paths:
            cells, test = {}, ""
            for door in doors_of(kind, path):
                proof, seen = SEEN.sent_by(kind, path, door)
                # That an event or one of several forms was there at all is no figure.
                varies = len(seen) >= _KEPT or (bool(seen) and (path == "" or path.endswith(")")))
                cells[door] = YES if varies else f"only `{_short(*seen)}`" if seen else "-"
                test = test or (proof or "" if varies else "")
            yield "server", kind, path, cells, test


def _short(value: str) -> str:
    return value if len(value) <= 24 else value[:21] + "..."


def page(intro: str) -> str:
    """Return docs/conformance.md."""
    lines = [intro, *_summary(), ""]
    titles = {"client": "## What clients send", "server": "## What the server sends"}
    at: tuple[str, str] = ("", "")
    for section, kind, path, cells, test in rows():
        if section != at[0]:
            lines += [titles[section], ""]
        if (section, kind) != at:
            name = f"`{kind}`" if "." in kind or kind == "error" else kind.capitalize()
            lines += [f"### {name}", ""]
            lines += [_NOT_SENT[kind], ""] if kind in _NOT_SENT else []
            lines += [f"| field | {' | '.join(DOORS)} | test |", "|---" * 5 + "|"]
        at = (section, kind)
        shown = " | ".join(cells.get(door, "") for door in DOORS)
        name = f"`{path.translate(_WRITTEN)}`" if path else "*the event*"
        lines.append(f"| {name} | {shown} | {_name(test)} |")
    return _tables("\n".join(lines)) + "\n"


def _summary() -> Iterator[str]:
    """Yield how much of what there is was seen, door by door."""
    yield "| | " + " | ".join(DOORS) + " |"
    yield "|---" * (len(DOORS) + 1) + "|"
    found = list(rows())
    for section, done in (("client", "fields of client events obeyed"), ("server", "fields of server events sent")):
        cells = [[row[3][door] for row in found if row[0] == section and door in row[3]] for door in DOORS]
        yield f"| {done} | " + " | ".join(f"{each.count(YES)} of {len(each)}" for each in cells) + " |"


def _name(test: str) -> str:
    """Return a test's name without its folder and parameters."""
    file, _, name = test.partition("::")
    return f"{file.rsplit('/', 1)[-1].removesuffix('.py')}: {name.partition('[')[0]}" if test else ""


def _tables(text: str) -> str:
    return text.replace("|\n###", "|\n\n###").replace("|\n## ", "|\n\n## ")


def claims(text: str) -> set[tuple[str, str, str, str]]:
    """Return what a page claims: section (or *refused*), kind, field and door."""
    found = set()
    section = kind = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = "client" if "clients" in line else "server"
        elif line.startswith("### "):
            kind = line[4:].strip("`") if "`" in line else line[4:].lower()
        elif line.startswith("| ") and not line.startswith("| field"):
            name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            path = "" if name == "*the event*" else name.strip("`").translate(_READ)
            for door, cell in zip(DOORS, cells, strict=False):
                if cell in (YES, REFUSED):
                    found.add((section if cell == YES else REFUSED, kind, path, door))
    return found


def seen_claims() -> set[tuple[str, str, str, str]]:
    """Return what may be claimed after this run."""
    return {
        (section if cell == YES else REFUSED, kind, path, door)
        for section, kind, path, cells, _ in rows()
        for door, cell in cells.items()
        if cell in (YES, REFUSED)
    }
