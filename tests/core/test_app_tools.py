"""Functions as a model sees them: what it is told of them, what it may give, and what it hears back."""

from __future__ import annotations

import asyncio
import contextvars
import datetime as dt
import enum
import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional, TypedDict

import msgspec
import pytest

import offhook
from offhook.app import limits
from offhook.app.schema import read_docstring
from offhook.app.tool import as_tools


class Day(enum.Enum):
    MONDAY = "monday"
    TUESDAY = "tuesday"


@dataclass
class Guest:
    """Who comes."""

    name: str
    age: int | None = None


class Table(TypedDict, total=False):
    window: bool


class Node(msgspec.Struct):
    name: str
    below: list[Node] = []


def nameless() -> Node:
    """Return what is JSON by its type only."""
    node = Node("")
    del node.name
    return node


def parameters(function: Callable[..., Any]) -> dict[str, Any]:
    schema = offhook.Tool(function).definition.parameters
    assert isinstance(schema, dict)
    return schema


def parameters_of(tool: offhook.Tool) -> Any:
    return msgspec.to_builtins(tool.definition)["parameters"]["properties"]


def tell(function: Callable[..., Any], arguments: str, **options: Any) -> str:
    return asyncio.run(offhook.Tool(function, **options).run(arguments, ()))


# -- schemas


def test_a_function_is_described_by_its_signature_and_its_docstring() -> None:
    def book(day: Day, guests: int = 2, name: str | None = None) -> str:
        """Book a table.

        Only for
        the same week.

        Args:
            day: The day
                of the week.
            guests (int): How many come.
            name: Whose name
        Returns:
            day: nothing of a parameter
        """
        return ""

    assert msgspec.to_builtins(offhook.Tool(book).definition) == {
        "type": "function",
        "name": "book",
        "description": "Book a table.\n\nOnly for the same week.",
        "parameters": {
            "type": "object",
            "properties": {
                "day": {"type": "string", "enum": ["monday", "tuesday"], "description": "The day of the week."},
                "guests": {"type": "integer", "default": 2, "description": "How many come."},
                "name": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "description": "Whose name"},
            },
            "required": ["day"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal[1, 2], {"enum": [1, 2]}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (dt.date, {"type": "string", "format": "date"}),
        (Decimal, {"type": "string", "format": "decimal"}),
        (Any, {}),
        (Annotated[str, "in English"], {"type": "string", "description": "in English"}),
        (Annotated[int, msgspec.Meta(ge=1)], {"type": "integer", "minimum": 1}),
        (Table, {"type": "object", "properties": {"window": {"type": "boolean"}}, "required": []}),
        (
            Guest,
            {
                "type": "object",
                "description": "Who comes.",
                "properties": {
                    "name": {"type": "string"},
                    "age": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                },
                "required": ["name"],
            },
        ),
    ],
)
def test_arguments_may_be_all_that_json_can_become(annotation: Any, schema: dict[str, Any]) -> None:
    def function(value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    assert parameters(function)["properties"]["value"] == schema


def test_an_argument_without_an_annotation_may_be_anything() -> None:
    def function(value): ...  # type: ignore[no-untyped-def]

    assert parameters(function)["properties"] == {"value": {}}
    assert parameters(function)["required"] == ["value"]


def test_a_type_that_holds_itself_is_the_only_one_that_is_referred_to() -> None:
    def plant(tree: Node) -> str:
        return tree.below[0].name

    schema = parameters(plant)
    assert list(schema["$defs"]) == ["Node"]
    assert schema["properties"]["tree"]["properties"]["below"]["items"] == {"$ref": "#/$defs/Node"}
    assert tell(plant, '{"tree": {"name": "a", "below": [{"name": "b"}]}}') == "b"


def test_names_and_defaults_that_look_like_a_schema_are_left_alone() -> None:
    def publish(title: str, enum: str = "x", default: Literal["title"] = "title") -> None: ...

    schema = parameters(publish)
    assert set(schema["properties"]) == {"title", "enum", "default"}
    assert schema["properties"]["default"]["default"] == "title"


def test_the_fields_of_sphinx_are_read_too() -> None:
    text = "Book a table.\n\n:param day: the day\n  of the week\n:param int guests: how many\n:returns: nothing"
    assert read_docstring(text) == ("Book a table.", {"day": "the day of the week", "guests": "how many"})


def test_a_function_without_a_docstring_is_described_by_its_name() -> None:
    def opening_hours() -> None: ...

    assert offhook.Tool(opening_hours).definition.description == "opening hours"
    assert offhook.Tool(opening_hours, name="hours", description="When.").definition.name == "hours"


def variadic(*days: str) -> None: ...


def unknown(when: threading.Lock) -> None: ...


def misspelt(when: Dai) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("function", [variadic, unknown, misspelt, lambda: None, "book"])
def test_what_a_model_cannot_call_is_refused_when_it_is_declared(function: Any) -> None:
    with pytest.raises(TypeError):
        offhook.Tool(function)


class Desk:
    def book(self, day: Day) -> Unimported:  # type: ignore[name-defined]  # noqa: F821
        return f"{day.value} at the desk"

    def __call__(self, day: Day) -> str:
        return f"{day.value} by the desk"


async def book_anywhere(place: str, day: Day) -> str:
    return f"{day.value} at {place}"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (Desk().book, "monday at the desk"),
        (Desk(), "monday by the desk"),
        (functools.partial(book_anywhere, "the door"), "monday at the door"),
    ],
)
def test_methods_and_other_callables_are_functions_too(function: Callable[..., Any], told: str) -> None:
    tool = offhook.Tool(function, name="book")
    assert parameters_of(tool) == {"day": {"type": "string", "enum": ["monday", "tuesday"]}}
    assert asyncio.run(tool.run('{"day": "monday"}', ())) == told


