"""Which events and fields the tests saw, on which door: what docs/conformance.md may claim.

Every server event that a test judges, and every client event that a test sends, leaves its fields here. A field of a
server event is *sent* when two different values of it were seen, so that a fixed or zero figure is not; an event, and
one of several forms, when it was there at all. A field of a client event is *obeyed* when a test that is marked with
``obeys`` sent it and passed, and *refused* when one that is marked with ``refuses`` did. The fields are those of the
machine-readable contract in tests/data.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

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
        return min(self.proofs(marked, kind, path, door), default=None)

    def proofs(self, marked: dict[str, list[Place]], kind: str, path: str, door: str) -> list[str]:
        """Return the tests that are marked with a field, sent it on a door and passed."""
        asked = self.asked.get((kind, path, door), set())
        return [test for test in asked if test in self.passed and (kind, path) in marked.get(test, ())]


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


class Row(NamedTuple):
    """A line of the page: what is said of a field, for each door on which it belongs, and the test that shows it."""

    section: str
    kind: str
    path: str
    cells: dict[str, str]
    test: str


def rows() -> Iterator[Row]:
    """Yield what is to be said after this run."""
    for kind, paths in client_places().items():
        for path in ["", *paths]:
            cells, test = {}, ""
            for door in doors_of(kind, path):
                proof, refusal = SEEN.obeyed_by(kind, path, door), SEEN.refused_by(kind, path, door)
                sent = "sent" if (kind, path, door) in SEEN.asked else "-"
                cells[door] = YES if proof else REFUSED if refusal else sent
                test = test or proof or refusal or ""
            yield Row("client", kind, path, cells, _name(test))
    for kind, paths in server_places().items():
        for path in ["", *paths] if "." in kind or kind == "error" else paths:
            cells, test = {}, ""
            for door in doors_of(kind, path):
                proof, seen = SEEN.sent_by(kind, path, door)
                # That an event or one of several forms was there at all is no figure.
                varies = len(seen) >= _KEPT or (bool(seen) and (path == "" or path.endswith(")")))
                cells[door] = YES if varies else f"only `{_short(*seen)}`" if seen else "-"
                test = test or (proof or "" if varies else "")
            yield Row("server", kind, path, cells, _name(test))


def _short(value: str) -> str:
    return value if len(value) <= 24 else value[:21] + "..."


def page(intro: str) -> str:
    """Return docs/conformance.md."""
    found = list(rows())
    lines = [intro, *summary_of(found), ""]
    titles = {"client": "## What clients send", "server": "## What the server sends"}
    at: tuple[str, str] = ("", "")
    for section, kind, path, cells, test in found:
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
        lines.append(f"| {name} | {shown} | {test} |")
    return _tables("\n".join(lines)) + "\n"


def _name(test: str) -> str:
    """Return a test's name without its folder and parameters."""
    file, _, name = test.partition("::")
    return f"{file.rsplit('/', 1)[-1].removesuffix('.py')}: {name.partition('[')[0]}" if test else ""


def _tables(text: str) -> str:
    return text.replace("|\n###", "|\n\n###").replace("|\n## ", "|\n\n## ")


def read(text: str) -> list[Row]:
    """Return the rows of a page."""
    found = []
    section = kind = ""
    for line in text.splitlines():
        if line.startswith("## "):
            section = "client" if "clients" in line else "server"
        elif line.startswith("### "):
            kind = line[4:].strip("`") if "`" in line else line[4:].lower()
        elif section and line.startswith("| ") and not line.startswith("| field"):
            name, *told, test = (cell.strip() for cell in line[1:-1].split(" | "))
            path = "" if name == "*the event*" else name.strip("`").translate(_READ)
            cells = {door: cell for door, cell in zip(DOORS, told, strict=True) if cell}
            found.append(Row(section, kind, path, cells, test))
    return found


def summary(text: str) -> list[str]:
    """Return the lines of a page that say how much was seen."""
    return [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("|")]


def summary_of(found: list[Row]) -> list[str]:
    """Return the lines that say how much of what there is was seen, door by door."""
    lines = [f"| | {' | '.join(DOORS)} |", "|---" * (len(DOORS) + 1) + "|"]
    for section, done in (("client", "fields of client events obeyed"), ("server", "fields of server events sent")):
        cells = [[row.cells[door] for row in found if row.section == section and door in row.cells] for door in DOORS]
        lines.append(f"| {done} | " + " | ".join(f"{each.count(YES)} of {len(each)}" for each in cells) + " |")
    return lines


def claims(found: Iterable[Row]) -> set[tuple[str, str, str, str]]:
    """Return what rows claim: section (or *refused*), kind, field and door."""
    return {
        (row.section if cell == YES else REFUSED, row.kind, row.path, door)
        for row in found
        for door, cell in row.cells.items()
        if cell in (YES, REFUSED)
    }


def without_their_test(found: Iterable[Row]) -> list[Row]:
    """Return the rows that claim something, and name no test of this run that showed it on one of their doors."""
    return [row for row in found if claims([row]) and row.test not in {_name(test) for test in _shown_by(row)}]


def _shown_by(row: Row) -> Iterator[str]:
    """Yield the tests that showed the field of a row on one of its doors."""
    for door in row.cells:
        if row.section == "server":
            yield from SEEN.sent.get((row.kind, row.path, door), ())
        else:
            for marked in (SEEN.marked, SEEN.against):
                yield from SEEN.proofs(marked, row.kind, row.path, door)