def test_two_functions_of_one_name_are_refused() -> None:
    def book() -> None: ...

    with pytest.raises(ValueError, match="book"):
        as_tools([book, offhook.Tool(book)])


def test_the_call_is_given_and_not_asked_of_the_model() -> None:
    seen: list[object] = []

    async def greet(session: offhook.CallSession, name: str, call: offhook.IncomingCall | None = None) -> None:
        seen.extend((session, name, call))

    assert list(parameters(greet)["properties"]) == ["name"]
    session = object.__new__(offhook.CallSession)
    asyncio.run(offhook.Tool(greet).run('{"name": "Ann"}', (session,)))
    assert seen == [session, "Ann", None]


# -- calls


def test_arguments_come_as_what_they_were_declared() -> None:
    def book(day: Day, guest: Guest, tables: list[Table], when: dt.date, /, *, loud: bool = False) -> str:
        return repr((day, guest, tables, when, loud))

    arguments = {
        "day": "monday",
        "guest": {"name": "Ann", "age": 7},
        "tables": [{"window": True}],
        "when": "2026-11-23",
    }
    expected = (Day.MONDAY, Guest("Ann", 7), [{"window": True}], dt.date(2026, 11, 23), False)
    assert tell(book, msgspec.json.encode(arguments).decode()) == repr(expected)


def test_numbers_in_quotes_are_taken_and_texts_of_digits_stay_texts() -> None:
    def dial(number: str, times: int) -> str:
        return repr((number, times))

    assert tell(dial, '{"number": "0123", "times": "3"}') == "('0123', 3)"


def test_a_default_of_the_functions_own_is_not_shared_between_calls() -> None:
    def collect(values: list[int] = []) -> str:  # noqa: B006
        values.append(1)
        return str(values)

    tool = offhook.Tool(collect)
    assert [asyncio.run(tool.run("", ())) for _ in range(2)] == ["[1]", "[1]"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ('{"day": "sunday"}', "Invalid enum value 'sunday' - at `$.day`"),
        ("{}", "missing required field `day`"),
        ('{"day": "monday", "guests": "many"}', "`$.guests`"),
        ('{"day": "monday", "hour": 7}', "hour"),
        ('{"day": "mon', "truncated"),
        ("[]", "Expected `object`"),
        ("null", "Expected `object`"),
        ('{"day": ' + "[" * 20000, "book was not called"),
    ],
)
def test_arguments_that_make_no_sense_are_told_to_the_model(arguments: str, said: str) -> None:
    def book(day: Day, guests: int = 1) -> None:
        raise AssertionError

    output = tell(book, arguments)
    assert output.startswith("book was not called")
    assert said in output
    assert len(output) < 2 * limits.MAX_SHOWN_CHARS


@pytest.mark.parametrize("failure", [KeyError("key-7"), RuntimeError("key-7"), StopIteration()])
def test_a_type_that_refuses_a_value_by_whatever_exception_is_told_to_the_model_and_logged(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    @dataclass
    class Place:
        number: int

        def __post_init__(self) -> None:
            raise failure

    def look(place: Place) -> str:
        raise AssertionError

    look.__annotations__["place"] = Place
    with caplog.at_level(logging.DEBUG, "offhook.app"):
        output = tell(look, '{"place": {"number": 3}}')
    assert output == f"look was not called, its arguments are wrong ({type(failure).__name__})."
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("nine", "nine"),
        (None, "done"),
        (Guest("Ann"), '{"name":"Ann","age":null}'),
        ([Day.MONDAY], '["monday"]'),
        (7.5, "7.5"),
        (object(), "report failed (TypeError)."),
        (nameless(), "report failed (TypeError)."),
    ],
)
def test_what_a_function_returns_is_told_as_text_or_json(result: Any, told: str) -> None:
    def report() -> Any:
        return result

    assert tell(report, "{}") == told


def test_an_output_that_is_endless_is_cut() -> None:
    def report() -> str:
        return "x" * (limits.MAX_OUTPUT_CHARS + 1)

    assert len(tell(report, "{}")) < limits.MAX_OUTPUT_CHARS + 100
    assert "left out" in tell(report, "{}")


@pytest.mark.parametrize(
    ("failure", "told", "logged"),
    [
        (offhook.ToolError("We are closed on Sundays."), "We are closed on Sundays.", False),
        (ValueError("no table at nine"), "book failed: no table at nine", True),
        (ConnectionError("db-7.internal: password refused"), "book failed (ConnectionError).", True),
        (TimeoutError("of its own"), "book failed (TimeoutError).", True),
        (StopIteration(), "book failed (", True),
        (pytest.fail.Exception("of a test"), "book failed (Failed).", True),
    ],
)
@pytest.mark.parametrize("waits", [True, False])
def test_a_failure_is_told_to_the_model_and_logged(
    failure: BaseException, told: str, logged: bool, waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def book() -> None:
        raise failure

    async def book_waiting() -> None:
        raise failure

    with caplog.at_level(logging.DEBUG, "offhook.app"):
        output = tell(book_waiting if waits else book, "{}", name="book")
    assert output.startswith(told)
    assert bool(caplog.records) is logged


@pytest.mark.real_time
def test_a_function_that_takes_too_long_is_given_up_and_the_model_told() -> None:
    over = threading.Event()

    async def waits() -> None:
        await asyncio.Event().wait()

    def blocks() -> None:
        over.wait()

    try:
        for function in (waits, blocks):
            assert "did not finish within 0.05 s" in tell(function, "{}", timeout=0.05)
    finally:
        over.set()


@pytest.mark.real_time
def test_a_plain_function_runs_beside_the_event_loop_and_in_its_context() -> None:
    name = contextvars.ContextVar("name", default="")
    entered = threading.Event()

    def look_up() -> str:
        entered.wait(20)
        return f"{name.get()} {threading.current_thread() is threading.main_thread()}"

    async def test() -> str:
        name.set("Ann")
        running = asyncio.create_task(offhook.Tool(look_up).run("{}", ()))
        await asyncio.sleep(0)
        entered.set()
        return await running

    assert asyncio.run(test()) == "Ann False"


@pytest.mark.real_time
def test_threads_are_bounded() -> None:
    over = threading.Event()

    def blocks() -> str:
        over.wait(20)
        return "done"

    async def test() -> list[str]:
        tool = offhook.Tool(blocks)
        running = [asyncio.create_task(tool.run("{}", ())) for _ in range(limits.MAX_THREADS + 1)]
        first = await next(asyncio.as_completed(running))
        over.set()
        return [first, *await asyncio.gather(*running)]

    outputs = asyncio.run(test())
    assert outputs[0] == "blocks failed (RuntimeError)."
    assert outputs.count("done") == limits.MAX_THREADS
